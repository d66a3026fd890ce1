"""Failures of many runs in one text: by their reasons, each cause once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from airflow_provider_trigger.cancel.outcome import CancelOutcome, CancelResult, Label, Reason
from airflow_provider_trigger.report.cancels import failures

CANCELED = CancelResult(run_id="run_2", outcome=CancelOutcome.CANCELED)


def failure(run_id: str, request: str = "busy", *reasons: Reason, **fields: Any) -> CancelResult:
    return CancelResult(
        run_id=run_id, outcome=CancelOutcome.FAILED, request=request, reasons=reasons, **fields
    )


NO = Reason(Label.REQUEST, "no")
MANY = [f"run_{number}" for number in range(290)]
FIRST = ", ".join(MANY[:10])


@pytest.mark.parametrize(
    ("results", "text"),
    [
        ([CANCELED, CancelResult(run_id="run_3", outcome=CancelOutcome.NOT_FOUND)], ""),
        # Those with the same reason are grouped, and the reason that most runs share comes first.
        (
            [
                failure("run_0", "alone"),
                failure("run_1"),
                CANCELED,
                failure("run_3"),
                failure("run_4", "last"),
            ],
            "run_1, run_3: busy | run_0: alone | run_4: last",
        ),
        (map(failure, MANY[:10]), f"{FIRST}: busy"),
        (map(failure, MANY), f"290 runs ({FIRST} … and 280 more): busy"),
        # What differs from run to run does not make another reason, but each part does.
        (
            [
                failure(run_id, "no", Reason(Label.REQUEST, f"GET {run_id}: no", "GET …: no"))
                for run_id in MANY[:2]
            ],
            "run_0, run_1: no: GET …: no",
        ),
        (
            [
                failure("run_1", "not sent", NO),
                failure("run_2", "cancel failed", NO),
                failure("run_3", "not sent", Reason(Label.REQUEST, "yes")),
                failure("run_4", "not sent", Reason(Label.LAST_ERROR, "no")),
                failure("run_5", "not sent", NO, action="wait"),
                failure("run_6", "not sent", NO),
            ],
            "run_1, run_6: not sent: no | run_2: cancel failed: no | run_3: not sent: yes | "
            "run_4: not sent; last error: no | run_5: not sent: no; wait",
        ),
        # A request that is the action of another is named.
        (
            [*[failure("run_1", "no", action="wait")] * 2, failure("run_2", "wait")],
            "run_1, run_1: no; wait | run_2: wait",
        ),
    ],
)
def test_failures_are_grouped_by_their_reasons(results: Iterable[CancelResult], text: str) -> None:
    assert failures(results) == text


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
