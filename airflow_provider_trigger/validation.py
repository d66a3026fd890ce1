"""Check the arguments of operators, sensors and notifiers, when a Dag is parsed."""

from __future__ import annotations

import math
from collections.abc import Collection, ItemsView, Iterator, KeysView, Mapping, Sequence, ValuesView
from contextlib import contextmanager
from os import PathLike
from typing import Any

from airflow_provider_trigger._compat import (
    IS_TASK_DECORATOR,
    AirflowFailException,
    XComArg,
    is_mapped_instance,
)
from airflow_provider_trigger.durations import read_duration


@contextmanager
def failing_for_good(operator: Any) -> Iterator[None]:
    """
    Fail a task without retries where its arguments are invalid and are checked only when it runs.

    That is so for an instance of a mapped task: Airflow constructs it in the worker.

    :param operator: the operator that is being constructed
    :raises ValueError: an argument is invalid, and the Dag is being parsed
    :raises AirflowFailException: the same, in an instance of a mapped task
    """
    try:
        yield
    except ValueError as error:
        if not is_mapped_instance(operator):
            raise
        raise AirflowFailException(str(error)) from None


def check_sources(
    owner: str,
    *,
    run_ids: object,
    xcom_task_ids: object,
    takes_outputs: bool = True,
    required: bool = True,
    others: Sequence[str] = (),
) -> tuple[Any, Any]:
    """
    Check where run ids come from, and return both arguments as they are to be kept.

    An iterator becomes a list, as it could be read for the first Dag run only; a set becomes a sorted list.

    :param run_ids: as given
    :param xcom_task_ids: as given
    :param required: whether one of them must be given
    :param others: which arguments could be given in their place, for the message
    :param takes_outputs: whether a task's output can be resolved in ``run_ids``; in a callback it cannot
    :raises ValueError: neither is given, ``xcom_task_ids`` are not the ids of tasks, or ``run_ids`` holds a
        task, or the output of one where that cannot be resolved
    """
    run_ids, xcom_task_ids = _read_once(run_ids), _read_once(xcom_task_ids)
    if required and run_ids is None and not xcom_task_ids:
        several = f"one or more of run_ids, xcom_task_ids, {', '.join(others)}"
        raise ValueError(f"{owner}: give {several if others else 'run_ids, or xcom_task_ids, or both'}")
    _check_run_ids(owner, run_ids, takes_outputs)
    if isinstance(xcom_task_ids, (list, tuple)):
        for index, task_id in enumerate(xcom_task_ids):
            _check_task_id(owner, f"xcom_task_ids[{index}]", task_id, takes_outputs)
    elif xcom_task_ids is not None:
        _check_task_id(owner, "xcom_task_ids", xcom_task_ids, takes_outputs)
    return run_ids, xcom_task_ids


def check_positional_arguments(owner: str, given: Sequence[object]) -> None:
    """
    Check that a notifier got no positional arguments.

    :param owner: the name of its class
    :param given: the positional arguments
    :raises TypeError: there are some; with the context as the first, the class itself was given as callback
    """
    if given and isinstance(given[0], Mapping):
        raise TypeError(
            f"{owner}: nothing was canceled: the callback must be an instance of this class, not the class "
            f"itself; write on_failure_callback={owner}() to cancel what the task or the Dag run has "
            f"started, or, for example, {owner}(run_ids=...)"
        )
    if given:
        raise TypeError(f"{owner} takes keyword arguments only, for example {owner}(run_ids=...)")


def check_connection_id(owner: str, value: object) -> None:
    """
    Check that an argument can be the id of a connection.

    :raises ValueError: it is not a text, or empty
    """
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{owner}: trigger_dev_conn_id must be the id of a connection, not {value!r}")


def check_boolean(owner: str, name: str, value: object) -> None:
    """
    Check that an argument is True or False.

    :raises ValueError: it is neither
    """
    if value is not True and value is not False:
        raise ValueError(f"{owner}: {name} must be True or False, not {value!r}")


def check_number(
    owner: str, name: str, value: object, *, least: float, unit: str, whole: bool = False
) -> None:
    """
    Check that an argument is a finite number, and not too small.

    :raises ValueError: it is not
    """
    is_number = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    if is_number and least <= value < math.inf:  # type: ignore[operator]  # not NaN either
        return
    kind = "whole number" if whole else "number"
    raise ValueError(f"{owner}: {name} must be a {kind} of {unit}, {least:g} or more, not {value!r}")


def check_duration(owner: str, name: str, value: object, *, least: float) -> float:
    """
    Check that an argument is a duration, of ``least`` seconds or more, and return it in seconds.

    :param value: as given: seconds, a timedelta, or a text such as ``"1h30m"``
    :raises ValueError: it is none, or shorter
    """
    seconds = read_duration(value)
    if seconds is None or seconds < least:
        what = f"a duration of {least:g} s or more: seconds, a timedelta, or a text such as '5m'"
        raise ValueError(f"{owner}: {name} must be {what}, not {value!r}")
    return float(seconds)


def check_choice(owner: str, name: str, value: object, choices: Sequence[str]) -> None:
    """
    Check that an argument is one of a few words.

    :raises ValueError: it is something else
    """
    if value not in choices:
        raise ValueError(f"{owner}: {name} must be {' or '.join(map(repr, choices))}, not {value!r}")


def check_final_statuses(owner: str, name: str, value: object, *, known: Collection[str]) -> None:
    """
    Check that an argument is a list of statuses in which a run ends.

    :raises ValueError: it holds something else
    """
    statuses = value if isinstance(value, (list, tuple)) else [value]
    if isinstance(value, str) or not all(isinstance(status, str) and status in known for status in statuses):
        what = f"a list of final statuses ({', '.join(sorted(known))})"
        raise ValueError(f"{owner}: {name} must be {what}, not {value!r}")


def is_templated(value: object) -> bool:
    """
    Return whether a value is known only when the task runs: it has Jinja, or is the output of a task.

    An argument of a function that ``@dag`` decorates is such a value, too.
    """
    if isinstance(value, str):
        return "{{" in value or "{%" in value
    # How Airflow itself recognizes what it resolves; a path has a method of that name, too.
    return hasattr(value, "resolve") and not isinstance(value, PathLike)


def _read_once(value: Any) -> Any:
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=str)  # always in the same order, so that the serialized Dag stays the same
    return list(value) if isinstance(value, (Iterator, KeysView, ValuesView, ItemsView)) else value


def _check_run_ids(owner: str, run_ids: object, takes_outputs: bool) -> None:
    for value in _contents(run_ids):
        task_id = _task_id(value)
        if task_id is None or (takes_outputs and isinstance(value, XComArg)):
            continue
        if takes_outputs:
            reason = f"run_ids takes the output of task {task_id!r}, not the task: call it, or give .output"
        else:
            reason = f"a callback cannot resolve a task's output in run_ids; use xcom_task_ids={task_id!r}"
        raise ValueError(f"{owner}: {reason}")


def _contents(value: object) -> Iterator[object]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if not isinstance(value, (list, tuple)):
        yield value
        return
    for item in value:
        yield from _contents(item)


def _check_task_id(owner: str, name: str, value: object, takes_outputs: bool) -> None:
    if isinstance(value, str) and value.strip():
        return
    task_id = _task_id(value)
    if task_id is None:
        raise ValueError(f"{owner}: {name} must be a task's id, a string that is not empty, not {value!r}")
    what = f"the output of task {task_id!r}" if isinstance(value, XComArg) else f"the task {task_id!r} itself"
    advice = f"give the task's id, {task_id!r}"
    if takes_outputs:
        advice += "; a task's output goes into run_ids"
    raise ValueError(f"{owner}: {name} must be a task's id, not {what}: {advice}")


def _task_id(value: Any) -> str | None:
    """Return the id of the task that a value is, or is the output of; None if it is neither."""
    if isinstance(value, str):  # as nearly all are, of many run ids
        return None
    if isinstance(value, XComArg):
        value, _ = next(iter(value.iter_references()))
    if getattr(value, IS_TASK_DECORATOR, False):
        return str(value.kwargs["task_id"])
    task_id = getattr(value, "task_id", None)
    return task_id if isinstance(task_id, str) else None
