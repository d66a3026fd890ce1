"""Each execution has a run: where a process repeats a test of a Dag, and where a task has several by hand."""

from __future__ import annotations

from typing import Any

import pytest
from fake_airflow import DATE, TaskInstance, context_of, dag_run
from world import World

from airflow_provider_trigger.operators.run import RunTriggerTaskOperator


def context(*, try_number: int = 1, map_index: int = -1, **fields: Any) -> Any:
    ti = TaskInstance("resize", try_number=try_number, max_tries=2, map_index=map_index)
    given = context_of(ti, dag_run=dag_run(**fields))
    if fields.get("run_after", DATE) is None:
        del given["dag_run"].run_after  # as in Airflow 2.11
    return given


def execute(context: Any, task_id: str = "resize") -> Any:
    """Start a run that never ends, and return its id."""
    given: Any = {"task_id": task_id, "task_identifier": "resize", "retries": 2, "deferrable": False}
    return RunTriggerTaskOperator(**given, wait_for_completion=False).execute(context)


@pytest.mark.parametrize(
    ("fields", "is_test"),
    [
        ({}, False),
        ({"start_date": DATE}, True),
        ({"start_date": DATE, "logical_date": None}, True),  # with run_after
        ({"start_date": DATE, "run_after": None}, True),
        ({"start_date": None}, True),
    ],
)
def test_a_repeated_test_of_a_dag_has_a_new_run(world: World, fields: dict[str, Any], is_test: bool) -> None:
    world.server.on_task("resize", after=None)
    first = execute(context(**fields))
    assert execute(context(try_number=2, **fields)) == first  # a retry within the test
    second = execute(context(**fields))
    assert (second != first) is is_test
    assert execute(context(try_number=2, **fields)) == second
    assert execute(context(map_index=1, **fields)) not in (first, second)


@pytest.mark.parametrize("fields", [{}, {"start_date": DATE}], ids=["real", "test"])
def test_each_execution_has_a_run_and_the_same_one_in_a_retry(world: World, fields: dict[str, Any]) -> None:
    world.server.on_task("resize", after=None)

    def executed(try_number: int) -> list[str]:
        given = context(try_number=try_number, **fields)
        return [execute(given), execute(dict(given)), execute(given, "crop"), execute(given)]

    first = executed(1)
    assert len(set(first)) == 4
    assert executed(2) == first
