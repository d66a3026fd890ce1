"""What became of a run that was to be canceled. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum, StrEnum, auto
from typing import Any
from urllib.parse import quote

from airflow_provider_trigger.api.errors import (
    NotFoundError,
    NotSentError,
    ResponseError,
    TransportError,
    TriggerDevError,
    root_of,
)
from airflow_provider_trigger.cancel.record import RunRecord
from airflow_provider_trigger.wording import counted


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


class Label(StrEnum):
    """What stands before a reason, in the text that is made of a result."""

    REQUEST = ": "
    """The reason why the request was not sent, failed, or was not followed by a check."""
    CHECK = "; status check failed: "
    LAST_ERROR = "; last error: "


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason why a cancel failed."""

    label: Label
    text: str
    general: str | None = None
    """The text without the run's name, so that runs share it; None where it is not a request's error."""


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
    :param request: for a failure, what became of the cancel request, such as ``not sent``
    :param reasons: for a failure, why
    :param action: for a failure, what to do about it, None where the reasons say it all
    :param is_unconfirmed: for a failure, whether the cancel was requested, and only a check is missing
    :param retryable: whether trying again later may succeed
    """

    run_id: str
    outcome: CancelOutcome
    status: str | None = None
    task_identifier: str | None = None
    terminated: bool = False
    parent_run_id: str | None = None
    request: str | None = None
    reasons: tuple[Reason, ...] = ()
    action: str | None = None
    is_unconfirmed: bool = False
    retryable: bool = False

    @property
    def error(self) -> str | None:
        """For a failure, why, and what to do; short, and without the secret key. None otherwise."""
        if self.request is None:
            return None
        text = self.request + "".join(f"{reason.label}{reason.text}" for reason in self.reasons)
        return f"{text}; {self.action}" if self.action else text

    def as_error(self) -> TriggerDevError | None:
        """Return why the run is not known to be canceled, None if it is, or had ended."""
        if self.outcome is CancelOutcome.NOT_FOUND:
            return TriggerDevError("this key's environment has no such run")
        return TriggerDevError(self.error, retryable=self.retryable) if self.error else None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON: what is known; ``parent_run_id`` and ``error`` only where there is one."""
        result: dict[str, Any] = {
            "run_id": self.run_id,
            "outcome": self.outcome.value,
            "status": self.status,
            "task_identifier": self.task_identifier,
            "terminated": self.terminated,
        }
        if self.parent_run_id is not None:
            result["parent_run_id"] = self.parent_run_id
        if self.error is not None:
            result["error"] = self.error
        return result


class End(Enum):
    """Why a cancellation ended."""

    FINISHED = auto()
    TIME_LIMIT = auto()
    STOPPED = auto()
    KEY_REJECTED = auto()


# None for FINISHED: then each failed run has an error or a status to report, or was not to be checked.
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
    """Return what became of a run; ``last_error`` is of any run, if the server did not respond at the end."""
    seen, outcome = record.seen, CancelOutcome.FAILED
    if record.is_unknown:
        outcome = CancelOutcome.NOT_FOUND
    elif seen and seen.is_final:
        outcome = CancelOutcome.CANCELED if seen.is_canceled else CancelOutcome.ALREADY_COMPLETED
    has_failed = outcome is CancelOutcome.FAILED
    result = CancelResult(
        run_id=record.run_id,
        outcome=outcome,
        status=seen.status if seen else None,
        task_identifier=record.task_identifier,
        terminated=seen is not None and seen.is_terminated and not has_failed,
        parent_run_id=record.parent_run_id,
    )
    if not has_failed:
        return result
    request, reasons, cause = _why_failed(record, end, last_error)
    return replace(
        result,
        request=request,
        reasons=reasons,
        # A rejected key is raised, so that what to do stands there.
        action=action_for(cause) if cause and end is not End.KEY_REJECTED else None,
        is_unconfirmed=_is_unconfirmed(record),
        retryable=_is_retryable(record, end),
    )


def not_canceled(run_id: str, why: Exception | str) -> CancelResult:
    """Return what became of a run whose only cancel failed, or was not sent."""
    reasons = _reasons(Label.REQUEST, why) if isinstance(why, TriggerDevError) else ()
    return CancelResult(
        run_id=run_id,
        outcome=CancelOutcome.FAILED,
        request="cancel failed",
        reasons=reasons or (Reason(Label.REQUEST, str(why)),),
        retryable=isinstance(why, TriggerDevError) and why.retryable,
    )


def _why_failed(
    record: RunRecord, end: End, last_error: TriggerDevError | None
) -> tuple[str, tuple[Reason, ...], TriggerDevError | None]:
    """Return what became of the cancel request, why, and the error that was the cause, if any."""
    part = record.bulk
    in_bulk = part is not None and part.is_sent
    if not record.cancels and not in_bulk:
        return "not sent", *_why_not_done(record, end, last_error)
    cancel_error, check_error = record.cancel_error, record.check_error
    if record.seen:
        requests = record.cancels + (part is not None and part.is_sent and not part.has_done_nothing)
        alive = f"still {record.seen.status} after {counted(requests, 'cancel request')}"
        return alive, _reasons(Label.LAST_ERROR, cancel_error), cancel_error
    if check_error and cancel_error:
        # The server is named once.
        is_named = isinstance(root_of(cancel_error), TransportError)
        check = (Reason(Label.CHECK, check_error.reason),) if is_named else _reasons(Label.CHECK, check_error)
        return "cancel failed", _reasons(Label.REQUEST, cancel_error) + check, check_error
    if check_error:
        return "cancel requested", _reasons(Label.CHECK, check_error), check_error
    if record.cancels and cancel_error:
        return "cancel failed", _reasons(Label.REQUEST, cancel_error), cancel_error
    return _unchecked_request(record), *_why_not_done(record, end, last_error)


def _unchecked_request(record: RunRecord) -> str:
    part, missing = record.bulk, "but the status was not checked"
    if record.cancels:
        return f"cancel requested, {'but not acknowledged' if record.acknowledged_at is None else missing}"
    if part is not None and part.has_done_nothing:
        return f"cancel requested only by {part}, which has handled no run"
    return f"cancel requested by {part}, {missing}"


def _why_not_done(
    record: RunRecord, end: End, last_error: TriggerDevError | None
) -> tuple[tuple[Reason, ...], TriggerDevError | None]:
    if record.cancel_error:
        return _reasons(Label.REQUEST, record.cancel_error), record.cancel_error
    last = (record.last_error or last_error) if end in (End.TIME_LIMIT, End.STOPPED) else None
    ended = (Reason(Label.REQUEST, _REASONS[end]),) if end in _REASONS else ()
    return (*ended, *_reasons(Label.LAST_ERROR, last)), last


def _reasons(label: Label, error: TriggerDevError | None) -> tuple[Reason, ...]:
    if error is None:
        return ()
    if isinstance(error, NotSentError):
        return Reason(label, error.reason), *_reasons(Label.LAST_ERROR, error.last_error)
    return (Reason(label, str(error), _general(error)),)


def _general(error: TriggerDevError) -> str:
    """Leave out what differs from run to run: ids of the run and of the request."""
    text = str(error)
    if isinstance(error, ResponseError):
        text = text.replace(f" (request {error.request_id})", "")
    if error.run_id is None:
        return text
    segment = quote(error.run_id, safe="")
    # The server may repeat the path, as in the address of a redirect.
    return text.replace(f"/runs/{segment}", "/runs/…").replace(f"runs%2F{segment}", "runs%2F…")


def _is_unconfirmed(record: RunRecord) -> bool:
    in_bulk = record.bulk is not None and record.bulk.is_sent and not record.bulk.has_done_nothing
    return not (record.seen or record.cancel_error) and (record.acknowledged_at is not None or in_bulk)


def _is_retryable(record: RunRecord, end: End) -> bool:
    if end is End.KEY_REJECTED:
        return False
    errors = [error for error in (record.cancel_error, record.check_error) if error]
    # A run that was acknowledged and then not found is only not readable yet.
    return not errors or any(error.retryable or isinstance(error, NotFoundError) for error in errors)
