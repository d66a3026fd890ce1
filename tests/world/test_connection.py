"""Airflow does not find a connection, which it also says of each failure of a secrets backend."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fake_airflow import TaskInstance, context_of
from hub import Thread
from world import World

from airflow_provider_trigger import _compat
from airflow_provider_trigger.notifications.cancel import CancelTriggerRunNotifier
from airflow_provider_trigger.operators.batch import RunTriggerTaskBatchOperator
from airflow_provider_trigger.operators.cancel import CancelTriggerRunOperator
from airflow_provider_trigger.operators.run import RunTriggerTaskOperator
from airflow_provider_trigger.operators.waitpoint import (
    CompleteWaitpointTokenOperator,
    CreateWaitpointTokenOperator,
)
from airflow_provider_trigger.sensors.run import TriggerRunSensor
from airflow_provider_trigger.sensors.waitpoint import WaitpointTokenSensor

NOT_FOUND = "Connection 'trigger_dev_default' was not found"


def a_run(world: World) -> str:
    return world.server.add_run("EXECUTING", then=[(120, "COMPLETED")]).id


def a_token(world: World) -> str:
    world.task(lambda: CreateWaitpointTokenOperator(task_id="make")).run()
    return list(world.server.tokens)[-1]


def one(world: World, **arguments: Any) -> Any:
    world.server.on_task("resize", after=120, output="done")
    return lambda: RunTriggerTaskOperator(task_id="start", task_identifier="resize", **arguments)


def batch(world: World, **arguments: Any) -> Any:
    world.server.on_task("resize", after=120, output="done")
    given = {"task_identifier": "resize", "payloads": [1, 2], "fail_on": "any"} | arguments
    return lambda: RunTriggerTaskBatchOperator(task_id="start", **given)


def sensor(world: World, **arguments: Any) -> Any:
    run_id = a_run(world)
    return lambda: TriggerRunSensor(task_id="wait", run_ids=run_id, **arguments)


def canceling(world: World) -> Any:
    run_id = a_run(world)
    return lambda: CancelTriggerRunOperator(task_id="cancel", run_ids=run_id)


def completing(world: World, token_id: str | None = None) -> Any:
    token_id = token_id or a_token(world)
    return lambda: CompleteWaitpointTokenOperator(task_id="complete", token_ids=token_id, data="yes")


WORKERS: dict[str, Any] = {
    "start": one,
    "batch": batch,
    "sensor, poke": lambda world: sensor(world, mode="poke"),
    "sensor, reschedule": lambda world: sensor(world, mode="reschedule"),
    "cancel": canceling,
    "create a token": lambda world: lambda: CreateWaitpointTokenOperator(task_id="make"),
    "complete a token": completing,
}


@pytest.mark.parametrize("work", WORKERS)
@pytest.mark.parametrize(("seconds", "tries"), [(0.5, 1), (30, 2)], ids=["a moment", "longer"])
def test_a_task_survives_a_lost_connection(world: World, work: str, seconds: float, tries: int) -> None:
    make = WORKERS[work](world)
    world.disconnect()
    task = world.task(make, retries=1).begin()
    world.sleep(seconds)
    world.connect()
    outcome = task.join()
    assert (outcome.state, outcome.tries) == ("success", tries), outcome.error


def test_a_notifier_cancels_after_a_moment_without_its_connection(world: World) -> None:
    run = world.server.add_run("EXECUTING")
    world.disconnect()

    def connect() -> None:
        world.sleep(0.5)
        world.connect()

    Thread(target=connect, name="secrets backend").start()
    CancelTriggerRunNotifier(run_ids=run.id)(context_of(TaskInstance()))
    assert run.status == "CANCELED"


WAITS: dict[str, Any] = {"one": one, "batch": batch, "sensor": sensor}


def restart_triggerer_without_connection(world: World, task: Any) -> None:
    """Only the triggerer lacks it: a resumed task has it again."""
    world.triggerer.stop()
    world.disconnect()
    task.before_resuming = world.connect
    world.triggerer.start()


@pytest.mark.parametrize("wait", WAITS)
def test_a_triggerer_waits_until_it_finds_the_connection_and_cancels_nothing(world: World, wait: str) -> None:
    task = world.task(WAITS[wait](world, deferrable=True)).begin()
    world.sleep(30)
    restart_triggerer_without_connection(world, task)
    world.sleep(400)
    assert task.is_deferred
    said = [line for line in world.log.of("warning") if NOT_FOUND in line]
    assert len(said) == 2, "one line in five minutes"
    world.connect()
    assert task.join().state == "success"
    assert not world.network.requests("/cancel")


@pytest.mark.parametrize("wait", ["one", "batch"])
def test_a_time_limit_without_the_connection_leaves_the_runs_to_a_retry(world: World, wait: str) -> None:
    make = WAITS[wait](world, deferrable=True, timeout=60)
    task = world.task(make, retries=1, retry_delay=90).begin()
    world.sleep(30)
    restart_triggerer_without_connection(world, task)
    world.until(lambda: task.outcome.state == "up_for_retry")
    reason = str(task.outcome.error)
    run_ids = list(world.server.runs)
    assert all(run_id in reason for run_id in run_ids)
    assert "may still be running, as the triggerer could not wait for it" in reason
    assert NOT_FOUND in reason
    assert set(world.network.statuses()) == {"EXECUTING"}
    assert task.join().state == "success"
    assert list(world.server.runs) == run_ids
    assert not world.network.requests("/cancel")


def test_a_connection_that_became_invalid_cancels_nothing_either(world: World) -> None:
    task = world.task(one(world, deferrable=True), retries=1).begin()
    world.sleep(30)
    world.triggerer.stop()
    world.connect(timeout="soon")
    task.before_resuming = world.connect
    world.triggerer.start()
    outcome = task.join()
    assert (outcome.state, outcome.tries, len(world.server.runs)) == ("success", 2, 1)
    assert not world.network.requests("/cancel")


@pytest.mark.parametrize("wait", WAITS)
def test_a_resume_without_the_connection_is_retried_with_its_run(world: World, wait: str) -> None:
    task = world.task(WAITS[wait](world, deferrable=True), retries=1).begin()
    world.sleep(30)
    task.before_resuming = world.disconnect
    count = len(world.server.runs)
    world.until(lambda: task.outcome.state in ("up_for_retry", "success"))
    world.connect()
    assert task.join().state == "success"
    assert set(world.network.statuses()) == {"COMPLETED"}
    assert len(world.server.runs) == count


def test_a_deferred_wait_for_a_token_goes_on_without_the_connection(world: World) -> None:
    token_id = a_token(world)
    task = world.task(
        lambda: WaitpointTokenSensor(task_id="wait", token_id=token_id, deferrable=True, poke_interval=5)
    ).begin()
    world.sleep(30)
    restart_triggerer_without_connection(world, task)
    world.sleep(100)
    world.connect()
    world.task(completing(world, token_id)).run()
    assert task.join().state == "success"


def test_the_runs_of_an_ended_task_are_canceled_once_the_connection_is_found(world: World) -> None:
    task = world.task(one(world, deferrable=True)).begin()
    world.sleep(30)
    restart_triggerer_without_connection(world, task)
    world.sleep(10)
    task.stop()
    world.sleep(15)
    world.connect()
    world.sleep(60)
    assert world.network.statuses() == ["CANCELED"]


def test_a_rejected_key_that_is_lost_ends_the_wait(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit of the fetch lets the checks go on; they are rejected, and say so."""
    task = world.task(one(world, deferrable=True)).begin()
    world.sleep(30)

    async def hang(*_: Any, **__: Any) -> Any:
        await asyncio.sleep(1e6)

    monkeypatch.setattr(_compat, "get_async_connection", hang)
    world.server.rotate_key()
    world.until(lambda: not task.is_deferred, within=400)
    assert any("Status checks of run" in line for line in world.log.of("warning"))
    assert task.join().state == "failed"
    assert "401" in str(task.outcome.error)
