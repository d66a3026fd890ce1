"""Every run id is tried, what is reported is true, and nothing else is touched."""

from __future__ import annotations

from typing import Any

import pytest
from world import World

from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook
from airflow_provider_trigger.operators.cancel import CancelTriggerRunOperator


def start(world: World, count: int, task: str = "resize") -> list[str]:
    """Start runs as another application would, and return their ids."""
    return [world.server.trigger(task)[0].id for _ in range(count)]


def start_child(world: World, parent: str) -> str:
    """Start a run by another one, and return its id."""
    return world.server.add_run("EXECUTING", parent=world.server.runs[parent]).id


def canceling(run_ids: Any, **arguments: Any) -> Any:
    return lambda: CancelTriggerRunOperator(task_id="cancel", run_ids=run_ids, **arguments)


FAULTS: dict[str, list[dict[str, Any]]] = {
    "none": [],
    "lost answers": [{"kind": "lost", "rate": 0.2, "after": True}],
    "lost requests": [{"kind": "lost", "rate": 0.2}],
    "an outage of 20 s": [{"kind": "refused", "start": 1000.2, "end": 1020.0}],
    "some hang": [{"kind": "hang", "rate": 0.05}],
    "500s": [{"kind": "500", "rate": 0.2}],
    "pages": [{"kind": "page", "rate": 0.1}],
    "no query": [{"kind": "403", "part": "/query"}],
    "no bulk actions": [{"kind": "403", "part": "/bulk-actions"}],
    "neither": [{"kind": "403", "part": "/query"}, {"kind": "403", "part": "/bulk-actions"}],
    "all at once": [
        {"kind": kind, "rate": 0.04, "after": after}
        for kind in ("lost", "hang", "503", "429", "page")
        for after in (False, True)
    ],
}


@pytest.mark.parametrize("count", [1, 30, 300])
@pytest.mark.parametrize("faults", FAULTS)
def test_all_become_canceled_and_nothing_else(world: World, faults: str, count: int) -> None:
    world.server.on_task("resize", after=None)
    run_ids, others = start(world, count), start(world, 5)
    for fault in FAULTS[faults]:
        world.network.fault(**fault)
    outcome = world.task(canceling(run_ids)).run()
    assert outcome.state == "success", outcome.error
    assert [one["outcome"] for one in outcome.result] == ["canceled"] * count
    assert [world.server.runs[run_id].status for run_id in run_ids] == ["CANCELED"] * count
    assert {world.server.runs[run_id].status for run_id in others} <= {"QUEUED", "EXECUTING"}


def test_what_became_of_each_run_is_reported(world: World) -> None:
    world.server.on_task("done", after=0)
    world.server.on_task("resize", after=None)
    alive, done = start(world, 1), start(world, 1, "done")
    world.sleep(10)
    gone = "run_cmunknown00000000000000000"
    outcome = world.task(canceling([*alive, *done, gone], on_not_found="ignore")).run()
    assert outcome.state == "success"
    shown = {one["run_id"]: (one["outcome"], one["status"]) for one in outcome.result}
    assert shown == {
        alive[0]: ("canceled", "CANCELED"),
        done[0]: ("already_completed", "COMPLETED"),
        gone: ("not_found", None),
    }


def test_a_server_that_hangs_ends_the_task_with_what_is_not_known(world: World) -> None:
    world.server.on_task("resize", after=None)
    run_ids = start(world, 50)
    world.network.outage("hang")
    outcome = world.task(canceling(run_ids, retries=0)).run()
    assert outcome.state == "failed"
    assert all(run_id in "\n".join(world.log.lines) + str(outcome.error) for run_id in run_ids[:5])
    assert world.now < 1200


def test_a_rejected_key_ends_the_work_soon(world: World) -> None:
    world.server.on_task("resize", after=None)
    run_ids = start(world, 200)
    world.network.fault("401")
    outcome = world.task(canceling(run_ids)).run()
    assert outcome.state == "failed"
    assert "trigger_dev_default" in str(outcome.error)
    assert world.now < 30
    assert len(world.network.sent) < 60


@pytest.mark.parametrize("has_query", [True, False])
def test_children_are_canceled_with_their_parents(world: World, has_query: bool) -> None:
    world.server.on_task("resize", after=None)
    root = start(world, 1)[0]
    children = [start_child(world, root) for _ in range(3)]
    grandchildren = [start_child(world, one) for one in children]
    if not has_query:
        world.network.fault("403", "/query")
    outcome = world.task(canceling(root, include_descendants=True)).run()
    assert outcome.state == "success", outcome.error
    assert {one["run_id"] for one in outcome.result} == {root, *children, *grandchildren}
    assert set(world.network.statuses()) == {"CANCELED"}


def test_the_hook_cancels_within_a_time_limit(world: World) -> None:
    world.server.on_task("resize", after=None)
    run_ids = start(world, 100)
    world.network.outage("503")
    hook = TriggerDevHook()
    results = hook.cancel_runs(run_ids)
    assert len(results) == 100
    assert {one.outcome for one in results} == {"failed"}
    assert world.now < 130
