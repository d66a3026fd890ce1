"""Which runs the list shows: to the hook, and to a cancel by a tag."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from world import World

from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook
from airflow_provider_trigger.operators.cancel import CancelTriggerRunOperator

LIST = "GET /api/v1/runs"
FILTERS = [f"filter[{name}]" for name in ("tag", "status", "taskIdentifier", "createdAt][from")]


@pytest.mark.parametrize("ignored", [[], FILTERS], ids=["filters", "filters ignored"])
def test_runs_are_listed_that_have_all_that_is_wanted(world: World, ignored: list[str]) -> None:
    wanted: dict[str, Any] = {"status": "QUEUED", "tags": ["a", "b"], "task_identifier": "resize"}
    world.server.add_run(**wanted)  # too early
    world.sleep(10)
    created_after = datetime.fromtimestamp(world.hub.time(), UTC)
    world.sleep(10)
    fitting = world.server.add_run(**wanted)
    for other in ({"status": "EXECUTING"}, {"tags": ["b"]}, {"task_identifier": "scale"}):
        world.server.add_run(**wanted | other)
    for _ in range(150):
        world.server.add_run("QUEUED")
    world.sleep(10)
    world.network.unknown_parameters = ignored
    listed = TriggerDevHook().list_runs(
        tags=["b", "a"],
        statuses=["QUEUED", "DELAYED"],
        task_identifiers=["resize", "crop"],
        created_after=created_after,
    )
    assert [run.id for run in listed] == [fitting.id]
    assert len(world.network.requests(LIST)) == (2 if ignored else 1)


def test_a_tag_finds_what_is_alive_behind_ended_runs(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_trigger.run.search._UNFILTERED_PAGES", 2)
    alive = ["PENDING_VERSION", "QUEUED", "DEQUEUED", "EXECUTING", "WAITING", "DELAYED"]
    ended = ["COMPLETED", "CANCELED", "FAILED", "EXPIRED", "TIMED_OUT"]
    runs = []
    for status in [*alive, *ended * 100, "PAUSED_BY_USER"]:
        runs.append(world.server.add_run(status, tags=["night"]))
        runs[-1].stay()
        world.hub.now += 0.001  # the newest come first
    world.sleep(90_000)
    outcome = world.task(lambda: CancelTriggerRunOperator(task_id="cancel", tags="night")).run()
    assert {one["run_id"] for one in outcome.result} == {run.id for run in [*runs[:6], runs[-1]]}
    assert len(world.network.requests(LIST)) == 4, "of those that have ended, not all pages are read"


def test_what_two_looks_show_is_found_once(world: World) -> None:
    for _ in range(3):
        world.server.add_run("EXECUTING", tags=["night"])
    world.sleep(10)
    world.network.fault("403", "/cancel")
    outcome = world.task(lambda: CancelTriggerRunOperator(task_id="cancel", tags="night")).run()
    assert outcome.state == "failed"
    assert len(world.network.requests(LIST)) == 2
    assert [line[:18] for line in world.log.lines if " alive by " in line] == ["Found 3 runs alive"]
