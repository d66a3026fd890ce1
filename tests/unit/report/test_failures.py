"""Failures of many runs in one text, by their reasons."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from airflow_provider_trigger.cancel.outcome import CancelOutcome, CancelResult
from airflow_provider_trigger.report.cancels import failures

CANCELED = CancelResult(run_id="run_2", outcome=CancelOutcome.CANCELED)


def failure(run_id: str, error: str = "busy") -> CancelResult:
    return CancelResult(run_id=run_id, outcome=CancelOutcome.FAILED, error=error)


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
        # What differs from run to run does not make another reason.
        (
            [failure(run_id, f"no: GET /runs/{run_id} (request {run_id})") for run_id in MANY[:2]],
            "run_0, run_1: no: GET /runs/…",
        ),
        (
            [failure("a/b", "GET /v3/runs/a%2Fb answered 403 (request abc)")],
            "a/b: GET /v3/runs/… answered 403",
        ),
        ([failure("run_1", "to /login?next=%2Fruns%2Frun_1")], "run_1: to /login?next=%2Fruns%2F…"),
        # A short id is not replaced where it is a part of a word.
        ([failure("t", "GET /runs/t answered that")], "t: GET /runs/… answered that"),
    ],
)
def test_failures_are_grouped_by_their_reasons(results: Iterable[CancelResult], text: str) -> None:
    assert failures(results) == text
