"""The outcome of a cancel, for one run. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Any

from airflow_provider_trigger.api.errors import ActionFor, NotFoundError, TriggerDevError
from airflow_provider_trigger.cancel.record import RunRecord
from airflow_provider_trigger.log import counted


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
    :param status: Trigger.dev's word as last seen, None if the run was not seen after its last cancel
    :param task_identifier: the id of the run's task, None if the run was not seen
    :param terminated: true when the run can no longer change
    :param parent_run_id: of a run that was found as a descendant of a given one: the run that has started it
    :param error: for a failure, why, and what to do; short, and without the secret key. None otherwise
    :param is_unconfirmed: for a failure, whether the cancel was requested, and only a check is missing
    :param retryable: whether trying again later may succeed
    """

    run_id: str
    outcome: CancelOutcome
    status: str | None = None
    task_identifier: str | None = None
    terminated: bool = False
    parent_run_id: str | None = None
    error: str | None = None
    is_unconfirmed: bool = False
    retryable: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON: what is known; ``parent_run_id`` and ``error`` only where there is one."""
        names = ["run_id", "outcome", "status", "task_identifier", "terminated"]
        names += [name for name in ("parent_run_id", "error") if getattr(self, name) is not None]
        return {name: getattr(self, name) for name in names} | {"outcome": self.outcome.value}


class End(Enum):
    """Why a cancellation ended; the value is the reason for a run without an outcome."""

    FINISHED = ""
    TIME_LIMIT = "the time limit was reached"
    STOPPED = "canceling was stopped"
    KEY_REJECTED = "the secret key was rejected"
    NO_ANSWER = "the server stopped responding"


def result_of(
    record: RunRecord,
    end: End,
    last_error: TriggerDevError | None = None,
    *,
    action_for: ActionFor = lambda error: None,
) -> CancelResult:
    """Return the result for a run; ``last_error`` is of any run, if the server did not respond at the end."""
    seen, outcome, error = record.seen, CancelOutcome.FAILED, None
    if record.is_unknown:
        outcome = CancelOutcome.NOT_FOUND
    elif seen and seen.is_final:
        outcome = CancelOutcome.CANCELED if seen.is_canceled else CancelOutcome.ALREADY_COMPLETED
    else:
        error, cause = _why_failed(record, end, last_error)
        # A rejected key is raised as an error, which says what to do.
        if cause and end is not End.KEY_REJECTED and (action := action_for(cause)):
            error = f"{error}; {action}"
    has_failed = outcome is CancelOutcome.FAILED
    return CancelResult(
        run_id=record.run_id,
        outcome=outcome,
        status=seen.status if seen else None,
        task_identifier=record.task_identifier,
        terminated=seen is not None and seen.is_terminated and not has_failed,
        parent_run_id=record.parent_run_id,
        error=error,
        is_unconfirmed=has_failed and record.is_unconfirmed,
        retryable=has_failed and _is_retryable(record, end, last_error),
    )


def not_canceled(run_id: str, why: Exception | str) -> CancelResult:
    """Return the result for a run whose only cancel failed, or was not sent."""
    retryable = isinstance(why, TriggerDevError) and why.retryable
    error = f"cancel failed: {why}"
    return CancelResult(run_id=run_id, outcome=CancelOutcome.FAILED, error=error, retryable=retryable)


def _why_failed(
    record: RunRecord, end: End, last_error: TriggerDevError | None
) -> tuple[str, TriggerDevError | None]:
    """Return why there is no outcome, and the error that is the cause, if any."""
    cancel_error, check_error = record.cancel_error, record.check_error
    if record.seen:
        requests = counted(record.cancels + record.is_in_bulk, "cancel request")
        last = f"; last error: {cancel_error}" if cancel_error else ""
        return f"still {record.seen.status} after {requests}{last}", cancel_error
    if check_error:
        request = f"cancel failed: {cancel_error}" if cancel_error else "cancel requested"
        return f"{request}; status check failed: {check_error}", check_error
    if cancel_error:
        return f"{'cancel failed' if record.cancels else 'not sent'}: {cancel_error}", cancel_error
    cause = None if end in (End.FINISHED, End.KEY_REJECTED) else record.last_error or last_error
    text = f"{_request(record)}: {end.value}" if end.value else _request(record)
    return (f"{text}; last error: {cause}" if cause else text), cause


def _request(record: RunRecord) -> str:
    """Return the state of the cancel of a run that no check has shown since."""
    if not (record.cancels or record.is_in_bulk):
        return "not sent"
    if record.acknowledged_at is None and not (record.bulk and record.bulk.id):
        return "cancel requested, but not acknowledged"
    return "cancel requested, but the status was not checked"


def _is_retryable(record: RunRecord, end: End, last_error: TriggerDevError | None) -> bool:
    if end is End.KEY_REJECTED:
        return False
    last = (record.last_error or last_error) if end is End.NO_ANSWER else None
    errors = [error for error in (record.cancel_error, record.check_error, last) if error]
    # A run whose cancel was acknowledged, and that was then not found, cannot be read yet.
    return not errors or any(error.retryable or isinstance(error, NotFoundError) for error in errors)
