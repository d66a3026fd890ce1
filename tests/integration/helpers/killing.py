from __future__ import annotations

from airflow_provider_trigger._compat import AirflowException


class Killed(Exception):
    """What Airflow 2 raises in the signal handler, after ``on_kill``."""


def is_by_kill(error: BaseException | None) -> bool:
    """
    Return whether a task ended by a kill. What was interrupted may have raised an error of its own on top.

    :param error: which the task ended with
    """
    while error is not None and not isinstance(error, (AirflowException, Killed)):
        error = error.__context__
    return error is not None
