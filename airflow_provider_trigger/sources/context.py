"""What identifies a Dag run and a task instance, from the context that Airflow gives."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_trigger.run.identity import DagRunIdentity, TaskInstanceIdentity

if TYPE_CHECKING:
    from airflow.sdk import Context

# How often each task instance was begun in tests of Dags, which may repeat all ids and dates.
_test_numbers: dict[tuple[object, ...], int] = {}


def dag_run_of(context: Context) -> DagRunIdentity | None:
    """
    Return what identifies a context's Dag run, None where the context does not say when it started.

    :param context: of a task, a callback or a deadline alert
    """
    dag_run: Any = context.get("dag_run")
    if isinstance(dag_run, Mapping):  # of a deadline alert
        start_date = _read_date(dag_run.get("start_date"))
        ids = dag_run.get("dag_id"), dag_run.get("dag_run_id")
        is_test = False
    else:
        start_date = getattr(dag_run, "start_date", None)
        ids = getattr(dag_run, "dag_id", None), getattr(dag_run, "run_id", None)
        dates = getattr(dag_run, "logical_date", None), getattr(dag_run, "run_after", None)
        is_test = start_date is None or start_date in dates
    dag_id, run_id = ids
    if not dag_id or not run_id or (start_date is None and not is_test):
        return None
    return DagRunIdentity(dag_id=dag_id, run_id=run_id, start_date=start_date, is_test=is_test)


def task_instance_of(context: Context) -> TaskInstanceIdentity | None:
    """
    Return what identifies a context's task instance, None where it has none.

    :param context: of a task, or of its callback
    """
    dag_run, ti = dag_run_of(context), context.get("ti")
    if dag_run is None or ti is None:
        return None
    index: Any = getattr(ti, "map_index", None)
    return TaskInstanceIdentity(
        dag_run=dag_run, task_id=ti.task_id, map_index=index if isinstance(index, int) else -1
    )


def key_of(context: Context, identity: TaskInstanceIdentity, *, retries: int) -> str:
    """
    Return the idempotency key for the run of a task instance; call it once for each try.

    :param context: of the task
    :param identity: of the task instance
    :param retries: of the task
    """
    ti: Any = context["ti"]
    if not identity.dag_run.is_test:
        return identity.key(ti.max_tries, retries)
    begun = identity.dag_run.hash, ti.task_id, identity.map_index
    number = _test_numbers.get(begun, 0)
    if ti.try_number <= 1 or not number:
        number += 1
    _test_numbers[begun] = number
    return identity.key(ti.max_tries, retries, test_number=number)


def _read_date(value: object) -> datetime | None:
    if isinstance(value, datetime):
        return value
    try:
        return datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
