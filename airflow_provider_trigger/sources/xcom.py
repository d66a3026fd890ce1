"""Gather run ids from the XComs of other tasks, in addition to those that are given."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from airflow_provider_trigger._compat import has_no_supervisor, xcom_is_out_of_reach
from airflow_provider_trigger.defaults import XCOM_KEY
from airflow_provider_trigger.sources.run_ids import InvalidValue, RunIds, read_literal, show

if TYPE_CHECKING:
    from airflow.sdk import Context

MAX_ERROR_LENGTH = 300
"""How many characters of an error a message shows."""

_USE_INSTEAD = (
    "give run_ids, or add a CancelTriggerRunOperator with trigger_rule='one_failed', which works everywhere"
)


def gather(context: Context, *, run_ids: object, xcom_task_ids: object, xcom_key: str) -> RunIds:
    """
    Gather the run ids that are given, and those that tasks pushed.

    Of a mapped task the XComs of all its instances count, with two exceptions, where the siblings of an
    instance have runs of their own: the callback of a mapped task that names itself, and tasks of one mapped
    task group. There an instance gets its own only.

    A source that cannot be read does not stop the others: a sentence in ``failed`` names it.

    :param context: of the task, or of the callback
    :param run_ids: as rendered; None if there are none
    :param xcom_task_ids: as rendered: the id of a task, a list of them, or the text of such a list; None if
        there are none
    :param xcom_key: the key of the tasks' XComs
    """
    ids = RunIds()
    # An empty text is what a template became, so it does not mean that there are no tasks.
    names_tasks = bool(xcom_task_ids) or xcom_task_ids == ""
    if run_ids is not None or not names_tasks:
        with _noting_failure(ids, "run_ids"):
            ids.add(run_ids, source="run_ids")
    if not names_tasks:
        return ids
    if reason := _why_no_xcom(context):
        ids.failed.append(f"XCom is not available in this callback: {reason}; {_USE_INSTEAD}")
        return ids
    for task_id in _task_ids(ids, context, xcom_task_ids):
        source = f"the XCom {xcom_key!r} of task {task_id!r}"
        with _noting_failure(ids, source):
            value = _pull(context, task_id, xcom_key)
            if value is None:
                ids.empty.append(_describe_missing(task_id, xcom_key))
            else:
                ids.add(value, source=source)
    return ids


@contextmanager
def _noting_failure(ids: RunIds, source: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # Any error: XCom backends and deserializers raise what they like, and the runs of the other sources
        # are to be canceled. What ends a task (a timeout, a kill) is no Exception, and goes on.
        text = " ".join(f"{type(error).__name__}: {error}".split())
        shown = text if len(text) <= MAX_ERROR_LENGTH else f"{text[:MAX_ERROR_LENGTH]}…"
        ids.failed.append(f"{source} cannot be read: {shown}")


def _why_no_xcom(context: Context) -> str | None:
    ti = context.get("ti")
    if ti is None:
        return "its context has no task instance"
    if xcom_is_out_of_reach():
        return "Dag callbacks of this Airflow version have none"
    if has_no_supervisor(ti):
        return "Dag callbacks under 'airflow dags test' have none"
    return None


def _task_ids(ids: RunIds, context: Context, given: object) -> Iterator[str]:
    """Yield the tasks' ids; one that the Dag does not have is invalid, so that no typo is overlooked."""
    dag: Any = context.get("dag")  # None where an operator is executed by hand
    for task_id in _listed(given):
        if not isinstance(task_id, str):
            reason = f"it must be a string, not {type(task_id).__name__}"
        elif dag is None or task_id in dag.task_ids:
            yield task_id
            continue
        else:
            similar = get_close_matches(task_id, dag.task_ids)
            reason = "the Dag has no such task" + (f"; did you mean {similar[0]!r}?" if similar else "")
        ids.invalid.append(InvalidValue(show(task_id), "xcom_task_ids", reason, kind="task id"))


def _listed(given: object) -> Iterable[object]:
    if isinstance(given, str) and given.startswith(("[", "(")):
        try:
            given = read_literal(given)  # what Jinja makes of a list
        except ValueError:
            return [given]
    return given if isinstance(given, (list, tuple)) else [given]


def _pull(context: Context, task_id: str, key: str) -> object:
    ti: Any = context["ti"]
    index = _own_map_index(context, task_id)
    instances = {} if index is None else {"map_indexes": index}
    return ti.xcom_pull(task_ids=task_id, key=key, **instances)


def _own_map_index(context: Context, task_id: str) -> int | None:
    """Return which instance's XCom counts, None if those of all do."""
    ti: Any = context["ti"]
    dag: Any = context.get("dag")
    index = getattr(ti, "map_index", None)
    # With a reason it is a callback of the Dag, whose task instance may be any.
    if dag is None or "reason" in context or not isinstance(index, int) or index < 0:
        return None
    if task_id == ti.task_id:
        return index
    group, own_group = (dag.get_task(one).get_closest_mapped_task_group() for one in (task_id, ti.task_id))
    return index if group and own_group and group.group_id == own_group.group_id else None


def _describe_missing(task_id: str, key: str) -> str:
    why = ": it returned None, was skipped, or did not finish" if key == XCOM_KEY else ""
    return f"task {task_id!r} pushed no XCom with the key {key!r}{why}"
