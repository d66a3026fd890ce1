"""What the log says of the runs of a task that was ended: each of a few by itself, many together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from airflow_provider_trigger.api.errors import TriggerDevError
from airflow_provider_trigger.cancel.grouping import failures
from airflow_provider_trigger.cancel.outcome import CancelOutcome, CancelResult
from airflow_provider_trigger.hooks.connection import ConnectionNotFoundError, InvalidConnectionError
from airflow_provider_trigger.log import Log
from airflow_provider_trigger.run.describe import ENDED_BEFORE_CANCEL
from airflow_provider_trigger.wording import MAX_NAMED, enumeration

# Their texts are made here, and contain no values of the connection.
_WITH_SAFE_TEXT = (TriggerDevError, ConnectionNotFoundError, InvalidConnectionError)
# The second one of each: the cancel was requested, but no check shows what became of the run.
_ONE_FAILED = (
    "may still be running, it could not be canceled: %s",
    "may still be running, as its cancel is not confirmed: %s",
)
_MANY_FAILED = (
    "runs may still be running, they could not be canceled: %s",
    "runs may still be running, as their cancels are not confirmed: %s",
)


def log_canceling(run_ids: Sequence[str], *, log: Log) -> None:
    """Log that runs are being canceled."""
    if len(run_ids) > MAX_NAMED:
        log.info("Canceling %d runs, because their task was ended", len(run_ids))
        return
    for run_id in run_ids:
        log.info("Canceling run %s, because its task was ended", run_id)


def log_error(run_ids: Sequence[str], error: Exception, *, log: Log) -> None:
    """Log that no run could be canceled."""
    _log_alive(run_ids, str(error) if isinstance(error, _WITH_SAFE_TEXT) else type(error).__name__, log)


def log_results(results: Iterable[CancelResult], *, conn_id: str, log: Log) -> None:
    """Log what became of the cancels."""
    found = defaultdict[CancelOutcome, list[CancelResult]](list)
    for result in results:
        found[result.outcome].append(result)
    _log_canceled(found[CancelOutcome.CANCELED], log)
    _log_ended(found[CancelOutcome.ALREADY_COMPLETED], log)
    unknown = [result.run_id for result in found[CancelOutcome.NOT_FOUND]]
    _log_alive(unknown, f"connection {conn_id!r} has no such run", log)
    _log_failed(found[CancelOutcome.FAILED], log)


def _log_canceled(results: Sequence[CancelResult], log: Log) -> None:
    if len(results) > MAX_NAMED:
        log.info("Canceled %d runs, because their task was ended", len(results))
        return
    for result in results:
        log.info("Canceled run %s, because its task was ended", result.run_id)


def _log_ended(results: Sequence[CancelResult], log: Log) -> None:
    if len(results) > MAX_NAMED:
        run_ids = enumeration(result.run_id for result in results)
        log.info("%d runs had ended before their cancel: %s", len(results), run_ids)
        return
    for result in results:
        log.info(ENDED_BEFORE_CANCEL, result.run_id, result.status)


def _log_failed(results: Sequence[CancelResult], log: Log) -> None:
    for is_unconfirmed in (False, True):
        some = [result for result in results if result.is_unconfirmed is is_unconfirmed]
        if len(some) > MAX_NAMED:
            log.error("%d " + _MANY_FAILED[is_unconfirmed], len(some), failures(some))
            continue
        for result in some:
            log.error("Run %s " + _ONE_FAILED[is_unconfirmed], result.run_id, result.error)


def _log_alive(run_ids: Sequence[str], why: str, log: Log) -> None:
    if len(run_ids) > MAX_NAMED:
        log.error("%d " + _MANY_FAILED[False] + ": %s", len(run_ids), why, enumeration(run_ids))
        return
    for run_id in run_ids:
        log.error("Run %s " + _ONE_FAILED[False], run_id, why)
