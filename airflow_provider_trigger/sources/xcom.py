"""Read from XCom which runs, or waitpoint tokens, other tasks have pushed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from airflow_provider_trigger._compat import has_no_supervisor, iteration_of, xcom_is_out_of_reach
from airflow_provider_trigger.defaults import RETURN_VALUE_KEY, RUN_ID_KEY
from airflow_provider_trigger.rules import read_list
from airflow_provider_trigger.sources.context import dag_run_of, map_index_of, own_ti_of
from airflow_provider_trigger.sources.run_ids import RUN_IDS, RunIds, invalid_value

if TYPE_CHECKING:
    from airflow.sdk import Context


STARTS_RUNS = frozenset({"RunTriggerTaskOperator", "RunTriggerTaskBatchOperator", "ReplayTriggerRunOperator"})
"""The operators whose tasks push the keys ``run_id`` and ``run_url``."""


def started_by_xcom(ids: RunIds, context: Context) -> Iterator[list[str]]:
    """Add the runs that the context's tasks have pushed, if XCom is available; yield all after each task."""
    if why_no_xcom(context) is None:
        dag: Any = context.get("dag")
        ti = own_ti_of(context)
        tasks = [ti.task] if ti is not None else (dag.tasks if dag else [])
        task_ids = [task.task_id for task in tasks if starts_runs(task)]
        if task_ids:
            yield from add_xcoms(ids, context, task_ids, None)
            ids.empty.clear()  # most tasks of a Dag run that failed have not started a run


def add_xcoms(ids: RunIds, context: Context, task_ids: object, xcom_key: str | None) -> Iterator[list[str]]:
    """Add the ids of ``xcom_task_ids`` and ``xcom_key``; yield all so far after each task."""
    if reason := why_no_xcom(context):
        operator = "CancelTriggerRun" if ids.kind is RUN_IDS else "CompleteWaitpointToken"
        way = f"add a {operator}Operator with trigger_rule='one_failed', which works everywhere"
        what = f"give {ids.kind.argument}, or {way}"
        ids.failed.append(f"XCom is not available in this callback: {reason}; {what}")
        return
    for task_id in _task_ids(ids, context, task_ids):
        dag: Any = context.get("dag") if ids.kind is RUN_IDS and xcom_key in (None, RUN_ID_KEY) else None
        is_start = dag is not None and starts_runs(dag.get_task(task_id))
        key = xcom_key or (RUN_ID_KEY if is_start else RETURN_VALUE_KEY)
        source = f"the XCom {key!r} of task {task_id!r}"
        with noting_failure(ids, source):
            index = _own_map_index(context, task_id)
            instances: dict[str, Any] = {} if index is None else {"map_indexes": index}
            value = context["ti"].xcom_pull(task_ids=task_id, key=key, **instances)
            if value is None:
                why = "it returned None, was skipped, or did not get so far"
                ids.empty.append(f"task {task_id!r} pushed no XCom with the key {key!r}: {why}")
            elif ids.add(value, source=source) and is_start:  # its process was killed while it started them
                _note_lacking(ids, context, task_id, index, source)
        yield ids.found


def _note_lacking(ids: RunIds, context: Context, task_id: str, index: int | None, source: str) -> None:
    """Note a task instance whose runs need a search; if it is not known, that some runs may still run."""
    from airflow_provider_trigger.run.identity import TaskInstanceIdentity

    dag: Any = context["dag"]
    task, dag_run = dag.get_task(task_id), dag_run_of(context)
    is_mapped = hasattr(task, "partial_kwargs")  # on Airflow 2.11, too
    has_instances = is_mapped or task.get_closest_mapped_task_group()
    if dag_run is None or iteration_of(context) or (has_instances and index is None):
        tag = f" with the tag {dag_run.tag}" if dag_run else ""
        ids.failed.append(f"{source} lacks ids: look in the dashboard for runs{tag} that are still alive")
    else:
        map_index = -1 if index is None else index
        ids.lacking.append(TaskInstanceIdentity(dag_run=dag_run, task_id=task_id, map_index=map_index))


@contextmanager
def noting_failure(ids: RunIds, source: str) -> Iterator[None]:
    """Note that a source cannot be read, so that the others still are."""
    try:
        yield
    except Exception as error:
        # Any error: XCom backends and deserializers raise what they like, and the runs of the other sources
        # are to be canceled. What ends a task (a timeout, a stop) is not an Exception, and is raised.
        text = shorten(f"{type(error).__name__}: {error}", 300, placeholder="…")
        ids.failed.append(f"{source} cannot be read: {text}")


def starts_runs(task: Any) -> bool:
    """Return whether a task, perhaps mapped or serialized, is one of our operators that start runs."""
    kind = getattr(task, "operator_class", None)
    names = [base.__name__ for base in kind.__mro__] if isinstance(kind, type) else []
    return not STARTS_RUNS.isdisjoint([*names, task.task_type])


def why_no_xcom(context: Context) -> str | None:
    """Return why XCom is not available in a context; None if it is."""
    ti = context.get("ti")
    if ti is None:
        return "its context has no task instance"
    if xcom_is_out_of_reach():
        return "Dag callbacks of this Airflow version have none"
    return "Dag callbacks under 'airflow dags test' have none" if has_no_supervisor(ti) else None


def _task_ids(ids: RunIds, context: Context, given: object) -> Iterator[str]:
    """Yield the tasks' ids. An id that the Dag does not have is invalid: it may be a typo."""
    dag: Any = context.get("dag")  # None where an operator is executed by hand
    known, listed = None if dag is None else dag.task_ids, read_list(given)
    task_ids = listed if isinstance(listed, (list, tuple)) else [given]
    if not task_ids:
        ids.empty.append("xcom_task_ids is an empty list")
    for task_id in task_ids:
        if isinstance(task_id, str) and (known is None or task_id in known):
            yield task_id
        else:
            similar = get_close_matches(str(task_id), known or ())
            reason = "the Dag has no such task" + (f"; did you mean {similar[0]!r}?" if similar else "")
            invalid = invalid_value(task_id, source="xcom_task_ids", kind="task id", reason=reason)
            ids.invalid.append(str(invalid))


def _own_map_index(context: Context, task_id: str) -> int | None:
    """Return the map index whose XCom is read; None to read those of all instances."""
    ti, dag = own_ti_of(context), context.get("dag")
    index = map_index_of(ti)
    if dag is None or index < 0:
        return None
    if task_id == ti.task_id:
        return index
    groups = (dag.get_task(name).get_closest_mapped_task_group() for name in (task_id, ti.task_id))
    group, own_group = groups
    return index if group and own_group and group.group_id == own_group.group_id else None
