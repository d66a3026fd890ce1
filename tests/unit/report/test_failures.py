from __future__ import annotations

from typing import Any

from airflow_provider_trigger.cancel.outcome import CancelOutcome, CancelResult, Label, Reason
from airflow_provider_trigger.report.cancels import failures

CANCELED = CancelResult(run_id="run_2", outcome=CancelOutcome.CANCELED)


def failure(run_id: str, request: str = "busy", *reasons: Reason, **fields: Any) -> CancelResult:
    return CancelResult(
        run_id=run_id, outcome=CancelOutcome.FAILED, request=request, reasons=reasons, **fields
    )


def test_failures_with_the_same_reason_are_grouped() -> None:
    results = [failure("run_1"), CANCELED, failure("run_3", "gone"), failure("run_4")]
    assert failures(results) == "run_1, run_4: busy | run_3: gone"


def test_the_reason_that_most_runs_share_comes_first() -> None:
    reasons = ["alone", *["shared"] * 3, "alone too"]
    results = [failure(f"run_{number}", reason) for number, reason in enumerate(reasons)]
    assert failures(results) == "run_1, run_2, run_3: shared | run_0: alone | run_4: alone too"


def test_without_failures_there_is_no_text() -> None:
    assert failures([CANCELED, CancelResult(run_id="run_3", outcome=CancelOutcome.NOT_FOUND)]) == ""


def test_what_differs_from_run_to_run_does_not_make_another_reason() -> None:
    results = [
        failure(run_id, "cancel failed", Reason(Label.REQUEST, f"GET /runs/{run_id}: no", "GET /runs/…: no"))
        for run_id in ("run_1", "run_2")
    ]
    assert failures(results) == "run_1, run_2: cancel failed: GET /runs/…: no"


def test_each_part_makes_another_reason() -> None:
    no = Reason(Label.REQUEST, "no")
    results = [
        failure("run_1", "not sent", no),
        failure("run_2", "cancel failed", no),
        failure("run_3", "not sent", Reason(Label.REQUEST, "yes")),
        failure("run_4", "not sent", Reason(Label.LAST_ERROR, "no")),
        failure("run_5", "not sent", no, action="wait"),
        failure("run_6", "not sent", no),
    ]
    assert failures(results) == (
        "run_1, run_6: not sent: no | run_2: cancel failed: no | run_3: not sent: yes | "
        "run_4: not sent; last error: no | run_5: not sent: no; wait"
    )


def test_of_many_runs_with_one_reason_the_number_is_named() -> None:
    run_ids = [f"run_{number}" for number in range(290)]
    named = ", ".join(run_ids[:10])
    assert failures(map(failure, run_ids)) == f"290 runs ({named} … and 280 more): busy"
    assert failures(map(failure, run_ids[:10])) == f"{named}: busy"


ADVICE = "check the host of connection 'x'"


def refused(label: Label, run_number: int) -> Reason:
    text = "POST /api/v2/runs/{}/cancel to host: Connection refused"
    return Reason(label, text.format(f"run_{run_number}"), text.format("…"))


def test_a_cause_that_several_reasons_have_stands_there_once() -> None:
    """As of a server that stops responding while runs are canceled."""
    silent = "the server stopped responding"
    not_sent = (Reason(Label.REQUEST, silent), refused(Label.LAST_ERROR, 20))
    results = [failure(f"run_{number}", "not sent", *not_sent, action=ADVICE) for number in range(20, 290)]
    for number in range(20):
        reasons = (refused(Label.REQUEST, number), Reason(Label.CHECK, silent))
        results.append(failure(f"run_{number}", "cancel failed", *reasons, action=ADVICE))
    results.append(failure("run_x", "cancel failed", refused(Label.REQUEST, 0)))
    text = failures(results)
    assert text.startswith("270 runs (")
    assert text.count("Connection refused") == text.count(ADVICE) == 1
    assert [group.split(": ", 1)[1] for group in text.split(" | ")] == [
        "not sent: the server stopped responding; "
        f"last error: POST /api/v2/runs/…/cancel to host: Connection refused; {ADVICE}",
        "cancel failed: the same error; status check failed: the server stopped responding",
        "cancel failed: the same error",
    ]


def test_another_cause_is_named_in_full() -> None:
    results = [failure("run_1", "cancel failed", refused(Label.REQUEST, 1), action=ADVICE)] * 2
    busy = Reason(Label.REQUEST, "POST /runs/run_2/cancel answered 503: no", "POST /runs/… answered 503: no")
    results.append(failure("run_2", "cancel failed", busy, action="wait"))
    assert failures(results).endswith(" | run_2: cancel failed: POST /runs/… answered 503: no; wait")


def test_a_request_that_is_the_action_of_another_is_named() -> None:
    assert failures([*[failure("run_1", "no", action="wait")] * 2, failure("run_2", "wait")]) == (
        "run_1, run_1: no; wait | run_2: wait"
    )
