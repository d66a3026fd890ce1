"""What identifies Dag runs and task instances, from each kind of context."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from fake_airflow import DATE, TaskInstance, context_of, dag_run

from airflow_provider_trigger.run.identity import RunKey, TaskInstanceIdentity
from airflow_provider_trigger.sources import context as context_module
from airflow_provider_trigger.sources.context import (
    dag_run_of,
    key_of_execution,
    origin_of,
    task_instance_of,
)


def context(*, try_number: int = 1, max_tries: int = 2, map_index: int | None = -1, **fields: Any) -> Any:
    ti = TaskInstance("resize", try_number=try_number, max_tries=max_tries, map_index=map_index)
    return context_of(ti, dag_run=dag_run(**fields))


def identified(given: Any) -> TaskInstanceIdentity:
    made = task_instance_of(given)
    assert made is not None
    return made


def key(given: Any, retries: int = 2, operator_id: str = "resize") -> str:
    return str(key_of_execution(given, SimpleNamespace(task_id=operator_id, retries=retries)))


def expected(given: Any, **fields: Any) -> str:
    made: dict[str, Any] = {"operator_id": "resize", "max_tries": 2, "retries": 2, "try_number": 1}
    return str(RunKey(task_instance=identified(given), **made | fields))


@pytest.fixture(autouse=True)
def a_new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context_module, "_executions", context_module._Executions())


# Dag runs


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
def test_a_dag_run_that_starts_at_its_own_date_is_a_test(fields: dict[str, Any], is_test: bool) -> None:
    given = context(**fields)
    if fields.get("run_after", DATE) is None:
        del given["dag_run"].run_after  # as in Airflow 2.11
    made = dag_run_of(given)
    assert made is not None
    assert made.is_test is is_test


# Keys


def test_a_repeated_test_of_a_dag_with_one_date_has_another_key() -> None:
    tested: dict[str, Any] = {"start_date": DATE}
    first, second = (expected(context(**tested), test_number=number) for number in (1, 2))
    assert second != first
    assert key(context(**tested)) == first
    assert key(context(try_number=2, **tested)) == first  # a retry within the test
    assert key(context(**tested)) == second
    assert key(context(try_number=2, **tested)) == second
    # Each task instance has a number of its own.
    other = context(map_index=1, **tested)
    assert key(other) == expected(other, test_number=1)


@pytest.mark.parametrize("fields", [{}, {"start_date": DATE}], ids=["real", "test"])
def test_each_execution_of_an_operator_in_a_try_has_a_key_and_the_same_one_in_a_retry(fields) -> None:
    def keys(try_number: int) -> list[str]:
        given = context(try_number=try_number, **fields)
        copy = dict(given)
        return [key(given), key(copy), key(given, operator_id="crop"), key(given)]

    first = keys(1)
    assert len(set(first)) == 4
    number = int("start_date" in fields)
    assert first[2] == expected(context(**fields), operator_id="crop", test_number=number)  # its first one
    assert keys(2) == first


# In the log of a callback


WITH_ID = SimpleNamespace(dag_id="d")
TASK = SimpleNamespace(task_id="work", map_index=-1)


@pytest.mark.parametrize(
    ("context", "origin"),
    [
        ({"dag": None, "ti": None}, ""),
        ({"dag": WITH_ID, "run_id": "manual_1", "ti": TASK}, "Dag 'd', Dag run 'manual_1', task 'work': "),
        (
            {"dag": WITH_ID, "run_id": "manual_1", "ti": SimpleNamespace(task_id="work", map_index=0)},
            "Dag 'd', Dag run 'manual_1', task 'work', map index 0: ",
        ),
        (
            {"dag": WITH_ID, "run_id": "manual_1", "reason": "timed_out", "ti": TASK},
            "Dag 'd', Dag run 'manual_1': ",
        ),
        (
            {"dag_run": {"dag_id": "d", "dag_run_id": "manual_1"}, "deadline": {}},
            "Dag 'd', Dag run 'manual_1': ",
        ),
    ],
)
def test_the_origin_of_a_callback_is_its_dag_dag_run_and_task(context, origin: str) -> None:
    assert origin_of(context) == origin
