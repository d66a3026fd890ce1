"""What becomes of a waitpoint token is true, and a wait for one survives an outage."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from world import World

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
def test_a_token_is_created_once_and_completed_whatever_is_lost(
    world: World, kind: str, is_after: bool
) -> None:
    world.network.fault(kind, "POST /api/v1/waitpoints", times=2, after=is_after)
    token_ids = created(world)
    assert len(token_ids) == 1
    world.network.fault(kind, "/complete", times=2, after=is_after)
    outcome = world.task(completing(token_ids)).run()
    assert outcome.state == "success"
    assert outcome.result == [{"token_id": token_ids[0], "outcome": "completed", "status": "COMPLETED"}]


def test_what_became_of_each_token_is_reported(world: World) -> None:
    [late] = created(world, timeout=10)
    world.sleep(30)
    ours, theirs = [one for one in created(world, 3) if one != late][:2]
    world.server.complete_token(theirs, "no")
    gone = "waitpoint_cmunknown00000000000000000"
    task = world.task(completing([late, ours, theirs, gone]))
    assert task.run().state == "failed"
    outcomes = {one["token_id"]: one["outcome"] for one in task.pushed["return_value"]}
    assert outcomes == {late: "timed_out", ours: "completed", theirs: "already_completed", gone: "not_found"}


def test_an_outage_of_checks_keeps_no_token_waiting(world: World) -> None:
    token_ids = created(world, 48)
    begun = world.now
    world.network.fault("503", "GET /api/v1/waitpoints")
    task = world.task(completing(token_ids))
    assert task.run().state == "failed"
    assert {one["outcome"] for one in task.pushed["return_value"]} == {"accepted"}
    assert world.now - begun < 5


@pytest.mark.parametrize("wait", WAITS)
def test_a_wait_for_a_token_survives_an_outage_that_begins_and_ends_with_a_rejection(
    world: World, wait: str
) -> None:
    [token_id] = created(world)
    task = world.task(waiting(token_id, wait)).begin()
    world.sleep(60)
    if wait != "reschedule":  # which does not know that its key has worked
        for seconds in (0, 1200):
            start = world.hub.now + seconds
            world.network.fault("403", "GET /api/v1/waitpoints", start=start, times=1)
    world.network.outage("503", seconds=1200)
    world.sleep(1300)
    world.server.complete_token(token_id, {"approved": True})
    outcome = task.join()
    assert (outcome.state, outcome.result) == ("success", {"approved": True})


@pytest.mark.parametrize("wait", WAITS)
@pytest.mark.parametrize("reason", ["timed out", "rejected"])
def test_a_wait_for_a_token_ends_where_it_is_useless(world: World, reason: str, wait: str) -> None:
    [token_id] = created(world, timeout=120)
    task = world.task(waiting(token_id, wait)).begin()
    world.sleep(30)
    if reason == "rejected":
        world.network.fault("401")
    assert task.join().state == "failed"
    assert world.now < 200
    assert reason == "rejected" or "timed out" in str(task.outcome.error)
