"""What Airflow's context says: whose it is, of which Dag run and task instance, and what its XComs hold."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from difflib import get_close_matches
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from airflow_provider_trigger._compat import has_no_supervisor, iteration_of, xcom_is_out_of_reach
from airflow_provider_trigger.defaults import RETURN_VALUE_KEY, RUN_ID_KEY
from airflow_provider_trigger.sources.run_ids import RUN_IDS, RunIds, invalid_value, read_list

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_trigger.run.identity import DagRunIdentity, RunKey, TaskInstanceIdentity


def dag_run_of(context: Context) -> DagRunIdentity | None:
    """Return what identifies a context's Dag run, None where the context does not say when it started."""
    from airflow_provider_trigger.run.identity import DagRunIdentity

    dag_run, (dag_id, run_id) = _dag_run_and_ids(context)
    start_date = getattr(dag_run, "start_date", None)
    dates = getattr(dag_run, "logical_date", None), getattr(dag_run, "run_after", None)
    is_test = start_date in (None, *dates)
    if isinstance(dag_run, Mapping):  # of a deadline alert
        with suppress(ValueError):
            start_date = datetime.fromisoformat(str(dag_run.get("start_date")))
        is_test = False
    if not dag_id or not run_id or (start_date is None and not is_test):
        return None
    is_cleared = bool(getattr(dag_run, "clear_number", 0))
    return DagRunIdentity(
        dag_id=dag_id, run_id=run_id, start_date=start_date, is_test=is_test, is_cleared=is_cleared
    )


def own_ti_of(context: Context) -> Any:
    """Return the task instance that a context is about, None where it is about a whole Dag run."""
    # A Dag's callback has a reason, and the task instance in its context may be any.
    return None if "reason" in context else context.get("ti")


def can_resume(context: Context, operator: Any) -> bool:
    """Return whether Airflow can resume an operator: not one that another task executes by hand."""
    return hasattr(context.get("task", operator), "execute_complete")


def has_retry_policy(context: Context, operator: Any) -> bool:
    """Return whether a policy decides about retries (Airflow 3.3); no AirflowFailException reaches it."""
    return getattr(context.get("task", operator), "retry_policy", None) is not None


def map_index_of(ti: Any) -> int:
    """Return which instance of a mapped task a task instance is, -1 if its task is not mapped."""
    index = getattr(ti, "map_index", None)
    return index if isinstance(index, int) else -1


def task_instance_of(context: Context) -> TaskInstanceIdentity | None:
    """Return what identifies the task instance that a context is about, None where it is about none."""
    from airflow_provider_trigger.run.identity import TaskInstanceIdentity

    dag_run, ti = dag_run_of(context), own_ti_of(context)
    if dag_run is None or ti is None:
        return None
    return TaskInstanceIdentity(
        dag_run=dag_run, task_id=ti.task_id, map_index=map_index_of(ti), iteration=iteration_of(context)
    )


def starter_of(context: Context) -> DagRunIdentity | TaskInstanceIdentity | None:
    """Return what a context is about; None where it does not say when its Dag run started."""
    return dag_run_of(context) if own_ti_of(context) is None else task_instance_of(context)


def is_repeated(context: Context) -> bool:
    """Return whether the task instance was executed before: in an earlier try, or rescheduled in this one."""
    return context["ti"].try_number > 1 or bool(context.get("task_reschedule_count"))


def origin_of(context: Context) -> str:
    """Return, for example, ``Dag 'a', Dag run 'b', task 'c': ``, of these what the context has."""
    _, (dag_id, run_id) = _dag_run_and_ids(context)
    ti = own_ti_of(context)
    task_id = getattr(ti, "task_id", None)
    named = (
        ("Dag", getattr(context.get("dag"), "dag_id", None) or dag_id),
        ("Dag run", context.get("run_id") or run_id),
        ("task", task_id),
    )
    texts = [f"{name} {value!r}" for name, value in named if value]
    if task_id and (index := map_index_of(ti)) >= 0:
        texts.append(f"map index {index}")
    return f"{', '.join(texts)}: " if texts else ""


def key_of_execution(context: Context, operator: Any, *, content: str = "") -> RunKey | None:
    """Return the idempotency key of what an operator makes, None without a task instance; call it once."""
    identity = task_instance_of(context)
    if identity is None:
        return None
    # Where a task executes it by hand, that has the retries. The task itself may be a copy (3.0).
    task: Any = context.get("task", operator)
    is_own = operator.task_id == identity.task_id and isinstance(task, type(operator))
    own_content, retries = "" if is_own else content, task.retries or 0
    return _executions.key(
        context["ti"], identity, operator_id=operator.task_id, retries=retries, content=own_content
    )


class _Executions:
    """Counts how often each operator is executed in the try that this process works on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # a task may execute several operators in threads
        self._try: tuple[Any, int] = None, 0
        self._counts: Counter[str] = Counter()
        # How often each task instance was begun in tests of Dags, which may repeat all ids and dates.
        self._tests: Counter[TaskInstanceIdentity] = Counter()

    def key(self, ti: Any, identity: TaskInstanceIdentity, **fields: Any) -> RunKey:
        """Return the idempotency key of an operator's execution, which is counted."""
        from airflow_provider_trigger.run.identity import RunKey

        with self._lock:
            # The object differs where a process repeats a test of a Dag.
            if self._try[0] is not ti or self._try[1] != ti.try_number:
                self._try, self._counts = (ti, ti.try_number), Counter()
                if identity.dag_run.is_test and (ti.try_number <= 1 or not self._tests[identity]):
                    self._tests[identity] += 1
            key = RunKey(
                task_instance=identity,
                max_tries=ti.max_tries,
                try_number=ti.try_number,
                test_number=self._tests[identity],
                **fields,
            )
            first = str(key)
            self._counts[first] += 1
            return replace(key, execution=self._counts[first])


_executions = _Executions()


def _dag_run_and_ids(context: Context) -> tuple[Any, tuple[Any, Any]]:
    """Return the Dag run, and its ids, None for each that is not known."""
    dag_run: Any = context.get("dag_run")
    if isinstance(dag_run, Mapping):  # of a deadline alert
        return dag_run, (dag_run.get("dag_id"), dag_run.get("dag_run_id"))
    return dag_run, (getattr(dag_run, "dag_id", None), getattr(dag_run, "run_id", None))


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
    """Add the ids that tasks pushed, as the arguments named so say; yield all so far after each task."""
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
    """Note whose runs are to be searched for, or where one cannot know it, that some may still run."""
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
    """Let a source that cannot be read stop no other one."""
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
    """Return which instance's XCom counts, None if those of all do."""
    ti, dag = own_ti_of(context), context.get("dag")
    index = map_index_of(ti)
    if dag is None or index < 0:
        return None
    if task_id == ti.task_id:
        return index
    groups = (dag.get_task(name).get_closest_mapped_task_group() for name in (task_id, ti.task_id))
    group, own_group = groups
    return index if group and own_group and group.group_id == own_group.group_id else None
