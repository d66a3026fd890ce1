"""What the end of a run means for its task: the value to return, or the error to raise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_trigger._compat import AirflowException, AirflowFailException
from airflow_provider_trigger.run.ending import log_stack_trace, why_failed, why_not_ended
from airflow_provider_trigger.run.output import size_of
from airflow_provider_trigger.run.wait_settings import is_development_key
from airflow_provider_trigger.run.waited import Waited, WaitEnd
from airflow_provider_trigger.run.xcom_outputs import reference

if TYPE_CHECKING:
    from airflow_provider_trigger.hooks.connection import Settings
    from airflow_provider_trigger.log import Log
    from airflow_provider_trigger.run.output import OutputTooLargeError


def for_xcom(output: Any, run_id: str, *, max_size: int, log: Log) -> Any:
    """Return an output as it goes into XCom: as it is, or a reference above so many bytes of JSON."""
    size = size_of(output, run_id)
    if size <= max_size:
        return output
    log.warning(
        "The output of run %s has %d bytes, more than max_output_size=%d: XCom gets a reference to it; "
        "TriggerDevHook.get_output(%r) returns the output",
        run_id,
        size,
        max_size,
        run_id,
    )
    return reference(run_id, size)


def reference_to(error: OutputTooLargeError, run_id: str, *, log: Log) -> dict[str, Any]:
    """Return what goes into XCom in place of an output that is too large to be fetched."""
    log.warning("XCom gets a reference. %s", error)
    return reference(run_id, error.size)


def failure_of(
    waited: Waited,
    run_id: str,
    *,
    connection: Settings,
    timeouts: Mapping[str, float | None],
    retry_statuses: Sequence[str],
    log: Log,
) -> AirflowException:
    """
    Return the error to raise; its class says whether the task is retried. Log the run's stack trace.

    :param waited: what the wait came to, other than a run that completed
    :param timeouts: the time limits by name, in seconds, None where there is none
    :param retry_statuses: the final statuses after which the task is retried
    """
    if waited.run is not None:
        log_stack_trace(waited.run, log)
    reason = reason_of(waited, run_id, connection=connection, timeouts=timeouts)
    is_retried = may_be_retried(waited, retry_statuses=retry_statuses)
    return (AirflowException if is_retried else AirflowFailException)(reason)


def may_be_retried(waited: Waited, *, retry_statuses: Sequence[str]) -> bool:
    """
    Return whether a retry of the task may do better.

    :param waited: what the wait came to, other than a run that completed
    :param retry_statuses: the final statuses after which the task is retried
    """
    if waited.end is WaitEnd.FINAL and waited.run is not None:
        return waited.run.status in retry_statuses
    return waited.end is not WaitEnd.NO_VERSION  # another run would wait for the same


def reason_of(
    waited: Waited, run_id: str, *, connection: Settings, timeouts: Mapping[str, float | None]
) -> str:
    """
    Return in one line why a run did not complete, or is not known to, and what to do.

    :param waited: what the wait came to, other than a run that completed
    :param timeouts: the time limits by name, in seconds, None where there is none
    """
    run_url = connection.run_url(run_id)
    if waited.end is WaitEnd.FINAL and waited.run is not None:
        return why_failed(waited.run, run_url=run_url)
    limit = ", ".join(f"{name}={value:g} s" for name, value in timeouts.items() if value is not None)
    return why_not_ended(
        waited,
        run_id,
        limit=limit,
        run_url=run_url,
        is_development=is_development_key(connection.secret_key),
    )
