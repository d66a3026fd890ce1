"""Check a run whose status checks answer 500, without I/O: a driver makes the calls one by one."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from airflow_provider_trigger.api.endpoints.realtime import snapshot_run
from airflow_provider_trigger.api.endpoints.runs import list_newest_runs
from airflow_provider_trigger.api.errors import (
    AnswerTimeoutError,
    RateLimitError,
    ResponseError,
    TriggerDevError,
    UnexpectedAnswerError,
)
from airflow_provider_trigger.api.http import Call
from airflow_provider_trigger.api.models.runs import Run

Otherwise = Run | TriggerDevError | None


def check_otherwise(run_id: str) -> Generator[Call[Any], Any, Otherwise]:
    """
    Yield calls, and take what each returned or the error that it ended with.

    The result is the run; or why it cannot be checked, although the server answers what does not concern the
    run; or None where that is not certain, as in an outage.
    """
    shown = yield snapshot_run(run_id)
    if isinstance(shown, Run):
        return shown
    if isinstance((yield list_newest_runs()), TriggerDevError):
        return None
    # Once more, as an outage may have ended in between.
    shown = yield snapshot_run(run_id)
    return shown if isinstance(shown, Run) or _is_realtime_off(shown) else None


def _is_realtime_off(error: TriggerDevError) -> bool:
    """Answered with 503 where it is off (measured), or by a proxy."""
    if isinstance(error, RateLimitError):
        return False
    return isinstance(error, (AnswerTimeoutError, ResponseError, UnexpectedAnswerError))
