"""A wait ends with the true outcome of its run, and survives an outage of Trigger.dev."""

from __future__ import annotations

from typing import Any

import pytest
from world import World

from airflow_provider_trigger.operators.run import RunTriggerTaskOperator
from airflow_provider_trigger.sensors.run import TriggerRunSensor

OUTAGES = ("refused", "lost", "hang", "503", "page")


def operator(**arguments: Any) -> Any:
    given = {"task_id": "start", "task_identifier": "resize"} | arguments
    return lambda: RunTriggerTaskOperator(**given)


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


@pytest.mark.parametrize("wait", WAITS)
@pytest.mark.parametrize("kind", OUTAGES)
def test_a_wait_survives_an_outage(world: World, wait: str, kind: str) -> None:
    world.server.on_task("resize", after=120, output="done")
    task = world.task(WAITS[wait](world)).begin()
    world.sleep(30)
    world.network.outage(kind, seconds=1200)
    outcome = task.join()
    assert (outcome.state, outcome.tries) == ("success", 1)
    assert 1230 <= world.now <= 1330


@pytest.mark.parametrize("mode", ["poke", "reschedule"])
@pytest.mark.parametrize("faults", [(), ("500",)], ids=["query", "no query"])
def test_a_sensor_in_a_worker_sees_the_ends_of_many_runs_with_few_requests(
    world: World, mode: str, faults: tuple[str, ...]
) -> None:
    runs = [world.server.add_run("EXECUTING", then=[(300, "COMPLETED")]) for _ in range(150)]
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
    assert faults or len(world.network.sent) < 300


def test_a_poking_sensor_fails_where_its_key_is_rejected_for_longer_than_a_moment(world: World) -> None:
    world.server.on_task("resize", after=600, output="done")
    task = world.task(WAITS["sensor, poke"](world)).begin()
    world.sleep(30)
    world.network.fault("403", times=2)
    world.sleep(30)
    assert task.is_running
    world.network.fault("403")
    outcome = task.join()
    assert outcome.state == "failed"
    assert "rejects the status checks of run" in str(outcome.error)
    assert 90 <= world.now <= 150


@pytest.mark.parametrize("mode", ["poke", "reschedule"])
def test_a_sensor_fails_at_once_for_a_run_that_is_not_there(world: World, mode: str) -> None:
    ids = [started(world), "run_unknown"]
    outcome = world.task(lambda: TriggerRunSensor(task_id="wait", run_ids=ids, mode=mode)).run()
    assert outcome.state == "failed"
    assert "run_unknown answered 404" in str(outcome.error)
    assert world.now < 15
