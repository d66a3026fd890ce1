"""The log of a wait shows the metadata of its runs, once it has changed."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import pytest
from world import World

from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook
from airflow_provider_trigger.operators.batch import RunTriggerTaskBatchOperator
from airflow_provider_trigger.operators.run import RunTriggerTaskOperator
from airflow_provider_trigger.sensors.run import TriggerRunSensor

WAYS = pytest.mark.parametrize("deferrable", [False, True], ids=["worker", "deferred"])


def operator(world: World, **arguments: Any) -> Any:
    given = {"task_id": "start", "task_identifier": "resize"} | arguments
    return world.task(lambda: RunTriggerTaskOperator(**given))


def batch(world: World, count: int, **arguments: Any) -> Any:
    given = {"task_id": "batch", "task_identifier": "resize", "payloads": list(range(count))} | arguments
    return world.task(lambda: RunTriggerTaskBatchOperator(**given))


def lines(world: World, part: str = "Run run_") -> list[str]:
    """Return the lines about single runs, without id, attempt and costs."""
    found = [line.partition(" is ")[2] for line in world.log.lines if part in line]
    return [re.sub(r", attempt 1( \(.*?\))?", "", line) for line in found]


@WAYS
@pytest.mark.parametrize("is_shown", [True, False], ids=["shown", "turned off"])
def test_lines_of_a_run_end_with_its_metadata_if_it_has_changed(
    world: World, deferrable: bool, is_shown: bool
) -> None:
    world.server.on_task("resize", start_after=100, after=1000, output=1)
    arguments = {} if is_shown else {"run_progress": False}
    task = operator(world, deferrable=deferrable, metadata={"step": "läuft"}, **arguments).begin()
    world.sleep(200)
    [run] = world.server.runs.values()
    run.metadata = {"step": "resize", "percent": 40}
    world.sleep(890)
    run.metadata = {"step": "done"}
    assert task.join().result == 1
    first = ["", ': {"step": "läuft"}']
    queued, executing = first if deferrable else reversed(first)  # a query shows no metadata
    expected = [
        ("QUEUED", queued),
        ("EXECUTING", executing),
        ("still EXECUTING after 7 minutes", ': {"step": "resize", "percent": 40}'),
        ("still EXECUTING after 12 minutes", ""),
        ("still EXECUTING after 17 minutes", ""),
        ("COMPLETED", ': {"step": "done"}'),
    ]
    assert lines(world) == [line + progress * is_shown for line, progress in expected]


@WAYS
@pytest.mark.parametrize("ends", [{"output": 1}, {"error": "boom"}], ids=["completes", "fails"])
def test_the_end_of_a_run_does_not_repeat_its_metadata(
    world: World, deferrable: bool, ends: dict[str, Any]
) -> None:
    world.server.on_task("resize", start_after=10, after=60, **ends)
    operator(world, deferrable=deferrable, metadata={"step": 1}).run()
    assert [": {" in line for line in lines(world)].count(True) == 1
    assert len(lines(world)) == 3


@pytest.mark.parametrize("run_progress", [True, False])
def test_the_sensor_and_the_hook_show_metadata_too(world: World, run_progress: bool) -> None:
    def run() -> str:
        then = [(90, "EXECUTING"), (200, "COMPLETED")]
        return world.server.add_run("QUEUED", metadata=[1], then=then).id

    given: Any = {"task_id": "wait", "run_ids": run(), "poke_interval": 5, "run_progress": run_progress}
    world.task(lambda: TriggerRunSensor(**given)).run()
    TriggerDevHook().wait_for_run(run(), run_progress=run_progress)
    assert lines(world) == ["QUEUED" + ": [1]" * run_progress, "EXECUTING", "COMPLETED"] * 2


@WAYS
def test_of_several_runs_each_of_which_has_changed_is_a_line_each_five_minutes(
    world: World, deferrable: bool
) -> None:
    world.server.on_task("resize", start_after=0, after=700)
    task = batch(world, 30, deferrable=deferrable).begin()
    world.sleep(20)
    first, second, *_ = world.server.runs.values()
    first.metadata = second.metadata = {"percent": 1}
    world.sleep(300)
    second.metadata = {"percent": 2}
    task.join()
    changes = [("EXECUTING", 1), ("EXECUTING", 1), ("EXECUTING", 2)]
    assert lines(world) == [f'{status}: {{"percent": {percent}}}' for status, percent in changes]


def test_the_link_from_a_run_to_its_task_is_not_repeated_in_the_log(world: World) -> None:
    metadata = {"airflow": "https://airflow.example.com/dags/d/runs/r/tasks/t", "step": 1}
    run = world.server.add_run("EXECUTING", metadata=metadata, then=[(20, "COMPLETED")])
    TriggerDevHook().wait_for_run(run.id)
    assert lines(world) == ['EXECUTING: {"step": 1}', "COMPLETED"]


@WAYS
def test_metadata_is_cut_before_a_word_and_shows_no_secret(world: World, deferrable: bool) -> None:
    url = f"{world.server.url}/api/v1/waitpoints/tokens/waitpoint_1/callback/"
    metadata = {
        "key": world.server.secret_key,
        "half": "\ud800\u2028",
        "at": f"{url}0a1b",
        "x": "\n" + "y " * 99,
    }
    run = world.server.add_run("EXECUTING", metadata=metadata, then=[(400, "COMPLETED")])
    mode = {"deferrable": True} if deferrable else {"mode": "poke", "poke_interval": 5}
    world.task(lambda: TriggerRunSensor(task_id="wait", run_ids=run.id, **mode)).run()
    [shown] = {line.partition(": ")[2] for line in lines(world) if ": " in line}
    start = f'{{"key": "***", "half": "\ufffd\ufffd", "at": "{url}…", "x": "\\n'
    assert shown.startswith(f"{start}y y y")
    assert (shown[-5:], len(shown)) == ("y y …", pytest.approx(198, abs=6))


def test_a_secret_that_is_too_long_is_left_out_as_a_whole(world: World) -> None:
    run = world.server.add_run("EXECUTING", metadata={"a": 1, "b": "p4ss" * 100}, then=[(20, "COMPLETED")])
    TriggerDevHook().wait_for_run(run.id)
    assert lines(world)[0] == 'EXECUTING: {"a": 1, "b": …'


def test_each_of_a_hundred_deferred_runs_is_checked_every_five_minutes(world: World) -> None:
    world.server.on_task("resize", start_after=0, after=None)
    batch(world, 100, deferrable=True).begin()
    world.sleep(1000)
    checks: dict[str, list[float]] = {}
    for sent in world.network.sent:
        if sent.request.startswith("GET /api/v3/runs/"):
            checks.setdefault(sent.request, []).append(sent.at)
    assert len(checks) == 100
    assert max(later - sooner for at in checks.values() for sooner, later in pairwise(at)) < 300
