"""The error with which a task fails whose run did not complete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from airflow_provider_trigger._compat import AirflowException, AirflowFailException
from airflow_provider_trigger.run.ending import log_stack_trace, why_failed, why_given_up
from airflow_provider_trigger.run.wait import Waited, WaitEnd

if TYPE_CHECKING:
    from airflow_provider_trigger.log import Log


def failure_of(
    waited: Waited,
    run_id: str,
    *,
    run_url: str,
    timeouts: Mapping[str, float | None],
    retry_statuses: Sequence[str],
    log: Log,
) -> AirflowException:
    """
    Return the error to raise; its class says whether the task is retried.

    :param waited: what the wait came to, other than a run that completed
    :param run_id: the run
    :param run_url: its page in the dashboard
    :param timeouts: the time limits by name, in seconds, None where there is none
    :param retry_statuses: the final statuses after which the task is retried
    :param log: where to write the run's stack trace
    """
    run = waited.run
    if waited.end is WaitEnd.FINAL and run is not None:
        log_stack_trace(run, log)
        reason, is_retried = why_failed(run, run_url=run_url), run.status in retry_statuses
    else:
        limit = ", ".join(f"{name}={value:g} s" for name, value in timeouts.items() if value is not None)
        reason = why_given_up(waited, run_id, limit=limit, run_url=run_url)
        is_retried = waited.end is not WaitEnd.NO_VERSION  # another run would wait for the same
    return (AirflowException if is_retried else AirflowFailException)(reason)
