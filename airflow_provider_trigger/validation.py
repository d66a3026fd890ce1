"""Check, when a Dag is parsed, the arguments that operator and notifier share."""

from __future__ import annotations

import math


def check_sources(owner: str, *, run_ids: object, xcom_task_ids: object) -> None:
    """
    Check that run ids come from somewhere.

    :param owner: whose arguments these are, for the message
    :param run_ids: as it was given
    :param xcom_task_ids: as it was given
    :raises ValueError: there is neither, or what names the tasks is no text
    """
    if run_ids is None and not xcom_task_ids:
        raise ValueError(f"{owner}: give run_ids, or xcom_task_ids, or both")
    given = xcom_task_ids if isinstance(xcom_task_ids, (list, tuple, set)) else [xcom_task_ids or ""]
    for task_id in given:
        if not isinstance(task_id, str) and hasattr(task_id, "task_id"):
            raise ValueError(
                f"{owner}: xcom_task_ids takes a task's id, here {task_id.task_id!r}, not the task"
            )


def check_number(
    owner: str, name: str, value: object, *, least: float, unit: str, whole: bool = False
) -> None:
    """
    Check that an argument is a finite number, and not too small.

    :param owner: whose argument it is, for the message
    :param name: of the argument
    :param value: what was given
    :param least: what it may be at least
    :param unit: what it counts
    :param whole: whether it has to be an integer
    :raises ValueError: it is not
    """
    kinds = (int,) if whole else (int, float)
    is_number = isinstance(value, kinds) and not isinstance(value, bool) and math.isfinite(value)
    if not is_number or value < least:  # type: ignore[operator]  # a number, as the line above says
        raise ValueError(f"{owner}: {name} is a number of {unit}, {least:g} or more, not {value!r}")
