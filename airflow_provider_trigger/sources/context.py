"""Read from Airflow's context whose it is: Dag run, task instance, and the execution of an operator."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_trigger._compat import iteration_of

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_trigger.run.identity import DagRunIdentity, RunKey, TaskInstanceIdentity


def dag_run_of(context: Context) -> DagRunIdentity | None:
    """Return what identifies the Dag run of a context; None if the context does not say when it started."""
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
    """Return the task instance of a context; None if the context is about a whole Dag run."""
    # A Dag's callback has a reason, and the task instance in its context may be any.
    return None if "reason" in context else context.get("ti")


def can_resume(context: Context, operator: Any) -> bool:
    """Return whether Airflow can resume an operator; False if another task executes it by hand."""
    return hasattr(context.get("task", operator), "execute_complete")


def has_retry_policy(context: Context, operator: Any) -> bool:
    """Return whether a policy decides about retries (Airflow 3.3); no AirflowFailException reaches it."""
    return getattr(context.get("task", operator), "retry_policy", None) is not None


def map_index_of(ti: Any) -> int:
    """Return the map index of a task instance; -1 if its task is not mapped."""
    index = getattr(ti, "map_index", None)
    return index if isinstance(index, int) else -1


def task_instance_of(context: Context) -> TaskInstanceIdentity | None:
    """Return what identifies the task instance of a context; None if it has none."""
    from airflow_provider_trigger.run.identity import TaskInstanceIdentity

    dag_run, ti = dag_run_of(context), own_ti_of(context)
    if dag_run is None or ti is None:
        return None
    return TaskInstanceIdentity(
        dag_run=dag_run, task_id=ti.task_id, map_index=map_index_of(ti), iteration=iteration_of(context)
    )


def starter_of(context: Context) -> DagRunIdentity | TaskInstanceIdentity | None:
    """Return the task instance or Dag run of a context; None if it does not say when the Dag run started."""
    return dag_run_of(context) if own_ti_of(context) is None else task_instance_of(context)


def is_repeated(context: Context) -> bool:
    """Return whether the task instance was executed before: in an earlier try, or rescheduled in this one."""
    return context["ti"].try_number > 1 or bool(context.get("task_reschedule_count"))


def origin_of(context: Context) -> str:
    """Return, for example, ``Dag 'a', Dag run 'b', task 'c': ``, with the parts that the context has."""
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
    """Return the idempotency key of an execution, which is counted; None without a task instance."""
    identity = task_instance_of(context)
    if identity is None:
        return None
    # The retries are those of the task, also if it executes another operator by hand. It may be a copy (3.0).
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
        # How often a test of a Dag began each task instance: tests may repeat all ids and dates.
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
    """Return the Dag run and its two ids; each is None if it is not known."""
    dag_run: Any = context.get("dag_run")
    if isinstance(dag_run, Mapping):  # of a deadline alert
        return dag_run, (dag_run.get("dag_id"), dag_run.get("dag_run_id"))
    return dag_run, (getattr(dag_run, "dag_id", None), getattr(dag_run, "run_id", None))
