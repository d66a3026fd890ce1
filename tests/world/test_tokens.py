"""What becomes of a waitpoint token is true, and a wait for one survives an outage."""

from __future__ import annotations

from functools import partial
from itertools import pairwise, product
from typing import Any

import pytest
from fake_airflow import TaskInstance, context_of
from world import World

from airflow_provider_trigger.notifications.waitpoint import CompleteWaitpointTokenNotifier
from airflow_provider_trigger.operators.run import RunTriggerTaskOperator
from airflow_provider_trigger.operators.waitpoint import (
    CompleteWaitpointTokenOperator,
    CreateWaitpointTokenOperator,
)
from airflow_provider_trigger.sensors.waitpoint import WaitpointTokenSensor


def created(world: World, count: int = 1, **arguments: Any) -> list[str]:
    """Create tokens, and return their ids."""
    for number in range(count):
        make = partial(CreateWaitpointTokenOperator, task_id=f"make_{number}", **arguments)
        assert world.task(make).run().state == "success"
    return list(world.server.tokens)


def completing(token_ids: Any, data: Any = "yes", **arguments: Any) -> Any:
    given = {"task_id": "complete", "token_ids": token_ids, "data": data}
    return lambda: CompleteWaitpointTokenOperator(**given, **arguments)


WAITS: dict[str, dict[str, Any]] = {
    "poke": {"mode": "poke"},
    "reschedule": {"mode": "reschedule"},
    "deferred": {"deferrable": True},
}


def waiting(token_id: str, wait: str) -> Any:
    return lambda: WaitpointTokenSensor(task_id="wait", token_id=token_id, poke_interval=5, **WAITS[wait])


@pytest.mark.parametrize("kind", ["refused", "lost", "hang", "503", "page"])
@pytest.mark.parametrize("is_after", [False, True], ids=["before", "after"])
def test_a_token_is_created_and_completed_whatever_is_lost(world: World, kind: str, is_after: bool) -> None:
    world.network.fault(kind, "POST /api/v1/waitpoints", times=2, after=is_after)
    token_ids = created(world)
    assert len(token_ids) == 1
    world.network.fault(kind, "/complete", times=2, after=is_after)
    outcome = world.task(completing(token_ids)).run()
    assert outcome.state == "success"
    assert outcome.result == [{"token_id": token_ids[0], "outcome": "completed", "status": "COMPLETED"}]


def test_an_outage_of_checks_keeps_no_token_waiting(world: World) -> None:
    token_ids = created(world, 48)
    begun = world.now
    world.network.fault("503", "GET /api/v1/waitpoints")
    task = world.task(completing(token_ids)).begin()
    world.until(lambda: all(one.status == "COMPLETED" for one in world.server.tokens.values()), within=3)
    assert task.join().state == "failed"
    assert {one["outcome"] for one in task.pushed["return_value"]} == {"accepted"}
    assert world.now - begun < 15


@pytest.mark.parametrize("who", ["its time limit", "somebody else"])
@pytest.mark.parametrize("is_shown", [True, False], ids=["shown", "not shown"])
def test_a_token_that_ends_otherwise_is_never_completed(world: World, who: str, is_shown: bool) -> None:
    world.connect(retry_for=120)
    token = world.server.create_token(timeout="60s")[0]
    world.network.fault("503", "/complete", start=world.hub.now, end=world.hub.now + 90)
    task = world.task(completing(token.id)).begin()
    world.sleep(20)
    if who == "somebody else":
        token.complete("no")
    if not is_shown:
        world.network.fault("503", "GET /api/v1/waitpoints")
    assert task.join().state == ("success" if is_shown and who == "somebody else" else "failed")
    [result] = task.pushed["return_value"]
    truth = "already_completed" if who == "somebody else" else "timed_out"
    assert result["outcome"] == (truth if is_shown else "accepted")


def test_a_notifier_completes_many_tokens_of_a_slow_server_within_its_time_limit(world: World) -> None:
    token_ids = [world.server.create_token()[0].id for _ in range(200)]
    world.network.latency = (0.4, 0.4)
    begun = world.now
    CompleteWaitpointTokenNotifier(token_ids=token_ids, data="yes", timeout=6)(context_of(TaskInstance()))
    assert world.now - begun < 6.2
    assert {token.status for token in world.server.tokens.values()} == {"COMPLETED"}


def test_a_rescheduled_sensor_checks_a_token_once_where_the_server_fails(world: World) -> None:
    token_id = created(world, 1)[0]
    world.network.fault("500", "GET /api/")
    sensor = world.task(
        lambda: WaitpointTokenSensor(
            task_id="wait", token_id=token_id, mode="reschedule", poke_interval=60, timeout=600
        )
    ).begin()
    world.sleep(300)
    before = len(world.network.sent)
    world.sleep(60)
    assert len(world.network.sent) - before <= 6
    sensor.stop()


@pytest.mark.parametrize(
    ("wait", "kind"),
    [
        *product(["poke", "deferred"], ["", "refused", "lost", "hang", "503", "page", "429", "500"]),
        *product(["reschedule"], ["", "hang", "503"]),
    ],
)
def test_a_wait_for_a_token_survives_an_outage(world: World, kind: str, wait: str) -> None:
    [token_id] = created(world)
    task = world.task(waiting(token_id, wait)).begin()
    world.sleep(60)
    if kind == "503":
        for seconds in (0, 1200):
            start = world.hub.now + seconds
            world.network.fault("403", "GET /api/v1/waitpoints", start=start, times=1)
    if kind:
        world.network.outage(kind, seconds=1200)
    world.sleep(1190)
    world.server.complete_token(token_id, {"approved": True})
    outcome = task.join()
    assert (outcome.state, outcome.result, outcome.tries) == ("success", {"approved": True}, 1)
    assert world.now < 1360
    assert world.server.tokens[token_id].path[-64:] not in f"{world.log.lines}"


def test_a_wait_that_is_deferred_in_an_outage_survives_a_rejected_first_check(world: World) -> None:
    [token_id] = created(world)
    world.network.fault("503", "GET /api/v1/waitpoints")
    task = world.task(waiting(token_id, "deferred")).begin()
    world.until(lambda: task.outcome.state == "deferred")
    world.network.faults.clear()
    world.network.fault("403", "GET /api/v1/waitpoints", times=1)
    world.sleep(30)
    world.server.complete_token(token_id, "yes")
    outcome = task.join()
    assert (outcome.state, outcome.result, outcome.tries) == ("success", "yes", 1)


# What ends a wait: what its error says, and from when until when it may come.
USELESS: dict[str, tuple[str, int, int]] = {
    "timed out": ("has timed out before", 120, 160),
    "foreign": ("was not shown by any check for 60 s", 50, 100),
    "rejected": ("answered 401", 30, 120),
}


@pytest.mark.parametrize("wait", WAITS)
@pytest.mark.parametrize("reason", USELESS)
def test_a_wait_for_a_token_ends_where_it_is_useless(world: World, reason: str, wait: str) -> None:
    environment = "dev" if reason == "foreign" else None
    [token] = world.server.create_token(timeout="120s", environment=environment)[:1]
    task = world.task(waiting(token.id, wait)).begin()
    world.sleep(30)
    if reason == "rejected":
        world.network.fault("401")
    text, earliest, latest = USELESS[reason]
    assert task.join().state == "failed"
    assert token.id in str(task.outcome.error)
    assert text in str(task.outcome.error)
    assert earliest <= world.now <= latest


def test_a_token_is_checked_less_and_less_often_while_deferred(world: World) -> None:
    token = world.server.create_token(timeout="1h")[0]
    given = {"task_id": "wait", "token_id": token.id, "deferrable": True}
    task = world.task(lambda: WaitpointTokenSensor(**given)).begin()
    world.sleep(600)
    world.server.complete_token(token.id)
    task.join()
    times = [one.at for one in world.network.sent if token.id in one.request][1:-1]
    intervals = [later - earlier for earlier, later in pairwise(times)]
    expected = [min(30.0, max(2.0, (at - times[0]) / 10)) for at in times[:-1]]
    assert intervals == pytest.approx(expected, abs=0.3)


@pytest.mark.parametrize("world", [{"rate_limit": 150, "refill": 50}], indirect=True)
def test_checks_of_many_tokens_leave_what_runs_need_and_none_starves(world: World) -> None:
    tokens = [world.server.create_token(timeout="5h")[0].id for _ in range(120)]
    for number, token_id in enumerate(tokens):
        given: Any = {"task_id": f"wait_{number}", "token_id": token_id, "deferrable": True}
        world.task(lambda given=given: WaitpointTokenSensor(**given)).begin()
        world.sleep(1)
    begun, delays = world.now, list[float]()
    run: Any = {"task_id": "start", "task_identifier": "resize", "deferrable": True}
    for number in range(3):
        world.server.on_task("resize", start_after=0, after=60 + number)
        task = world.task(partial(RunTriggerTaskOperator, **run), start=number).begin()
        world.sleep(5)
        started = list(world.server.runs.values())[-1]
        task.join()
        delays.append(world.hub.time() - started.created_at.timestamp() - 60 - number)
    assert max(delays) < 5
    assert not [one for one in world.network.sent if one.status == 429]
    for token_id in tokens:
        times = [one.at - 1000 for one in world.network.sent if token_id in one.request]
        late = [later - earlier for earlier, later in pairwise([*times, world.now]) if later > begun]
        assert max(late) < 90


@pytest.mark.parametrize("key", ["tr_prod_mistyped", "tr_stg_other"])
def test_a_resumed_wait_for_a_token_ends_where_the_worker_has_another_key(world: World, key: str) -> None:
    world.server.add_environment("stg", secret_key="tr_stg_other")
    [token_id] = created(world)
    task = world.task(waiting(token_id, "deferred")).begin()
    world.sleep(20)
    world.connect(key)
    world.server.complete_token(token_id, 1)
    assert task.join().state == "failed"
    assert token_id in str(task.outcome.error)
    assert world.now < 150
