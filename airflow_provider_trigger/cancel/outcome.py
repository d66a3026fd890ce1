"""What became of a run that was to be canceled. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from typing import Any

from airflow_provider_trigger.api.errors import NotFoundError, TransportError, TriggerDevError, root_of
from airflow_provider_trigger.cancel.record import RunRecord


class CancelOutcome(StrEnum):
    """
    What became of a run, decided by a check of the run.

    - ``canceled``: the run is CANCELED now, whoever requested it
    - ``already_completed``: it ended in another final status, so the cancel had no effect
    - ``not_found``: this key's environment has no such run
    - ``failed``: its status is not known, or it is still alive although its cancel was requested
    """

    CANCELED = "canceled"
    ALREADY_COMPLETED = "already_completed"
    NOT_FOUND = "not_found"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True, slots=True)
class CancelResult:
    """
    What became of one run.

    :param run_id: the run id as it was given
    :param outcome: see :class:`CancelOutcome`
    :param status: Trigger.dev's word as last seen, None if the run was not seen
    :param task_identifier: the id of the run's task, None if the run was not seen
    :param terminated: true when the run can no longer change
    :param error: for a failure, why; short, and without the secret key
    :param retryable: whether trying again later may succeed; not part of :meth:`to_dict`
    """

    run_id: str
    outcome: CancelOutcome
    status: str | None = None
    task_identifier: str | None = None
    terminated: bool = False
    error: str | None = None
    retryable: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON: the fields above without ``retryable``; ``error`` only where there is one."""
        result: dict[str, Any] = {
            "run_id": self.run_id,
            "outcome": self.outcome.value,
            "status": self.status,
            "task_identifier": self.task_identifier,
            "terminated": self.terminated,
        }
        if self.error is not None:
            result["error"] = self.error
        return result


class End(Enum):
    """Why a cancellation ended."""

    FINISHED = auto()
    TIME_LIMIT = auto()
    STOPPED = auto()
    KEY_REJECTED = auto()


# None for FINISHED: then each failed run has an error or a status to report.
_REASONS = {
    End.TIME_LIMIT: "the time limit was reached",
    End.STOPPED: "canceling was stopped",
    End.KEY_REJECTED: "the secret key was rejected",
}

ActionFor = Callable[[TriggerDevError], str | None]
"""Returns what to do about an error, None where its text says it all."""


def no_action(_: TriggerDevError) -> None:
    """Return nothing to do, whatever the error."""


def result_of(
    record: RunRecord,
    end: End,
    last_error: TriggerDevError | None = None,
    *,
    action_for: ActionFor = no_action,
) -> CancelResult:
    """
    Return what became of a run.

    :param record: of the run
    :param end: why the cancellation ended
    :param last_error: of any run, where the server as a whole did not respond at the end; None where it did
    :param action_for: adds to the error of a failed run what to do
    """
    if record.is_unknown:
        return CancelResult(run_id=record.run_id, outcome=CancelOutcome.NOT_FOUND)
    seen = record.seen
    outcome, error, retryable = CancelOutcome.FAILED, None, False
    if seen and seen.is_final:
        outcome = CancelOutcome.CANCELED if seen.is_canceled else CancelOutcome.ALREADY_COMPLETED
    else:
        error, cause = _why_failed(record, end, last_error)
        # A rejected key is raised, so that what to do stands there.
        if cause and end is not End.KEY_REJECTED and (action := action_for(cause)):
            error = f"{error}; {action}"
        retryable = _is_retryable(record, end)
    return CancelResult(
        run_id=record.run_id,
        outcome=outcome,
        status=seen.status if seen else None,
        task_identifier=seen.task_identifier if seen else None,
        terminated=bool(seen and seen.is_final and seen.is_terminated),
        error=error,
        retryable=retryable,
    )


def _why_failed(
    record: RunRecord, end: End, last_error: TriggerDevError | None
) -> tuple[str, TriggerDevError | None]:
    """Return why a run failed, and the error that was the cause, if any."""
    in_bulk = record.bulk is not None and record.bulk.is_sent
    if not record.cancels and not in_bulk:
        reason, cause = _why_not_done(record, end, last_error)
        return f"not sent: {reason}", cause
    cancel_error, check_error = record.cancel_error, record.check_error
    if record.seen:
        requests = record.cancels + in_bulk
        alive = f"still {record.seen.status} after {requests} cancel request{'s' * (requests > 1)}"
        return (f"{alive}; last error: {cancel_error}" if cancel_error else alive), cancel_error
    if check_error and cancel_error:
        # The server is named once.
        check = check_error.reason if isinstance(root_of(cancel_error), TransportError) else check_error
        return f"cancel failed: {cancel_error}; status check failed: {check}", check_error
    if check_error:
        return f"cancel requested; status check failed: {check_error}", check_error
    if record.cancels and cancel_error:
        return f"cancel failed: {cancel_error}", cancel_error
    reason, cause = _why_not_done(record, end, last_error)
    if not record.cancels:
        return f"cancel requested by {record.bulk}, but the status was not checked: {reason}", cause
    if record.acknowledged_at is None:
        return f"cancel requested, but not acknowledged: {reason}", cause
    return f"cancel requested, but the status was not checked: {reason}", cause


def _why_not_done(
    record: RunRecord, end: End, last_error: TriggerDevError | None
) -> tuple[str, TriggerDevError | None]:
    """Return why no more was done for a run, and the error that was the cause, if any."""
    if record.cancel_error:
        return str(record.cancel_error), record.cancel_error
    last = (record.last_error or last_error) if end in (End.TIME_LIMIT, End.STOPPED) else None
    return (f"{_REASONS[end]}; last error: {last}" if last else _REASONS[end]), last


def _is_retryable(record: RunRecord, end: End) -> bool:
    if end is End.KEY_REJECTED:
        return False
    errors = [error for error in (record.cancel_error, record.check_error) if error]
    # A run that was acknowledged and then not found is only not readable yet.
    return not errors or any(error.retryable or isinstance(error, NotFoundError) for error in errors)
