from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from airflow_provider_trigger.api import errors
from airflow_provider_trigger.api.endpoints.bulk_actions import BulkAction
from airflow_provider_trigger.cancel.outcome import (
    CancelOutcome,
    CancelResult,
    End,
    Label,
    Reason,
    result_of,
)
from airflow_provider_trigger.cancel.record import BulkPart, RunRecord, Seen

ALIVE = Seen("EXECUTING", is_final=False, is_canceled=False, is_terminated=False)


def record(**state: Any) -> RunRecord:
    return RunRecord("run_1", **state)


def bulk(id_: str | None = "bulk_1", *, is_sent: bool = True) -> BulkPart:
    return BulkPart([], is_sent, id_)


def why(state: RunRecord, end: End = End.FINISHED) -> str | None:
    result = result_of(state, end)
    assert result.outcome is CancelOutcome.FAILED
    return result.error


def test_the_words_for_outcomes() -> None:
    assert [outcome.value for outcome in CancelOutcome] == [
        "canceled",
        "already_completed",
        "not_found",
        "failed",
    ]


@pytest.mark.parametrize("end", End)
def test_an_unknown_run_is_not_found(end: End) -> None:
    result = result_of(record(cancels=1, is_unknown=True), end)
    assert result == CancelResult(run_id="run_1", outcome=CancelOutcome.NOT_FOUND)
    assert (result.status, result.task_identifier, result.terminated) == (None, None, False)
    assert (result.error, result.retryable) == (None, False)


@pytest.mark.parametrize("end", End)
@pytest.mark.parametrize("is_terminated", [True, False])
def test_a_run_seen_canceled_is_canceled(end: End, is_terminated: bool) -> None:
    seen = Seen("CANCELED", is_final=True, is_canceled=True, is_terminated=is_terminated)
    assert result_of(record(cancels=1, seen=seen, task_identifier="t"), end) == CancelResult(
        run_id="run_1",
        outcome=CancelOutcome.CANCELED,
        status="CANCELED",
        task_identifier="t",
        terminated=is_terminated,
    )


@pytest.mark.parametrize(
    ("state", "outcome"),
    [
        ({"is_unknown": True}, "not_found"),
        ({"seen": Seen("CANCELED", is_final=True, is_canceled=True, is_terminated=True)}, "canceled"),
        ({"seen": ALIVE}, "failed"),
    ],
)
def test_of_a_descendant_the_result_names_the_parent(state: dict[str, Any], outcome: str) -> None:
    result = result_of(record(cancels=1, parent_run_id="run_0", **state), End.FINISHED)
    assert (result.outcome.value, result.parent_run_id) == (outcome, "run_0")


def test_a_run_seen_in_another_final_status_has_already_completed() -> None:
    seen = Seen("CRASHED", is_final=True, is_canceled=False, is_terminated=True)
    assert result_of(record(cancels=1, seen=seen, task_identifier="t"), End.FINISHED) == CancelResult(
        run_id="run_1",
        outcome=CancelOutcome.ALREADY_COMPLETED,
        status="CRASHED",
        task_identifier="t",
        terminated=True,
    )


def test_a_run_seen_ended_did_not_fail_whatever_failed_on_the_way(error) -> None:
    seen = Seen("CANCELED", is_final=True, is_canceled=True, is_terminated=True)
    state = record(cancels=1, cancel_error=error("passing"), check_error=error("server"), seen=seen)
    result = result_of(state, End.TIME_LIMIT)
    assert result.outcome is CancelOutcome.CANCELED
    assert (result.error, result.retryable) == (None, False)


def test_a_run_seen_alive_has_failed_with_its_status() -> None:
    assert result_of(record(cancels=2, seen=ALIVE, task_identifier="t"), End.FINISHED) == CancelResult(
        run_id="run_1",
        outcome=CancelOutcome.FAILED,
        status="EXECUTING",
        task_identifier="t",
        terminated=False,
        request="still EXECUTING after 2 cancel requests",
        retryable=True,
    )


def test_a_run_that_is_alive_is_never_terminated() -> None:
    seen = ALIVE._replace(is_terminated=True)
    assert not result_of(record(cancels=1, seen=seen), End.FINISHED).terminated


def test_a_run_that_was_not_seen_has_no_status() -> None:
    result = result_of(record(cancels=1), End.STOPPED)
    assert (result.status, result.task_identifier, result.terminated) == (None, None, False)


# Why it failed

# What is left undone when all was done cannot be the reason.
REASONS = {
    End.TIME_LIMIT: "the time limit was reached",
    End.STOPPED: "canceling was stopped",
    End.KEY_REJECTED: "the secret key was rejected",
}


@pytest.mark.parametrize("end", REASONS)
def test_what_was_not_sent_is_reported_as_not_sent_and_why(end: End) -> None:
    assert why(record(), end) == f"not sent: {REASONS[end]}"
    assert why(record(bulk=bulk(None, is_sent=False)), end) == f"not sent: {REASONS[end]}"


def test_what_the_client_did_not_send_is_reported_with_its_reason(error) -> None:
    state = record(cancel_error=error("not sent"))
    assert why(state) == "not sent: the server stopped responding"


@pytest.mark.parametrize("end", REASONS)
def test_a_bulk_action_that_was_accepted_is_not_reported_as_not_sent(end: End) -> None:
    assert why(record(bulk=bulk()), end) == (
        f"cancel requested by bulk action bulk_1, but the status was not checked: {REASONS[end]}"
    )


@pytest.mark.parametrize("end", REASONS)
def test_a_bulk_action_that_was_not_answered_is_not_reported_as_not_sent(end: End) -> None:
    assert why(record(bulk=bulk(None)), end) == (
        "cancel requested by a bulk action that was not answered, "
        f"but the status was not checked: {REASONS[end]}"
    )


def test_a_cancel_that_was_not_sent_after_a_bulk_action_is_the_reason(error) -> None:
    assert why(record(bulk=bulk(), cancel_error=error("not sent"))) == (
        "cancel requested by bulk action bulk_1, but the status was not checked: "
        "the server stopped responding"
    )


@pytest.mark.parametrize("end", REASONS)
def test_a_cancel_without_an_answer_is_reported_as_not_acknowledged(end: End) -> None:
    assert why(record(cancels=1), end) == f"cancel requested, but not acknowledged: {REASONS[end]}"


@pytest.mark.parametrize("end", REASONS)
def test_an_acknowledged_cancel_that_was_not_checked_is_reported_as_that(end: End) -> None:
    expected = f"cancel requested, but the status was not checked: {REASONS[end]}"
    assert why(record(cancels=1, acknowledged_at=0.0), end) == expected
    assert why(record(cancels=1, acknowledged_at=0.0, bulk=bulk()), end) == expected


def test_a_cancel_that_failed_and_was_not_checked_is_reported_with_its_error(error) -> None:
    state = record(cancels=1, cancel_error=error("passing"))
    assert why(state, End.TIME_LIMIT) == "cancel failed: connection lost"
    state.bulk = bulk()
    assert why(state, End.TIME_LIMIT) == "cancel failed: connection lost"


def test_a_check_that_failed_is_reported_with_its_error(error) -> None:
    state = record(cancels=1, acknowledged_at=0.0, check_error=error("permanent"))
    assert why(state) == "cancel requested; status check failed: no right"
    assert why(record(bulk=bulk(), check_error=error("permanent")), End.TIME_LIMIT) == (
        "cancel requested; status check failed: no right"
    )


def test_where_both_requests_failed_both_errors_are_reported(error) -> None:
    state = record(cancels=1, cancel_error=error("passing"), check_error=error("permanent"))
    assert why(state) == "cancel failed: connection lost; status check failed: no right"


@pytest.mark.parametrize(
    ("cancels", "part", "requests"),
    [
        (1, None, "1 cancel request"),
        (2, None, "2 cancel requests"),
        (0, bulk(), "1 cancel request"),
        (1, bulk(), "2 cancel requests"),
        (2, bulk(None), "3 cancel requests"),
        (2, bulk(None, is_sent=False), "2 cancel requests"),
    ],
)
def test_a_run_that_is_still_alive_is_reported_with_all_requests_that_were_sent(
    cancels: int, part: BulkPart | None, requests: str
) -> None:
    state = record(cancels=cancels, bulk=part, seen=ALIVE)
    assert why(state) == f"still EXECUTING after {requests}"


def test_a_run_that_is_still_alive_is_reported_with_the_last_error_of_its_cancel(error) -> None:
    state = record(cancels=1, seen=ALIVE, cancel_error=error("passing"))
    assert why(state) == "still EXECUTING after 1 cancel request; last error: connection lost"


# Whether another try may help


@pytest.mark.parametrize(
    ("cancel", "check", "expected"),
    [
        ("passing", None, True),
        ("permanent", None, False),
        (None, "passing", True),
        (None, "permanent", False),
        ("permanent", "passing", True),
        ("passing", "permanent", True),
        ("permanent", "permanent", False),
        (None, "not found", True),
        ("permanent", "not found", True),
        ("not sent", None, True),
    ],
)
@pytest.mark.parametrize("end", [End.FINISHED, End.TIME_LIMIT, End.STOPPED])
def test_another_try_may_help_unless_all_errors_are_permanent(
    error, cancel: str | None, check: str | None, expected: bool, end: End
) -> None:
    state = record(
        cancels=1,
        cancel_error=error(cancel) if cancel else None,
        check_error=error(check) if check else None,
    )
    assert result_of(state, end).retryable is expected


@pytest.mark.parametrize("end", [End.TIME_LIMIT, End.STOPPED])
def test_another_try_may_help_where_no_request_failed(end: End) -> None:
    assert result_of(record(cancels=1), end).retryable


def test_with_a_rejected_key_no_other_try_helps(error) -> None:
    assert not result_of(record(), End.KEY_REJECTED).retryable
    assert not result_of(record(cancels=1, cancel_error=error("passing")), End.KEY_REJECTED).retryable


# The result as JSON


def test_a_result_is_plain_json_without_what_only_a_retry_needs() -> None:
    result = CancelResult(
        run_id="run_1",
        outcome=CancelOutcome.CANCELED,
        status="CANCELED",
        task_identifier="t",
        terminated=True,
        retryable=True,
    )
    assert result.to_dict() == {
        "run_id": "run_1",
        "outcome": "canceled",
        "status": "CANCELED",
        "task_identifier": "t",
        "terminated": True,
    }
    assert type(result.to_dict()["outcome"]) is str


def test_a_failed_result_has_its_error() -> None:
    result = CancelResult(run_id="run_1", outcome=CancelOutcome.FAILED, request="why")
    assert result.to_dict() == {
        "run_id": "run_1",
        "outcome": "failed",
        "status": None,
        "task_identifier": None,
        "terminated": False,
        "error": "why",
    }
    parts_of_the_error = {"request", "reasons", "action"}
    left_out = {"retryable", "is_unconfirmed", "parent_run_id"} | parts_of_the_error
    assert {field.name for field in fields(result)} - set(result.to_dict()) == left_out


def test_a_descendants_result_has_its_parent() -> None:
    result = CancelResult(run_id="run_2", outcome=CancelOutcome.CANCELED, parent_run_id="run_1")
    assert result.to_dict()["parent_run_id"] == "run_1"


@pytest.mark.parametrize(
    ("reasons", "action", "error"),
    [
        ((), None, "not sent"),
        ((), "wait", "not sent; wait"),
        ((Reason(Label.REQUEST, "down"),), None, "not sent: down"),
        ((Reason(Label.CHECK, "no right"),), None, "not sent; status check failed: no right"),
        (
            (Reason(Label.REQUEST, "down"), Reason(Label.LAST_ERROR, "GET /run_1: lost", "GET /…: lost")),
            "wait",
            "not sent: down; last error: GET /run_1: lost; wait",
        ),
    ],
)
def test_an_error_is_made_of_request_reasons_and_action(
    reasons: tuple[Reason, ...], action: str | None, error: str
) -> None:
    made = CancelResult(
        run_id="run_1", outcome=CancelOutcome.FAILED, request="not sent", reasons=reasons, action=action
    )
    assert made.error == error


def of_request(error: errors.TriggerDevError, run_id: str | None = "run_1") -> errors.TriggerDevError:
    error.run_id = run_id
    return error


def answered(path: str, detail: str) -> errors.ResponseError:
    return errors.ResponseError(
        method="GET", path=path, status=403, detail=detail, request_id="abc", retryable=False
    )


LOST = errors.TransportError("POST /api/v2/runs/run_1/cancel to host: lost", reason="lost")
LOGIN = "a redirect to /login?next=%2Fapi%2Fv3%2Fruns%2Frun_1, not followed"


@pytest.mark.parametrize(
    ("error", "reasons"),
    [
        (of_request(LOST), [(str(LOST), "POST /api/v2/runs/…/cancel to host: lost")]),
        (
            of_request(answered("/api/v3/runs/run_1", "no")),
            [
                (
                    "GET /api/v3/runs/run_1 answered 403: no (request abc)",
                    "GET /api/v3/runs/… answered 403: no",
                )
            ],
        ),
        (
            of_request(answered("/api/v3/runs/run_1", LOGIN)),
            [
                (
                    f"GET /api/v3/runs/run_1 answered 403: {LOGIN} (request abc)",
                    f"GET /api/v3/runs/… answered 403: {LOGIN.replace('run_1', '…')}",
                )
            ],
        ),
        (
            of_request(errors.UnexpectedAnswerError("GET /api/v3/runs/a%2Fb answered HTML"), "a/b"),
            [("GET /api/v3/runs/a%2Fb answered HTML", "GET /api/v3/runs/… answered HTML")],
        ),
        # A short id is not replaced where it is a part of a word.
        (
            of_request(errors.UnexpectedAnswerError("GET /api/v3/runs/t answered that"), "t"),
            [("GET /api/v3/runs/t answered that", "GET /api/v3/runs/… answered that")],
        ),
        (
            of_request(answered("/api/v1/bulk-actions", "no"), None),
            [
                (
                    "GET /api/v1/bulk-actions answered 403: no (request abc)",
                    "GET /api/v1/bulk-actions answered 403: no",
                )
            ],
        ),
        (errors.NotSentError("no valid id"), [("no valid id", None)]),
        (
            errors.NotSentError("stopped responding", last_error=LOST),
            [("stopped responding", None), (str(LOST), "POST /api/v2/runs/…/cancel to host: lost")],
        ),
    ],
)
def test_a_reason_has_a_text_that_is_the_same_for_all_runs(
    error: errors.TriggerDevError, reasons: list[tuple[str, str | None]]
) -> None:
    result = result_of(record(cancels=1, cancel_error=error), End.FINISHED)
    assert [(reason.text, reason.general) for reason in result.reasons] == reasons


def test_the_status_of_a_bulk_action_does_not_count_as_seen() -> None:
    shown = BulkAction(status="COMPLETED", success=1, failure=0)
    assert why(record(bulk=BulkPart([], True, "bulk_1", shown)), End.TIME_LIMIT)


REFUSED = errors.TransportError("POST /cancel to trigger.test: refused", reason="refused")


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (End.TIME_LIMIT, f"the time limit was reached; last error: {REFUSED}"),
        (End.STOPPED, f"canceling was stopped; last error: {REFUSED}"),
        (End.KEY_REJECTED, "the secret key was rejected"),
    ],
)
def test_the_last_error_is_named_of_the_run_or_else_of_any(end: End, reason: str) -> None:
    not_sent = result_of(record(), end, REFUSED)
    assert not_sent.error == f"not sent: {reason}"
    unanswered = result_of(record(cancels=1, last_error=REFUSED), end)
    assert unanswered.error == f"cancel requested, but not acknowledged: {reason}"


# A server that cannot be reached

NO_ANSWER = errors.TransportError("GET /run to trigger.test: no answer", reason="no answer")
STOPPED = errors.NotSentError("the server stopped responding", last_error=REFUSED)


@pytest.mark.parametrize(
    ("cancel", "check", "expected"),
    [
        (REFUSED, NO_ANSWER, f"cancel failed: {REFUSED}; status check failed: no answer"),
        (REFUSED, STOPPED, f"cancel failed: {REFUSED}; status check failed: the server stopped responding"),
        (STOPPED, NO_ANSWER, f"cancel failed: {STOPPED}; status check failed: no answer"),
        (None, NO_ANSWER, f"cancel requested; status check failed: {NO_ANSWER}"),
        (None, STOPPED, f"cancel requested; status check failed: {STOPPED}"),
    ],
)
def test_a_server_that_cannot_be_reached_is_named_once(
    cancel: errors.TriggerDevError | None, check: errors.TriggerDevError, expected: str
) -> None:
    state = record(cancels=1, acknowledged_at=None if cancel else 0.0, cancel_error=cancel, check_error=check)
    assert why(state) == expected
    assert expected.count("trigger.test") == 1


def test_a_server_that_answered_the_cancel_is_named_where_the_check_had_no_answer(error) -> None:
    state = record(cancels=1, cancel_error=error("server"), check_error=NO_ANSWER)
    assert why(state) == f"cancel failed: {state.cancel_error}; status check failed: {NO_ANSWER}"


# What to do


def action_for(error: errors.TriggerDevError) -> str | None:
    return f"act on {error.reason}" if isinstance(errors.root_of(error), errors.TransportError) else None


@pytest.mark.parametrize(
    ("state", "action"),
    [
        (record(cancel_error=STOPPED), "act on the server stopped responding"),
        (record(cancels=1, cancel_error=REFUSED), "act on refused"),
        (record(cancels=1, cancel_error=REFUSED, check_error=NO_ANSWER), "act on no answer"),
        (record(cancels=1, check_error=NO_ANSWER), "act on no answer"),
        (record(cancels=1, last_error=NO_ANSWER), "act on no answer"),
        (record(cancels=1, acknowledged_at=0.0, last_error=NO_ANSWER), "act on no answer"),
        (record(cancels=1, seen=ALIVE, cancel_error=REFUSED), "act on refused"),
        (record(bulk=bulk(), cancel_error=STOPPED), "act on the server stopped responding"),
        (record(bulk=bulk()), "act on refused"),
        (record(), "act on refused"),
    ],
)
def test_what_to_do_about_the_error_follows_at_the_end(state: RunRecord, action: str) -> None:
    text = result_of(state, End.STOPPED, REFUSED).error
    assert result_of(state, End.STOPPED, REFUSED, action_for=action_for).error == f"{text}; {action}"


@pytest.mark.parametrize(
    "state",
    [
        record(cancels=1, seen=ALIVE),
        record(cancels=1, seen=ALIVE, check_error=NO_ANSWER),
        record(cancels=1, check_error=errors.TriggerDevError("no right")),
        record(cancels=1, cancel_error=REFUSED, check_error=errors.TriggerDevError("no right")),
    ],
)
def test_where_nothing_is_to_do_nothing_follows(state: RunRecord) -> None:
    result = result_of(state, End.FINISHED, action_for=action_for)
    assert result.error == result_of(state, End.FINISHED).error


def test_what_to_do_about_a_rejected_key_is_not_said_for_each_run() -> None:
    state = record(cancels=1, cancel_error=REFUSED)
    result = result_of(state, End.KEY_REJECTED, action_for=action_for)
    assert result.error == f"cancel failed: {REFUSED}"


def test_a_bulk_action_that_has_handled_no_run_has_canceled_none() -> None:
    shown = BulkAction(status="PENDING", success=0, failure=0)
    state = record(bulk=BulkPart([], True, "bulk_1", shown))
    assert why(state, End.TIME_LIMIT) == (
        "cancel requested only by bulk action bulk_1, which has handled no run: the time limit was reached"
    )
    state = record(cancels=1, bulk=BulkPart([], True, "bulk_1", shown), seen=ALIVE)
    assert why(state) == "still EXECUTING after 1 cancel request"


def test_a_check_from_before_the_last_cancel_is_not_reported(run) -> None:
    state = record(cancels=1, acknowledged_at=0.0)
    state.note_check(run("EXECUTING"), now=1.0)
    state.note_sent()
    state.note_cancel(None, now=2.0)
    result = result_of(state, End.TIME_LIMIT)
    assert (result.status, result.task_identifier) == (None, "t")
    assert result.error == "cancel requested, but the status was not checked: the time limit was reached"
