"""A wait ends with the true outcome of its run, and survives an outage of Trigger.dev."""

from __future__ import annotations

import json
import math
import re
import time
from datetime import timedelta
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from world import World

from airflow_provider_trigger import _compat
from airflow_provider_trigger.operators.batch import RunTriggerTaskBatchOperator
from airflow_provider_trigger.operators.run import RunTriggerTaskOperator
from airflow_provider_trigger.sensors.run import TriggerRunSensor

OUTAGES = ("refused", "lost", "hang", "503", "page")


def operator(**arguments: Any) -> Any:
    given = {"task_id": "start", "task_identifier": "resize"} | arguments
    return lambda: RunTriggerTaskOperator(**given)


def batch(count: int, **arguments: Any) -> Any:
    given = {"task_id": "start", "task_identifier": "resize", "payloads": list(range(count))} | arguments
    return lambda: RunTriggerTaskBatchOperator(**given)


def started(world: World, **arguments: Any) -> str:
    """Start a run, and return its id."""
    world.task(operator(wait_for_completion=False, **arguments)).run()
    return list(world.server.runs)[-1]


WAITS: dict[str, Any] = {
    "worker": lambda world: operator(deferrable=False),
    "deferred": lambda world: operator(deferrable=True),
}


def sensor(world: World, **arguments: Any) -> Any:
    run_id = started(world)
    return lambda: TriggerRunSensor(task_id="wait", run_ids=run_id, poke_interval=5, **arguments)


WAITS |= {
    "sensor, poke": lambda world: sensor(world, mode="poke"),
    "sensor, reschedule": lambda world: sensor(world, mode="reschedule"),
    "sensor, deferred": lambda world: sensor(world, deferrable=True),
}
# Each poke of a sensor that is rescheduled is a process of its own.
KNOWING = [wait for wait in WAITS if wait != "sensor, reschedule"]


@pytest.mark.parametrize("wait", WAITS)
@pytest.mark.parametrize(
    ("task", "state", "status"),
    [
        ({"output": "done"}, "success", "COMPLETED"),
        ({"error": "boom"}, "failed", "FAILED"),
        ({"crash": "TASK_PROCESS_OOM_KILLED"}, "failed", "CRASHED"),
    ],
    ids=["completed", "failed", "crashed"],
)
def test_a_wait_ends_as_its_run_does(
    world: World, wait: str, task: dict[str, Any], state: str, status: str
) -> None:
    world.server.on_task("resize", after=60, **task)
    outcome = world.task(WAITS[wait](world)).run()
    assert outcome.state == state, outcome.error
    assert world.network.statuses() == [status]
    assert state == "success" or status in str(outcome.error)


@pytest.mark.parametrize(
    ("wait", "kind"),
    [*product(KNOWING, OUTAGES), ("sensor, reschedule", "hang"), ("sensor, reschedule", "page")],
)
def test_a_wait_survives_an_outage(world: World, wait: str, kind: str) -> None:
    world.server.on_task("resize", after=120, output="done")
    task = world.task(WAITS[wait](world)).begin()
    world.sleep(30)
    world.network.outage(kind, seconds=1200)
    outcome = task.join()
    assert (outcome.state, outcome.tries) == ("success", 1)
    assert 1230 <= world.now <= 1330
    if wait in KNOWING:
        for text, count in (("have failed for", 20), ("can be checked again", 1)):
            assert count <= len([line for line in world.log.lines if text in line]) + 3, text


@pytest.mark.parametrize(
    ("query", "deferrable"),
    [*product(["works", "loses ends"], [False, True]), ("fails", True), ("lags", False)],
)
def test_a_wait_for_many_runs_sees_their_ends_soon(world: World, query: str, deferrable: bool) -> None:
    world.server.on_task("resize", start_after=0, after=60, output=1)
    if query == "fails":
        world.network.fault("503", "POST /api/v1/query")
    world.server.query_lag = 100.0 if query == "lags" else 1.0
    task = world.task(batch(60, deferrable=deferrable)).begin()
    world.sleep(30)
    for run in list(world.server.runs.values()) if query == "loses ends" else ():
        run.lost_since = world.hub.time() + 20
    begun = len(world.network.sent)
    assert task.join().result == [1] * 60
    assert world.now < 105
    if query == "works":
        assert world.now < 68
        assert len(world.network.sent) - begun < 150, "a query for all, and one check a second"


def test_queries_of_many_runs_show_what_has_ended_and_all_of_them_now_and_then(world: World) -> None:
    world.server.on_task("resize", start_after=15, after=60, output=1)
    task = world.task(batch(150, deferrable=True)).begin()
    world.sleep(65)
    assert "0 of 150 runs have ended: 150 EXECUTING" in world.log.lines
    assert task.join().result == [1] * 150
    assert world.now < 83
    queries = [one.body for one in world.network.sent if one.request == "POST /api/v1/query"]
    assert len(queries) > 20
    assert len([body for body in queries if b"is_finished" not in body]) < len(queries) / 3


def test_each_of_many_runs_without_a_version_is_canceled_after_a_while(world: World) -> None:
    world.server.on_task("resize", after=60)
    world.server.unknown_task("resize")
    outcome = world.task(batch(120, deferrable=True, pending_version_timeout=120)).run()
    assert outcome.state == "failed"
    assert set(world.network.statuses()) == {"CANCELED"}
    assert 120 < world.now < 150


@pytest.mark.parametrize(("count", "deferrable"), [(5, False), (5, True), (60, True)])
def test_an_outage_of_many_is_a_line_at_its_begin_one_a_minute_and_one_at_its_end(
    world: World, count: int, deferrable: bool
) -> None:
    world.server.on_task("resize", after=300)
    task = world.task(batch(count, deferrable=deferrable)).begin()
    world.sleep(40)
    world.network.outage("lost", seconds=220)
    task.join()
    lines = [
        line for line in world.log.lines if line.startswith("Status checks of ") or " again after " in line
    ]
    for line, seconds in zip(lines[:4], "0611", strict=True):
        assert re.match(f"Status checks of .* have failed for {seconds}[0-9]* s; still waiting: ", line)
    assert re.match(rf"{count} runs \(.*\) can be checked again after 2", lines[4])
    assert len(lines) == 5
    counted = f"{count} of {count} runs have ended: {count} COMPLETED"
    assert f"0 of {count} runs have ended: {count} EXECUTING" in world.log.lines
    assert counted in world.log.lines


def test_if_the_watch_crashes_its_waits_fail_and_the_next_ones_have_another(world: World) -> None:
    world.server.on_task("resize", after=30)
    task = world.task(operator(deferrable=True, retries=1), retries=1).begin()
    world.sleep(10)
    world.network.before = lambda request: 1 / 0
    world.until(lambda: not task.is_deferred, within=5)
    world.network.before = lambda request: None
    outcome = task.join()
    assert (outcome.state, outcome.tries) == ("success", 2)
    assert "The watch of connection 'trigger_dev_default' crashed" in world.log.lines


ENDS = {
    "COMPLETED": {"output": 1},
    "FAILED": {"error": "boom"},
    "CRASHED": {"crash": "TASK_PROCESS_OOM_KILLED"},
    "TIMED_OUT": {"crash": "MAX_DURATION_EXCEEDED"},
}


@pytest.mark.parametrize("seed", range(3))
def test_each_of_many_waits_ends_as_its_run_does_under_random_faults(world: World, seed: int) -> None:
    chance = world.chance
    chance.seed(seed)
    ends = chance.choices(list(ENDS), k=30)
    for number, end in enumerate(ends):
        world.server.on_task(f"task_{number}", start_after=0, after=chance.uniform(1, 200), **ENDS[end])
    tasks = []
    for number in range(30):
        given = {"task_identifier": f"task_{number}", "deferrable": chance.random() < 0.7}
        tasks.append(world.task(operator(retry_statuses=[], **given), start=number).begin())
    world.sleep(2)
    for kind in ("lost", "hang", "503", "429", "page", "500"):
        world.network.fault(kind, rate=chance.uniform(0, 0.1), end=world.hub.now + 300)
    world.network.outage("refused", after=50, seconds=30)
    states = [task.join().state for task in tasks]
    assert states == ["success" if end == "COMPLETED" else "failed" for end in ends]
    assert [f"status {end}" in str(task.outcome.error) for task, end in zip(tasks, ends, strict=True)] == [
        end != "COMPLETED" for end in ends
    ]
    assert not world.network.requests("/cancel")


@pytest.mark.parametrize(
    ("kind", "wait"),
    [(kind, wait) for kind in ("401", "403") for wait in WAITS]
    + [(kind, wait) for kind in ("500", "page") for wait in KNOWING],
)
def test_a_run_that_no_check_shows_any_more_ends_the_wait(world: World, kind: str, wait: str) -> None:
    world.server.on_task("resize", after=3600)
    task = world.task(WAITS[wait](world)).begin()
    world.sleep(30)
    for part in ("GET /api/v3/runs/", "POST /api/v1/query"):
        world.network.fault(kind, part)
    outcome = task.join()
    assert (outcome.state, outcome.tries) == ("failed", 1)
    assert ("trigger_dev_default" if kind == "401" else "run_") in str(outcome.error)
    assert (30 if kind == "401" else 90) <= world.now <= 200, "after retry_for"


@pytest.mark.parametrize("wait", [name for name in WAITS if "deferred" in name])
@pytest.mark.parametrize("meanwhile", ["tr_prod_mistyped", "tr_stg_other"])
def test_a_deferred_wait_continues_with_a_key_that_was_changed_once_that_shows_its_run(
    world: World, wait: str, meanwhile: str
) -> None:
    world.server.on_task("resize", after=120, output="done")
    world.server.add_environment("stg", secret_key="tr_stg_other")
    task = world.task(WAITS[wait](world)).begin()
    world.sleep(30)
    world.server.rotate_key()
    world.connect(meanwhile)
    world.sleep(15)
    world.connect()
    assert task.join().state == "success"
    assert world.now < 130


def test_a_retry_waits_for_the_same_run_after_a_key_of_another_environment(world: World) -> None:
    world.server.on_task("resize", after=300, output="done")
    world.server.add_environment("stg", secret_key="tr_stg_other")
    rotated = []

    def rotate(request: str) -> None:
        if "GET /api/v3/runs/" in request and not rotated:
            rotated.append(request)
            world.server.rotate_key()
            world.connect("tr_stg_other")

    world.network.before = rotate
    task = world.task(operator(deferrable=False), retries=1).begin()
    world.until(lambda: task.outcome.state == "up_for_retry")
    world.connect()
    assert "Check that connection 'trigger_dev_default' has a key of its environment" in str(
        task.outcome.error
    )
    assert (task.join().state, len(world.server.runs)) == ("success", 1)


@pytest.mark.parametrize(
    ("ahead", "down", "seconds"),
    [
        pytest.param(0, 0, 10, id="its wait was quick"),
        pytest.param(0, 60, 60, id="it is on another triggerer now"),
        pytest.param(3600, 0, 30, id="the clock of the worker is ahead"),
    ],
)
def test_an_event_is_held_back_until_the_scheduler_has_seen_the_deferral(
    world: World, ahead: float, down: float, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_compat, "scheduler_knows_resumed_tasks", lambda: False)
    world.server.on_task("resize", start_after=0, after=0, output="done")
    world.triggerer.stop()
    begun = world.now
    monkeypatch.setattr(time, "time", lambda: world.hub.time() + ahead)
    task = world.task(operator(deferrable=True)).begin()
    world.until(lambda: task.is_deferred)
    monkeypatch.setattr(time, "time", world.hub.time)
    world.sleep(down)
    world.triggerer.start()
    assert task.join().state == "success"
    assert seconds <= world.now - begun <= seconds + 2


def test_a_timeout_of_a_sensor_that_is_shorter_than_an_event_is_held_back_ends_no_wait_that_succeeds(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_compat, "scheduler_knows_resumed_tasks", lambda: False)
    world.server.on_task("resize", start_after=0, after=2)
    assert world.task(sensor(world, deferrable=True, timeout=5)).run().state == "success"


@pytest.mark.parametrize(("seconds", "text"), [(60, "one minute"), (3600, "one hour")])
def test_requests_of_a_wait_in_a_worker_are_documented(world: World, seconds: int, text: str) -> None:
    world.network.latency = (0.0, 0.0)
    world.server.on_task("resize", start_after=0, after=seconds)
    assert world.task(operator(deferrable=False)).run().state == "success"
    page = (Path(__file__).parents[2] / "docs/limits.md").read_text(encoding="utf-8")
    assert f"{len(world.network.sent)} for {text}" in page


@pytest.mark.parametrize("mode", ["poke", "reschedule"])
@pytest.mark.parametrize("faults", [(), ("500",)], ids=["query", "no query"])
def test_a_sensor_in_a_worker_sees_the_ends_of_many_runs_with_few_requests(
    world: World, mode: str, faults: tuple[str, ...]
) -> None:
    runs = [world.server.add_run("EXECUTING", then=[(300, "COMPLETED")]) for _ in range(110)]
    lost = runs[7]
    lost.lost_since = world.hub.time() + 299
    for kind in faults:
        world.network.fault(kind, "POST /api/v1/query")
    ids = [run.id for run in runs]
    outcome = world.task(
        lambda: TriggerRunSensor(task_id="wait", run_ids=ids, poke_interval=30, mode=mode)
    ).run()
    assert outcome.result == [{"run_id": one, "status": "COMPLETED"} for one in ids]
    assert 300 <= world.now <= 400
    assert faults or len(world.network.sent) < 250


def test_a_poke_leaves_no_request_behind_that_meets_a_closed_client(world: World) -> None:
    ids = [world.server.add_run("EXECUTING", then=[(200, "COMPLETED")]).id for _ in range(150)]
    world.network.latency = (0.1, 6.0)
    made = {"task_id": "wait", "run_ids": ids, "poke_interval": 10}
    outcome = world.task(lambda: TriggerRunSensor(**made)).run()
    assert outcome.state == "success", outcome.error


@pytest.mark.parametrize("wait", KNOWING)
def test_a_run_that_is_shown_again_a_little_later_than_others_is_waited_for(world: World, wait: str) -> None:
    world.server.on_task("resize", after=240)
    task = world.task(WAITS[wait](world)).begin()
    world.sleep(30)
    world.network.outage("500", seconds=90)
    world.network.fault("500", "GET /api/v3/runs/run_c", start=world.hub.now + 90, end=world.hub.now + 105)
    outcome = task.join()
    assert (outcome.state, outcome.tries) == ("success", 1)


@pytest.mark.parametrize("kind", ["401", "403"])
@pytest.mark.parametrize("deferrable", [False, True], ids=["worker", "deferred"])
def test_a_key_that_is_rejected_from_an_outage_on_ends_a_wait_for_many(
    world: World, deferrable: bool, kind: str
) -> None:
    world.server.on_task("resize", after=None)
    task = world.task(batch(25, deferrable=deferrable)).begin()
    world.sleep(30)
    world.network.outage("503", seconds=30)
    world.network.fault(kind)
    assert task.join(600).state == "failed"
    assert world.now < 250


@pytest.mark.parametrize("wait", WAITS)
def test_an_outage_may_begin_and_end_with_a_rejection(world: World, wait: str) -> None:
    world.server.on_task("resize", after=120, output="done")
    task = world.task(WAITS[wait](world)).begin()
    world.sleep(30)
    now = world.hub.now
    for seconds in (0, 1200):
        world.network.fault("403", "GET /api/v3/runs", start=now + seconds, times=1)
    world.network.outage("503", seconds=1200)
    world.network.fault("503", "/query", start=now + 1200, end=now + 1230)
    outcome = task.join()
    assert (outcome.state, outcome.tries) == ("success", 1)


@pytest.mark.parametrize("kind", ["401", "403"])
@pytest.mark.parametrize("deferrable", [False, True], ids=["worker", "deferred"])
def test_a_gateway_that_rejects_for_less_than_retry_for_after_an_outage_ends_no_wait(
    world: World, deferrable: bool, kind: str
) -> None:
    world.server.on_task("resize", after=900, output="done")
    task = world.task(operator(deferrable=deferrable)).begin()
    world.sleep(30)
    world.network.outage("503", seconds=300)
    world.network.outage(kind, after=300, seconds=45)
    outcome = task.join()
    assert (outcome.state, outcome.tries) == ("success", 1)


def test_a_wait_that_begins_while_checks_are_rejected_has_its_own_patience(world: World) -> None:
    ids = [world.server.add_run("EXECUTING", then=[(300, "COMPLETED")]).id for _ in range(110)]
    waits = [
        world.task(partial(TriggerRunSensor, task_id=name, run_ids=ids, deferrable=True)) for name in "ab"
    ]
    waits[0].begin()
    world.sleep(30)
    world.network.outage("403", seconds=90)  # for longer than retry_for, 60 s
    world.sleep(45)
    waits[1].begin()
    assert [wait.join().state for wait in waits] == ["failed", "success"]


@pytest.mark.parametrize("kind", ["500", "hang"])
@pytest.mark.parametrize("deferrable", [False, True], ids=["worker", "deferred"])
def test_a_wait_for_a_run_that_is_gone_ends_also_while_no_list_works(
    world: World, deferrable: bool, kind: str
) -> None:
    world.server.on_task("resize", after=None)
    task = world.task(operator(deferrable=deferrable)).begin()
    world.sleep(30)
    world.server.runs.clear()
    for part in ("GET /api/v1/runs", "POST /api/v1/query"):
        world.network.fault(kind, part)
    assert task.join().state == "failed"
    assert world.now < 250


@pytest.mark.parametrize(
    ("deferrable", "after", "count"),
    [*product([False, True], [300, None], [1]), (False, 300, 120), (True, None, 120)],
)
def test_a_key_that_is_changed_ends_no_wait_and_is_that_of_its_cancel(
    world: World, deferrable: bool, after: float | None, count: int
) -> None:
    world.server.on_task("resize", after=after)
    task = world.task(batch(count, deferrable=deferrable, timeout=600)).begin()
    world.sleep(60)
    world.server.environment.secret_key = "tr_prod_another_key_of_this_server"
    world.connect("tr_prod_another_key_of_this_server")
    outcome = task.join()
    assert outcome.state == ("success" if after else "failed"), outcome.error
    assert set(world.network.statuses()) == {"COMPLETED" if after else "CANCELED"}


def test_nothing_is_sent_to_where_a_connection_leads_now_instead(world: World) -> None:
    world.server.on_task("resize", after=None)
    task = world.task(operator(deferrable=True)).begin()
    world.sleep(30)
    world.server.rotate_key()
    world.connect(host="https://elsewhere.test")
    world.until(lambda: not task.is_deferred)
    of_trigger = [one.status for one in world.network.sent if 1030 < one.at < world.hub.now - 0.2]
    assert set(of_trigger) == {401}
    assert task.join().state == "failed"


# What ends a wait before its runs


@pytest.mark.parametrize("cancels", [True, False])
@pytest.mark.parametrize("count", [1, 200])
@pytest.mark.parametrize(
    ("limit", "deferrable"),
    [("timeout", False), ("timeout", True), ("execution_timeout", True)],  # else Airflow itself ends the task
)
def test_a_time_limit_cancels_the_runs(
    world: World, limit: str, deferrable: bool, count: int, cancels: bool
) -> None:
    world.server.on_task("resize", after=None)
    given = {limit: timedelta(seconds=60), "deferrable": deferrable, "cancel_on_kill": cancels}
    outcome = world.task(operator(**given) if count == 1 else batch(count, **given)).run()
    assert outcome.state == "failed"
    assert world.network.statuses() == ["CANCELED" if cancels else "EXECUTING"] * count
    assert ("It was canceled." if cancels else "It was not canceled, and is EXECUTING.") in str(outcome.error)
    assert 55 < world.now < 75


@pytest.mark.parametrize("make", [operator, partial(batch, 3)], ids=["one", "many"])
def test_the_time_limit_counts_from_the_start_of_the_run_over_all_tries(world: World, make: Any) -> None:
    world.server.on_task("resize", after=None)
    task = world.task(make(deferrable=False, timeout=100), retries=1).begin()
    world.sleep(50)
    task.kill()
    world.until(lambda: not world.network.alive())
    assert world.now < 125


@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.parametrize("count", [1, 3, 60])
def test_the_time_limit_does_not_count_from_an_outage_before_the_start(
    world: World, count: int, deferrable: bool
) -> None:
    world.connect(retry_for=150)
    world.server.on_task("resize", after=50)
    world.network.outage("refused", seconds=100)
    assert world.task(batch(count, deferrable=deferrable, timeout=60)).run().state == "success"


@pytest.mark.parametrize("ahead", [-3600, 3600])
@pytest.mark.parametrize("after", [60, None])
@pytest.mark.parametrize("count", [1, 60])
def test_the_time_limit_counts_by_the_clock_of_the_server(
    world: World, monkeypatch: pytest.MonkeyPatch, count: int, after: float | None, ahead: float
) -> None:
    world.server.on_task("resize", after=after)
    monkeypatch.setattr(time, "time", lambda: world.hub.time() + ahead)  # the worker's clock
    task = world.task(batch(count, deferrable=True, timeout=120)).begin()
    world.until(lambda: task.is_deferred)
    world.triggerer.stop()
    monkeypatch.setattr(time, "time", world.hub.time)  # the clock of the next triggerer
    world.triggerer.start()
    assert task.join().state == ("success" if after else "failed")
    assert after or 115 < world.now < 135


@pytest.mark.parametrize("world", [{"acknowledge_after": None}], indirect=True)
def test_the_time_limit_does_not_count_from_a_run_of_an_earlier_try_that_was_canceled(world: World) -> None:
    world.server.on_task("resize", after=30, output="done")
    task = world.task(operator(deferrable=False, timeout=60), retries=1, retry_delay=5).begin()
    world.sleep(10)
    world.network.fault("500", "GET /api/v1/runs")  # so the retry's own start finds it, and waits for its end
    task.terminate()
    assert task.join().result == "done"
    assert world.network.statuses() == ["CANCELED", "COMPLETED"]


@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.parametrize("after", [59.2, 59.6, 59.9, 60.2])
def test_what_ends_at_its_time_limit_has_its_own_outcome(
    world: World, after: float, deferrable: bool
) -> None:
    world.server.on_task("resize", after=after, output="done")
    outcome = world.task(operator(deferrable=deferrable, timeout=60)).run()
    [status] = world.network.statuses()
    assert (outcome.state, status) in (("success", "COMPLETED"), ("failed", "CANCELED"))


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_run_that_completes_in_spite_of_the_cancel_at_its_time_limit_has_completed(
    world: World, deferrable: bool
) -> None:
    late = {"acknowledge_after": 0.8, "completes_despite_cancel": True, "output": "late"}
    world.server.on_task("resize", after=None, **late)
    world.network.latency = (0.5, 0.5)
    outcome = world.task(operator(deferrable=deferrable, timeout=60)).run()
    assert (outcome.state, outcome.result) == ("success", "late")


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_run_that_cannot_be_canceled_at_its_time_limit_is_named(world: World, deferrable: bool) -> None:
    world.server.on_task("resize", after=None)
    world.network.fault("500", "/cancel")
    outcome = world.task(operator(deferrable=deferrable, timeout=60)).run()
    assert outcome.state == "failed"
    [run_id] = world.network.alive()
    assert run_id in str(outcome.error)
    assert "may still be running" in str(outcome.error)
    # Airflow 2 does not resume a task at its execution_timeout: then the trigger's log alone says it.
    assert any(line.startswith(f"Run {run_id} may still be running: ") for line in world.log.lines)


@pytest.mark.parametrize("count", [1, 2])
def test_a_canceled_run_is_not_started_again_where_its_last_check_fails(world: World, count: int) -> None:
    world.server.on_task("resize", after=None)
    task = world.task(batch(count, deferrable=True), retries=1).begin()
    world.sleep(60)
    task.before_resuming = lambda: world.network.outage("refused", seconds=90)
    for run in list(world.server.runs.values()):
        run.cancel()
    world.sleep(600)
    outcome = task.outcome
    assert (outcome.state, outcome.tries, len(world.server.runs)) == ("failed", 1, count)
    assert str(outcome.error).count("ended with status CANCELED") == count


@pytest.mark.parametrize("world", [{"query_lag": 4.0}], indirect=True)
@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.parametrize("is_deployed", [False, True])
def test_a_run_without_a_version_is_canceled_after_a_while(
    world: World, is_deployed: bool, deferrable: bool
) -> None:
    world.server.on_task("resize", after=60)
    world.server.unknown_task("resize")
    task = world.task(operator(deferrable=deferrable, pending_version_timeout=120), retries=1).begin()
    world.sleep(119.5)
    if is_deployed:
        world.server.deploy("resize")
    outcome = task.join()
    assert outcome.state == ("success" if is_deployed else "failed")
    assert world.network.statuses() == ["COMPLETED" if is_deployed else "CANCELED"]
    assert outcome.tries == 1  # another run would wait for the same


@pytest.mark.parametrize("wait", [wait for wait in WAITS if "sensor" in wait])
@pytest.mark.parametrize(("option", "after"), [("soft_fail", 60), ("soft_fail", None), ("never_fail", 60)])
def test_a_sensor_may_be_skipped_in_place_of_failed(
    world: World, option: str, after: float | None, wait: str
) -> None:
    world.server.on_task("resize", after=after, error="boom")
    make = WAITS[wait](world)

    def skipping() -> Any:
        made = make()
        made.timeout = 120
        setattr(made, option, True)
        return made

    assert world.task(skipping).run().state == "skipped"
    assert world.now < 150


def test_a_resumed_sensor_with_soft_fail_is_retried_where_a_retry_may_succeed(world: World) -> None:
    world.server.on_task("resize", after=60, output="done")
    make = sensor(world, deferrable=True, soft_fail=True, return_outputs=True)
    task = world.task(make, retries=1)
    task.before_resuming = lambda: world.network.fault("403", "GET /api/v3/runs/", times=1)
    outcome = task.run()
    assert (outcome.state, outcome.result, outcome.tries) == ("success", ["done"], 2)


# Several runs


@pytest.mark.parametrize("deferrable", [False, True])
def test_the_others_may_be_canceled_as_soon_as_one_has_failed(world: World, deferrable: bool) -> None:
    world.server.on_task("resize", after=None)
    world.server.on_task("resize", times=1, after=30, error="boom")
    task = world.task(batch(5, deferrable=deferrable, cancel_others=True))
    assert task.run().state == "failed"
    assert world.network.statuses() == ["FAILED"] + ["CANCELED"] * 4
    assert world.now < 60
    assert [one["status"] for one in task.pushed["results"]] == world.network.statuses()


@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.parametrize(("fail_on", "state"), [("any", "failed"), ("never", "success"), ("50%", "success")])
def test_how_many_runs_may_fail(world: World, fail_on: str, state: str, deferrable: bool) -> None:
    world.server.on_task("resize", after=30, output=lambda payload: payload)
    world.server.on_task("resize", times=1, after=30, error="boom")
    task = world.task(batch(3, deferrable=deferrable, fail_on=fail_on))
    outcome = task.run()
    assert outcome.state == state
    assert outcome.result == ([None, 1, 2] if state == "success" else None)
    assert [one["status"] for one in task.pushed["results"]] == ["FAILED", "COMPLETED", "COMPLETED"]


def test_an_output_that_is_gone_counts_with_the_runs_that_did_not_complete(world: World) -> None:
    world.server.on_task("resize", after=None)
    world.server.on_task("resize", times=1, after=10, output="gone")
    world.server.on_task("resize", times=1, after=60, error="boom")
    task = world.task(batch(4, deferrable=True, cancel_others=True, fail_on="all")).begin()
    world.sleep(40)
    gone = next(iter(world.server.runs))
    world.network.fault("404", f"GET /api/v3/runs/{gone}")
    outcome = task.join()
    assert outcome.state == "failed"
    assert gone in str(outcome.error)
    assert str(outcome.error).startswith("2 of 4 items failed: ")
    assert "Canceled because of a failed run (cancel_others=True): 2" in str(outcome.error)


@pytest.mark.parametrize(("status", "times"), [("403", math.inf), ("403", 1), ("429", 3)])
def test_an_output_that_the_object_store_rejects_is_missing_if_a_second_address_is_rejected_too(
    world: World, status: str, times: float
) -> None:
    world.server.on_task("resize", after=10, output="done", output_by_url=True)
    task = world.task(batch(3, fail_on="never")).begin()
    world.until(lambda: len(world.server.runs) == 3)
    gone = list(world.server.runs)[1]
    world.network.fault(status, f"{gone}/attempt_1/output", times=times)
    outcome = task.join()
    is_missing = times == math.inf
    assert (outcome.state, outcome.tries) == ("success", 1)
    assert outcome.result == ["done", None if is_missing else "done", "done"]
    errors = [one["error"] or "" for one in task.pushed["results"]]
    assert ["the object store rejected" in error for error in errors] == [False, is_missing, False]
    fetches = world.network.requests(f"{gone}/attempt_1/output")
    assert len(fetches) == (2 if is_missing else times + 1)


def test_outputs_that_are_large_together_are_replaced_by_references(world: World) -> None:
    world.server.on_task("resize", after=5, output="x" * 600)
    outcome = world.task(batch(2, max_output_size=1000)).run()
    assert outcome.result == [{"run_id": run_id, "output_size": 602} for run_id in world.server.runs]


@pytest.mark.parametrize("form", [tuple, json.dumps])
@pytest.mark.parametrize("trigger_fails", [False, True])
def test_an_xcom_backend_may_return_the_ids_in_another_form(
    world: World, trigger_fails: bool, form: Any
) -> None:
    world.server.on_task("resize", after=30, output=lambda payload: payload)
    task = world.task(batch(3, deferrable=True))
    pull = task.ti.xcom_pull
    task.ti.xcom_pull = lambda **what: form(pull(**what))
    task.begin()
    world.sleep(20)
    if trigger_fails:
        task.fail_trigger()
    outcome = task.join()
    assert outcome.result == (None if trigger_fails else [0, 1, 2])
    assert set(world.network.statuses()) == {"CANCELED" if trigger_fails else "COMPLETED"}


# The key


@pytest.mark.parametrize("part", ["", "POST /api/v1/tasks", "GET /api/v3/runs", "/cancel"])
@pytest.mark.parametrize("deferrable", [False, True])
def test_the_key_is_in_no_log_error_or_xcom(world: World, part: str, deferrable: bool) -> None:
    key = world.server.secret_key
    world.server.on_task("resize", after=None)
    world.network.fault("echo", part)
    task = world.task(operator(deferrable=deferrable, timeout=60))
    task.run()
    shown = [*world.log.leveled, task.ti.xcoms, str(task.outcome.error), repr(task.outcome.error)]
    assert key not in repr(shown)
    assert "***" in repr(shown)


def test_the_key_is_hidden_where_others_have_put_it(world: World) -> None:
    key = world.server.secret_key
    world.server.on_task("resize", after=5, output={"key": key})
    task = world.task(operator())
    assert task.run().result == {"key": "***"}
    assert key not in repr(task.ti.xcoms)
    world.network.fault("404", "POST /api/v1/tasks")
    failed = world.task(operator(task_identifier=key, task_id="other")).run()
    assert "***" in str(failed.error)
    assert key not in str(failed.error)
