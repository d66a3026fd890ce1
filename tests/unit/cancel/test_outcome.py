"""What is reported of a run, as far as it depends on what is known of it."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_trigger.api import errors
from airflow_provider_trigger.api.models import Run
from airflow_provider_trigger.api.runs import cancel_run
from airflow_provider_trigger.cancel.outcome import CancelOutcome, End, result_of
from airflow_provider_trigger.cancel.record import ForMany, RunRecord, State


def seen(status: str, **attributes: Any) -> Run:
    return Run.from_answer({"id": "run_1", "status": status, "taskIdentifier": "t"} | attributes)


ALIVE = seen("EXECUTING")

LOST = errors.TransportError("connection lost")
NO_RIGHT = errors.TriggerDevError("no right")
REFUSED = errors.TransportError("POST /cancel to trigger.test: refused", reason="refused")
NO_ANSWER = errors.TransportError("GET /run to trigger.test: no answer", reason="no answer")
STOPPED = errors.NotSentError("the server stopped responding", last_error=REFUSED, retryable=True)


NOT_FOUND = errors.NotFoundError(
    method="GET", path="/", status=404, detail="no", request_id=None, retryable=False
)


def record(**state: Any) -> RunRecord:
    return RunRecord("run_1", **state)


def acknowledged(**state: Any) -> RunRecord:
    return record(**{"cancels": 1, "acknowledged_at": 0.0} | state)


def failed(cancel: errors.TriggerDevError, check: errors.TriggerDevError | None = None) -> RunRecord:
    return record(cancels=1, cancel_error=cancel, check_error=check)


def bulk(state: State = State.ACCEPTED) -> ForMany:
    id_ = "bulk_1" if state is State.ACCEPTED else None
    return ForMany(lambda: cancel_run("run_1"), ["run_1"], state=state, id=id_)


# Why it failed

REASONS = {
    End.TIME_LIMIT: ": the time limit was reached",
    End.STOPPED: ": canceling was stopped",
    End.KEY_REJECTED: ": the secret key was rejected",
    End.NO_ANSWER: ": the server stopped responding",
    End.FINISHED: "",  # what is left undone when all was done cannot be the reason
}
UNCHECKED = "but the status was not checked"


@pytest.mark.parametrize("end", End)
@pytest.mark.parametrize(
    ("state", "request_"),
    [
        (record(), "not sent"),
        (record(bulk=bulk(State.REJECTED)), "not sent"),
        (record(cancels=1), "cancel requested, but not acknowledged"),
        (acknowledged(), f"cancel requested, {UNCHECKED}"),
        (acknowledged(bulk=bulk()), f"cancel requested, {UNCHECKED}"),
        (record(bulk=bulk()), f"cancel requested, {UNCHECKED}"),
        (record(bulk=bulk(State.UNANSWERED)), "cancel requested, but not acknowledged"),
    ],
)
def test_what_was_left_undone_is_reported_with_its_end(state: RunRecord, request_: str, end: End) -> None:
    result = result_of(state, end)
    assert (result.outcome, result.error) == (CancelOutcome.FAILED, request_ + REASONS[end])
    assert (result.status, result.task_identifier) == (None, None)


@pytest.mark.parametrize(
    ("state", "error"),
    [
        (record(cancel_error=STOPPED), f"not sent: the server stopped responding; last error: {REFUSED}"),
        (failed(LOST), "cancel failed: connection lost"),
        (record(cancels=1, cancel_error=LOST, bulk=bulk()), "cancel failed: connection lost"),
        (acknowledged(check_error=NO_RIGHT), "cancel requested; status check failed: no right"),
        (record(bulk=bulk(), check_error=NO_RIGHT), "cancel requested; status check failed: no right"),
        (failed(LOST, NO_RIGHT), "cancel failed: connection lost; status check failed: no right"),
        # All requests that may have reached the server are counted.
        (record(bulk=bulk(), seen=ALIVE), "still EXECUTING after 1 cancel request"),
        (record(cancels=1, bulk=bulk(), seen=ALIVE), "still EXECUTING after 2 cancel requests"),
        (record(cancels=1, bulk=bulk(State.REJECTED), seen=ALIVE), "still EXECUTING after 1 cancel request"),
        (
            record(cancels=1, seen=ALIVE, cancel_error=LOST),
            "still EXECUTING after 1 cancel request; last error: connection lost",
        ),
    ],
)
def test_what_failed_is_reported_with_its_errors(state: RunRecord, error: str) -> None:
    for end in (End.FINISHED, End.TIME_LIMIT):
        assert result_of(state, end).error == error


@pytest.mark.parametrize("end", End)
def test_the_last_error_is_named_of_the_run_or_else_of_any_but_after_a_rejected_key(end: End) -> None:
    last = f"; last error: {REFUSED}" if end in (End.TIME_LIMIT, End.STOPPED, End.NO_ANSWER) else ""
    assert result_of(record(), end, REFUSED).error == f"not sent{REASONS[end]}{last}"
    unanswered = result_of(record(cancels=1, last_error=REFUSED), end, NO_ANSWER)
    assert unanswered.error == f"cancel requested, but not acknowledged{REASONS[end]}{last}"


# Whether another try may help, and whether only a check is missing


@pytest.mark.parametrize(
    ("cancel", "check", "expected"),
    [
        (None, None, True),
        (LOST, None, True),
        (NO_RIGHT, None, False),
        (None, LOST, True),
        (None, NO_RIGHT, False),
        (NO_RIGHT, LOST, True),
        (LOST, NO_RIGHT, True),
        (NO_RIGHT, NO_RIGHT, False),
        (None, NOT_FOUND, True),  # acknowledged and then not found: only not readable yet
        (NO_RIGHT, NOT_FOUND, True),
        (STOPPED, None, True),
    ],
)
@pytest.mark.parametrize("end", End)
def test_another_try_may_help_unless_all_errors_are_permanent_or_the_key_was_rejected(
    cancel: errors.TriggerDevError | None, check: errors.TriggerDevError | None, expected: bool, end: End
) -> None:
    result = result_of(record(cancels=1, cancel_error=cancel, check_error=check), end)
    assert result.retryable is (expected and end is not End.KEY_REJECTED)


@pytest.mark.parametrize(
    ("state", "is_unconfirmed"),
    [
        (acknowledged(), True),
        (acknowledged(check_error=LOST), True),
        (record(bulk=bulk()), True),
        (record(bulk=bulk(State.REJECTED)), False),
        (record(cancels=1), False),
        (acknowledged(cancel_error=LOST), False),
        (acknowledged(seen=ALIVE), False),
    ],
)
def test_what_was_accepted_and_not_checked_is_unconfirmed(state: RunRecord, is_unconfirmed: bool) -> None:
    assert result_of(state, End.TIME_LIMIT).is_unconfirmed is is_unconfirmed


# What to do


def action_for(error: errors.TriggerDevError) -> str | None:
    return f"act on {error.reason}" if isinstance(errors.root_of(error), errors.TransportError) else None


@pytest.mark.parametrize(
    ("state", "cause"),
    [
        (record(), "refused"),
        (record(cancel_error=STOPPED), "the server stopped responding"),
        (record(cancels=1, seen=ALIVE, cancel_error=REFUSED), "refused"),
        (failed(REFUSED, NO_ANSWER), "no answer"),
        (acknowledged(last_error=NO_ANSWER), "no answer"),
        # Nothing can be done about the cause.
        (record(cancels=1, seen=ALIVE), None),
        (failed(REFUSED, NO_RIGHT), None),
    ],
)
def test_what_to_do_about_the_cause_follows_at_the_end(state: RunRecord, cause: str | None) -> None:
    text = result_of(state, End.STOPPED, REFUSED).error
    error = result_of(state, End.STOPPED, REFUSED, action_for=action_for).error
    assert error == (f"{text}; act on {cause}" if cause else text)


def test_what_to_do_about_a_rejected_key_is_not_said_for_each_run() -> None:
    result = result_of(failed(REFUSED), End.KEY_REJECTED, action_for=action_for)
    assert result.error == f"cancel failed: {REFUSED}"
