"""Exactly one run for each task instance, whatever is lost on the way, and over its retries."""

from __future__ import annotations

from typing import Any

import pytest
from world import World

from airflow_provider_trigger.operators.batch import RunTriggerTaskBatchOperator
from airflow_provider_trigger.operators.replay import ReplayTriggerRunOperator
from airflow_provider_trigger.operators.run import RunTriggerTaskOperator

LOST = ("refused", "lost", "hang", "503", "page")


def one(**arguments: Any) -> Any:
    given = {"task_id": "start", "task_identifier": "resize"} | arguments
    return lambda: RunTriggerTaskOperator(**given)


def many(count: int, **arguments: Any) -> Any:
    given = {"task_id": "start", "task_identifier": "resize", "payloads": list(range(count))} | arguments
    return lambda: RunTriggerTaskBatchOperator(**given)


@pytest.mark.parametrize("is_after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("kind", LOST)
def test_a_lost_start_is_sent_again_and_starts_one_run(world: World, kind: str, is_after: bool) -> None:
    world.server.on_task("resize", after=5, output="done")
    world.network.fault(kind, "/trigger", times=2, after=is_after)
    outcome = world.task(one()).run()
    assert (outcome.state, outcome.result, outcome.tries) == ("success", "done", 1)
    assert len(world.server.runs) == 1


@pytest.mark.parametrize("is_after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("kind", LOST)
def test_a_batch_whose_answers_are_lost_has_each_run_once(world: World, kind: str, is_after: bool) -> None:
    world.server.on_task("resize", after=5, output="done")
    world.network.fault(kind, "POST /api/v", times=3, after=is_after)
    outcome = world.task(many(50)).run()
    assert outcome.state == "success"
    assert sorted(run.payload for run in world.server.runs.values()) == list(range(50))


@pytest.mark.parametrize("moment", [0.001, 0.02, 0.04, 0.5, 20.0])
@pytest.mark.parametrize("deferrable", [False, True])
def test_the_retry_of_a_killed_process_takes_the_same_run_up(
    world: World, moment: float, deferrable: bool
) -> None:
    world.server.on_task("resize", after=300, output="done")
    task = world.task(one(deferrable=deferrable), retries=1).begin()
    world.sleep(moment)
    task.kill()
    outcome = task.join()
    assert (outcome.state, outcome.result) == ("success", "done")
    assert len(world.server.runs) == 1


@pytest.mark.parametrize("moment", [0.03, 0.06, 0.2, 1.0, 20.0])
def test_the_retry_of_a_killed_batch_starts_only_what_is_missing(world: World, moment: float) -> None:
    world.server.on_task("resize", after=300, output="done")
    task = world.task(many(200, deferrable=False), retries=1).begin()
    world.sleep(moment)
    task.kill()
    assert task.join().state == "success"
    assert len(world.server.runs) == 200


def test_a_retry_starts_a_new_run_in_place_of_one_that_failed(world: World) -> None:
    world.server.on_task("resize", after=5, error="boom")
    task = world.task(one(), retries=2)
    assert task.run().state == "failed"
    assert world.network.statuses() == ["FAILED"] * 3


@pytest.mark.parametrize("kind", ["lost", "hang"])
def test_a_replay_that_may_exist_is_not_sent_again(world: World, kind: str) -> None:
    world.server.on_task("resize", after=1)
    first = world.task(one()).run()
    assert first.state == "success"
    run_id = next(iter(world.server.runs))
    world.network.fault(kind, "/replay", after=True)
    replay = world.task(lambda: ReplayTriggerRunOperator(task_id="again", run_id=run_id), retries=1)
    outcome = replay.run()
    assert outcome.state == "failed"
    assert len(world.server.runs) == 2
    assert "may" in str(outcome.error)
