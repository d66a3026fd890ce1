"""What is said of runs that were to be canceled."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from airflow_provider_trigger.cancel.outcome import CancelOutcome, CancelResult
from airflow_provider_trigger.log import MAX_LINES
from airflow_provider_trigger.report.cancels import (
    NOTHING_CANCELED,
    Report,
    adding,
    failures,
    gathered_left,
    make_report,
    of_work,
)
from airflow_provider_trigger.sources.run_ids import RunIds

ENVIRONMENT = (
    "None of the runs was found: does the secret key of connection 'x' belong to another environment?"
)
UNREAD = "runs whose ids could not be read may still run"


def result(run_id: str = "run_1", outcome: str = "canceled", **fields: Any) -> CancelResult:
    return CancelResult(run_id=run_id, outcome=CancelOutcome(outcome), **fields)


def failed(run_id: str = "run_1", status: str | None = None, **fields: Any) -> CancelResult:
    return result(run_id, "failed", status=status, **{"error": "busy"} | fields)


UNKNOWN = result("run_x", "not_found")


def gathered(*values: Any, failed: str | None = None) -> RunIds:
    ids = RunIds()
    for number, value in enumerate(values):
        ids.add(value, source=f"source {number}")
    ids.failed += [failed] if failed else []
    return ids


def report(*results: CancelResult, ids: RunIds | None = None, **options: Any) -> Report:
    return make_report(results=results, ids=ids or RunIds(), conn_id="x", **options)


@pytest.mark.parametrize(
    ("results", "options", "summary", "problems"),
    [
        ([], {}, NOTHING_CANCELED, []),
        ([result()], {}, "1 Trigger.dev run: 1 canceled", []),
        (
            [failed(), UNKNOWN, result("run_2", "already_completed"), *[result()] * 12],
            {},
            "15 Trigger.dev runs: 12 canceled, 1 already completed, 1 not found, 1 failed",
            ["1 run may still run (status unknown)", "not canceled: run run_1: busy", "not found: run_x"],
        ),
        (
            [failed(), *[failed(status="EXECUTING")] * 2],
            {},
            "3 Trigger.dev runs: 3 failed",
            [
                "3 runs may still run (status EXECUTING: 2, unknown: 1)",
                "not canceled: 3 runs (run_1, run_1, run_1): busy",
            ],
        ),
        (
            [failed(is_unconfirmed=True), failed("run_2", "QUEUED")],
            {},
            "2 Trigger.dev runs: 1 failed, 1 requested but not confirmed",
            [
                "the cancel of 1 run was requested, and is not confirmed",
                "1 run may still run (status QUEUED)",
                "not canceled: run run_2: busy",
                "not confirmed: run run_1: busy",
            ],
        ),
        (
            [result()],
            {"ids": gathered(["run_1", 7], failed="no XCom")},
            "1 Trigger.dev run: 1 canceled",
            [UNREAD, str(gathered([None, 7]).invalid[0]), "no XCom"],
        ),
        (
            [failed()],
            {"rejection": "check it", "stopped": True},
            "1 Trigger.dev run: 1 failed",
            [
                "Connection 'x': the secret key was rejected: check it",
                "1 run may still run (status unknown)",
                "not canceled: run run_1: busy",
            ],
        ),
        (
            [result()],
            {"stopped": True},
            "1 Trigger.dev run: 1 canceled",
            ["Airflow stopped the task before its work was done"],
        ),
        ([UNKNOWN], {}, "1 Trigger.dev run: 1 not found", ["not found: run_x", ENVIRONMENT]),
        ([UNKNOWN, result()], {"on_not_found": "ignore"}, "2 Trigger.dev runs: 1 canceled, 1 not found", []),
        (
            [result("batch_1", "not_found")],
            {},
            "1 Trigger.dev run: 1 not found",
            ["not found: batch_1 ('batch_1' is a batch's id, not a run's: give the batch's runs)"],
        ),
        # A descendant may vanish.
        (
            [result(), result("run_2", "not_found", parent_run_id="run_1")],
            {},
            "2 Trigger.dev runs: 1 canceled, 1 not found",
            [],
        ),
        ([], {"ids": gathered([])}, NOTHING_CANCELED, []),
        ([], {"ids": gathered([]), "on_empty": "fail"}, "0 Trigger.dev runs", ["source 0 is an empty list"]),
    ],
)
def test_a_report_has_a_summary_and_what_is_wrong(
    results: list[CancelResult], options: dict[str, Any], summary: str, problems: list[str]
) -> None:
    made = report(*results, **options)
    assert (made.summary, made.problems) == (summary, problems)
    assert str(made) == (f"{summary} - {'; '.join(problems)}" if problems else summary)


def test_a_report_of_very_many_failures_is_short() -> None:
    results = [failed(f"run_{n}", error=f"GET run_{n}") for n in range(100_000)]
    assert len(str(report(*results, ids=gathered(list(range(12)))))) < 2000


@pytest.mark.parametrize(
    ("results", "options", "retryable"),
    [
        ([failed(retryable=False), failed(retryable=True)], {}, True),
        ([failed(retryable=False)], {}, False),
        ([UNKNOWN], {}, False),
        ([], {"ids": gathered(7)}, False),
        ([], {"ids": gathered(None), "on_empty": "fail"}, False),
        ([failed(retryable=False)], {"ids": gathered(failed="down")}, True),
        ([], {"stopped": True}, True),
        ([failed(retryable=True)], {"stopped": True, "rejection": "check it"}, False),
    ],
)
def test_another_try_is_worth_it_if_it_may_cure_one_of_the_problems(
    results: list[CancelResult], options: dict[str, Any], retryable: bool
) -> None:
    assert report(*results, **options).retryable is retryable


# Failures of many in one text


MANY = [f"run_{number}" for number in range(290)]
FIRST = ", ".join(MANY[:10])


@pytest.mark.parametrize(
    ("results", "text"),
    [
        # Those with the same reason are grouped, and the reason that most runs share comes first.
        (
            [failed("run_0", error="alone"), failed(), result(), failed("run_3")],
            "2 runs (run_1, run_3): busy | run run_0: alone",
        ),
        (map(failed, MANY), f"290 runs ({FIRST} … and 280 more): busy"),
        # What differs from run to run does not make another reason.
        (
            [
                failed(run_id, error=f"GET /runs/{path} answered that (request {path})")
                for run_id, path in (("a/b", "a%2Fb"), ("t", "t"))
            ],
            "2 runs (a/b, t): GET /runs/… answered that",
        ),
    ],
)
def test_failures_are_grouped_by_their_reasons(results: Iterable[CancelResult], text: str) -> None:
    assert failures(results) == text


# The log


@pytest.mark.parametrize(
    ("result_", "on_not_found", "level", "text"),
    [
        (result(status="CANCELED", task_identifier="b"), "fail", "info", "run_1 (b): canceled, CANCELED"),
        (
            failed(parent_run_id="run_0"),
            "ignore",
            "error",
            "run_1 (Trigger.dev task unknown, child of run_0): failed, status unknown - busy",
        ),
        (UNKNOWN, "fail", "error", "run_x (Trigger.dev task unknown): not found, status unknown"),
        (UNKNOWN, "ignore", "info", "run_x (Trigger.dev task unknown): not found, status unknown"),
        (
            result("batch_1", "not_found", parent_run_id="run_0"),
            "fail",
            "info",
            "batch_1 (Trigger.dev task unknown, child of run_0): not found, status unknown - 'batch_1' is a "
            "batch's id, not a run's: give the batch's runs",
        ),
    ],
)
def test_the_line_of_a_run(result_: CancelResult, on_not_found: Any, level: str, text: str) -> None:
    lines = of_work([result_], [], "https://d.test/{}".format, on_not_found=on_not_found)
    assert list(lines) == [(level, f"{text} https://d.test/{result_.run_id}")]


def test_of_more_than_a_hundred_only_failed_and_unknown_ones_get_a_line_and_each_is_named() -> None:
    hundred = [result()] * MAX_LINES
    for results, count in ((hundred, MAX_LINES), ([*hundred, UNKNOWN, failed()], 2)):
        assert len(list(of_work(results, [], str, on_not_found="fail"))) == count
    left = [failed(f"run_{number}") for number in range(MAX_LINES + 2)]
    *_, last = list(of_work([*left, UNKNOWN], [], str, on_not_found="ignore"))
    assert last == ("error", "3 more runs failed or not found: run_100, run_101, run_x")
    *_, last = list(of_work([UNKNOWN] * (MAX_LINES + 1), [], str, on_not_found="ignore"))
    assert last == ("info", "1 more run failed or not found: run_x")


def test_what_a_search_for_descendants_may_have_missed_is_a_warning() -> None:
    [line] = of_work([], ["it was not finished", "run_2 (lost)"], str, on_not_found="fail")
    text = "Descendants may be missing, and still run: it was not finished; run_2 (lost)"
    assert line == ("warning", text)


# An error that leaves no results


@pytest.mark.parametrize(
    ("ids", "searched", "text"),
    [
        (gathered(["run_1", "run_2"]), False, "2 runs may still run"),
        (gathered(["run_1", 7]), False, f"1 run may still run; {UNREAD}"),
        (gathered([]), True, "runs that were not found yet may still run"),
    ],
)
def test_an_error_names_how_many_runs_may_still_run(ids: RunIds, searched: bool, text: str) -> None:
    left = gathered_left(ids, searched=searched)
    with pytest.raises(ValueError, match="100 % wrong") as raised, adding(left, origin="Dag: "):
        raise ValueError("100 % wrong")
    assert str(raised.value) == f"Dag: 100 % wrong; {text}"
