"""Gather ids from the XComs of other tasks, in addition to those that are given."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from airflow_provider_trigger._compat import has_no_supervisor, xcom_is_out_of_reach
from airflow_provider_trigger.defaults import RETURN_VALUE_KEY, RUN_ID_KEY
from airflow_provider_trigger.sources.context import map_index_of, own_ti_of
from airflow_provider_trigger.sources.run_ids import (
    RUN_IDS,
    IdKind,
    RunIds,
    invalid_value,
    read_list,
)

if TYPE_CHECKING:
    from airflow.sdk import Context

_MAX_ERROR_LENGTH = 300

STARTS_RUNS = frozenset({"RunTriggerTaskOperator", "RunTriggerTaskBatchOperator", "ReplayTriggerRunOperator"})
"""The operators whose tasks push the keys ``run_id`` and ``run_url``."""


def started_by_xcom(ids: RunIds, context: Context) -> Iterator[list[str]]:
    """Add the runs whose ids are in XCom, none where this context has no XCom; yield all after each task."""
    if why_no_xcom(context) is None:
        dag: Any = context.get("dag")
        ti = own_ti_of(context)
        tasks = [ti.task] if ti is not None else (dag.tasks if dag else [])
        task_ids = [task.task_id for task in tasks if starts_runs(task)]
        if task_ids:
            yield from add_xcoms(ids, context, task_ids, None)
            ids.empty.clear()  # most tasks of a Dag run that failed have not started a run


def add_xcoms(ids: RunIds, context: Context, task_ids: object, xcom_key: str | None) -> Iterator[list[str]]:
    """
    Add the ids that tasks pushed; yield all so far after each task.

    ``xcom_key=None`` stands for the return value, but of a task of this provider's operators for the runs
    that it has started. Of a mapped task all instances' XComs count, but within a mapped task group, and in
    the callback of a mapped task that names itself, only the own instance's.
    """
    if reason := why_no_xcom(context):
        operator = f"add a {ids.kind.instead} with trigger_rule='one_failed', which works everywhere"
        what = f"give {ids.kind.argument}, or {operator}"
        ids.failed.append(f"XCom is not available in this callback: {reason}; {what}")
        return
    for task_id in _task_ids(ids, context, task_ids):
        key = xcom_key or _own_key(context, task_id, ids.kind)
        source = f"the XCom {key!r} of task {task_id!r}"
        with noting_failure(ids, source):
            index = _own_map_index(context, task_id)
            instances: dict[str, Any] = {} if index is None else {"map_indexes": index}
            value = context["ti"].xcom_pull(task_ids=task_id, key=key, **instances)
            if value is None:
                why = "it returned None, was skipped, or did not get so far"
                ids.empty.append(f"task {task_id!r} pushed no XCom with the key {key!r}: {why}")
            else:
                ids.add(value, source=source)
        yield ids.found


@contextmanager
def noting_failure(ids: RunIds, source: str) -> Iterator[None]:
    """Let a source that cannot be read stop no other one."""
    try:
        yield
    except Exception as error:
        # Any error: XCom backends and deserializers raise what they like, and the runs of the other sources
        # are to be canceled. What ends a task (a timeout, a stop) is not an Exception, and is raised.
        text = " ".join(f"{type(error).__name__}: {error}".split())
        shown = text if len(text) <= _MAX_ERROR_LENGTH else f"{text[:_MAX_ERROR_LENGTH]}…"
        ids.failed.append(f"{source} cannot be read: {shown}")


def _own_key(context: Context, task_id: str, kind: IdKind) -> str:
    dag: Any = context.get("dag")
    is_run = kind is RUN_IDS and dag is not None and starts_runs(dag.get_task(task_id))
    return RUN_ID_KEY if is_run else RETURN_VALUE_KEY


def starts_runs(task: Any) -> bool:
    """Return whether a task, perhaps mapped or serialized, is one of our operators that start runs."""
    kind = getattr(task, "operator_class", None)
    names = [one.__name__ for one in kind.__mro__] if isinstance(kind, type) else []
    return not STARTS_RUNS.isdisjoint([*names, task.task_type])


def why_no_xcom(context: Context) -> str | None:
    """Return why a context has no XCom, None if it has."""
    ti = context.get("ti")
    if ti is None:
        return "its context has no task instance"
    if xcom_is_out_of_reach():
        return "Dag callbacks of this Airflow version have none"
    return "Dag callbacks under 'airflow dags test' have none" if has_no_supervisor(ti) else None


def _task_ids(ids: RunIds, context: Context, given: object) -> Iterator[str]:
    """Yield the tasks' ids; one that the Dag does not have is invalid, so that no typo is overlooked."""
    dag: Any = context.get("dag")  # None where an operator is executed by hand
    known, listed = None if dag is None else dag.task_ids, read_list(given)
    if not listed and isinstance(listed, (list, tuple)):
        ids.empty.append("xcom_task_ids is an empty list")
    for task_id in listed if isinstance(listed, (list, tuple)) else [given]:
        if isinstance(task_id, str) and (known is None or task_id in known):
            yield task_id
        else:
            similar = get_close_matches(str(task_id), known or ())
            reason = "the Dag has no such task" + (f"; did you mean {similar[0]!r}?" if similar else "")
            invalid = invalid_value(task_id, source="xcom_task_ids", kind="task id", reason=reason)
            ids.invalid.append(str(invalid))


def _own_map_index(context: Context, task_id: str) -> int | None:
    """Return which instance's XCom counts, None if those of all do."""
    ti, dag = own_ti_of(context), context.get("dag")
    index = map_index_of(ti)
    if dag is None or index < 0:
        return None
    if task_id == ti.task_id:
        return index
    group, own_group = (dag.get_task(one).get_closest_mapped_task_group() for one in (task_id, ti.task_id))
    return index if group and own_group and group.group_id == own_group.group_id else None
