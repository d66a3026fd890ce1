"""A time limit that passes is an error with a type: which limit, which run, and what became of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from world import World

from airflow_provider_trigger.exceptions import (
    TriggerBatchFailedError,
    TriggerRunTimeoutError,
    TriggerRunTimeoutNotRetriedError,
)
from airflow_provider_trigger.operators.batch import RunTriggerTaskBatchOperator
from airflow_provider_trigger.operators.run import RunTriggerTaskOperator

START = {"task_id": "start", "task_identifier": "resize"}


@pytest.mark.parametrize("deferrable", [False, True], ids=["worker", "deferred"])
@pytest.mark.parametrize(
    ("given", "limit", "kind"),
    [
        ({"timeout": 60}, "timeout", TriggerRunTimeoutError),
        ({"timeout": 60, "execution_timeout": timedelta(hours=1)}, "timeout", TriggerRunTimeoutError),
        ({"pending_version_timeout": 60}, "pending_version_timeout", TriggerRunTimeoutNotRetriedError),
    ],
)
def test_the_error_names_limit_and_run(
    world: World, given: dict[str, Any], limit: str, kind: Any, deferrable: bool
) -> None:
    world.server.on_task("resize", after=600)
    if limit == "pending_version_timeout":
        world.server.unknown_task("resize")
    outcome = world.task(lambda: RunTriggerTaskOperator(**START, **given, deferrable=deferrable)).run()
    error: Any = outcome.error
    (run,) = world.server.runs.values()
    assert (type(error), error.limit, error.run_id, error.status) == (kind, limit, run.id, "CANCELED")
    assert error.run_url.endswith(f"/runs/{run.id}")
    assert world.network.statuses() == ["CANCELED"]


def test_an_execution_timeout_while_deferred_is_such_an_error(world: World) -> None:
    world.server.on_task("resize", after=600)
    limits: dict[str, Any] = {"timeout": 3000, "execution_timeout": timedelta(seconds=90)}
    outcome = world.task(lambda: RunTriggerTaskOperator(**START, **limits, deferrable=True)).run()
    error: Any = outcome.error
    assert (type(error), error.limit) == (TriggerRunTimeoutError, "execution_timeout")


def test_a_batch_has_its_results(world: World) -> None:
    world.server.on_task("resize", after=600)
    items = {"payloads": [1, 2], "timeout": 60}
    outcome = world.task(lambda: RunTriggerTaskBatchOperator(**START, **items)).run()
    error: Any = outcome.error
    assert type(error) is TriggerBatchFailedError
    assert [result["status"] for result in error.results] == ["CANCELED", "CANCELED"]
