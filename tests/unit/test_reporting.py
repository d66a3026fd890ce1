from __future__ import annotations

import logging
from typing import Any

import pytest

from airflow_provider_trigger.cancel.outcome import CancelOutcome, CancelResult
from airflow_provider_trigger.reporting import (
    MAX_LINES,
    enumeration,
    failures,
    log_results,
    log_sources,
    summary,
)
from airflow_provider_trigger.sources.run_ids import RunIds


def result(run_id: str = "run_1", outcome: str = "canceled", **fields: Any) -> CancelResult:
    return CancelResult(run_id=run_id, outcome=CancelOutcome(outcome), **fields)


def link(run_id: str) -> str:
    return f"https://dashboard.test/runs/{run_id}"


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> logging.Logger:
    caplog.set_level(logging.INFO, "test")
    return logging.getLogger("test")


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(record.levelname, record.getMessage()) for record in caplog.records]


def test_a_summary_counts_each_outcome_in_a_fixed_order() -> None:
    results = [result(outcome=outcome) for outcome in ("failed", "not_found", "already_completed")]
    results += [result()] * 12
    assert summary(results) == "12 canceled, 1 already completed, 1 not found, 1 failed"


def test_a_summary_of_nothing_says_so() -> None:
    assert summary([]) == "no runs"


def test_failures_of_one_reason_are_told_together() -> None:
    results = [
        result("run_1", "failed", error="busy"),
        result("run_2"),
        result("run_3", "failed", error="gone"),
        result("run_4", "failed", error="busy"),
    ]
    assert failures(results) == "run_1, run_4: busy | run_3: gone"


def test_without_failures_there_is_nothing_to_tell() -> None:
    assert failures([result(), result(outcome="not_found")]) == ""


def test_the_run_in_a_requests_path_does_not_make_another_reason() -> None:
    results = [
        result(run_id, "failed", error=f"GET /api/v3/runs/{run_id} answered 403: no")
        for run_id in ("run_1", "run_2")
    ]
    assert failures(results) == "run_1, run_2: GET /api/v3/runs/… answered 403: no"


def test_of_many_the_first_are_told_and_how_many_more_there_are() -> None:
    assert enumeration(range(10)) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9"
    assert enumeration(range(12)) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 … and 2 more"


def test_each_run_gets_a_line_with_id_task_outcome_status_and_link(
    log: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    log_results(log, [result(status="CANCELED", task_identifier="send-mail")], link)
    assert lines(caplog) == [
        ("INFO", "run_1 (send-mail): canceled, CANCELED https://dashboard.test/runs/run_1"),
        ("INFO", "1 Trigger.dev runs: 1 canceled"),
    ]


def test_a_run_that_could_not_be_seen_says_so(log: logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    log_results(log, [result(outcome="not_found")], link)
    assert "run_1 (task unknown): not found, status unknown " in caplog.text


def test_a_failure_is_an_error_with_its_reason(log: logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    log_results(log, [result(outcome="failed", error="no answer")], link)
    level, text = lines(caplog)[0]
    assert level == "ERROR"
    assert (
        text == "run_1 (task unknown): failed, status unknown - no answer https://dashboard.test/runs/run_1"
    )


def test_a_hundred_runs_get_a_line_each(log: logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    log_results(log, [result(f"run_{number}") for number in range(MAX_LINES)], link)
    assert len(caplog.records) == MAX_LINES + 1


def test_of_more_only_those_that_went_wrong_do(log: logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    results = [result(f"run_{number}") for number in range(MAX_LINES)]
    results += [result("run_x", "not_found"), result("run_y", "failed", error="e")]
    log_results(log, results, link)
    told = [text for _, text in lines(caplog)]
    assert [text.split()[0] for text in told] == ["run_x", "run_y", "102"]


def test_of_very_many_failures_only_the_first_do(
    log: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    log_results(log, [result(f"run_{number}", "failed", error="e") for number in range(500)], link)
    assert len(caplog.records) == MAX_LINES + 1
    assert lines(caplog)[-1][1] == "500 Trigger.dev runs: 500 failed"


def test_what_was_found_beside_ids_is_told(log: logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    ids = RunIds()
    ids.add(["run_1", None, 7], source="run_ids")
    ids.add_from_xcom("quiet", key="k", known_task_ids=["quiet"], pull=lambda _: None)
    log_sources(log, ids)
    assert lines(caplog) == [
        ("INFO", "Skipped 1 None: run_ids[1]"),
        ("WARNING", "Nothing was pushed by 'quiet'"),
        ("ERROR", "No run id: 7 from run_ids[2]: a run id is text, not int"),
    ]


def test_where_only_ids_were_found_nothing_is_told(
    log: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    ids = RunIds()
    ids.add("run_1", source="run_ids")
    log_sources(log, ids)
    assert not caplog.records


def test_very_many_offending_values_do_not_fill_the_log(
    log: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    ids = RunIds()
    ids.add(list(range(500)), source="run_ids")
    log_sources(log, ids)
    assert len(caplog.records) == MAX_LINES


def test_the_reason_that_most_runs_share_comes_first():
    reasons = ["alone", *["shared"] * 3, "alone too"]
    results = [
        CancelResult(run_id=f"run_{number}", outcome=CancelOutcome.FAILED, error=reason)
        for number, reason in enumerate(reasons)
    ]
    assert failures(results) == "run_1, run_2, run_3: shared | run_0: alone | run_4: alone too"
