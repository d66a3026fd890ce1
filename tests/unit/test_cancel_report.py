from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_trigger.api.errors import TransportError
from airflow_provider_trigger.cancel.outcome import CancelOutcome, CancelResult, Label, Reason
from airflow_provider_trigger.cancel.search import Search
from airflow_provider_trigger.cancel_report import (
    Report,
    adding_runs_left,
    log_results,
    log_search,
    log_summary,
    log_unterminated,
    make_report,
    runs_left,
    summary,
)
from airflow_provider_trigger.sources.run_ids import RunIds
from airflow_provider_trigger.wording import MAX_LINES

CHECK_PASSWORD = "check the password of connection 'x'"


def result(run_id: str = "run_1", outcome: str = "canceled", **fields: Any) -> CancelResult:
    return CancelResult(run_id=run_id, outcome=CancelOutcome(outcome), **fields)


def failed(run_id: str = "run_1", request: str = "busy", *reasons: Reason, **fields: Any) -> CancelResult:
    return result(run_id, "failed", request=request, reasons=reasons, **fields)


def link(run_id: str) -> str:
    return f"https://dashboard.test/runs/{run_id}"


def gathered(*values: Any, failed: str | None = None) -> RunIds:
    ids = RunIds()
    for number, value in enumerate(values):
        ids.add(value, source=f"source {number}")
    if failed:
        ids.failed.append(failed)
    return ids


def report(*results: CancelResult, ids: RunIds | None = None, **options: Any) -> Report:
    defaults: dict[str, Any] = {"conn_id": "x", "on_not_found": "fail", "on_empty": "ignore"}
    return make_report(results=results, ids=ids or RunIds(), **defaults | options)


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> logging.Logger:
    caplog.set_level(logging.INFO, "test")
    return logging.getLogger("test")


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(record.levelname, record.getMessage()) for record in caplog.records]


# Summaries and lists.


def test_a_summary_counts_each_outcome_in_a_fixed_order() -> None:
    results = [result(outcome=outcome) for outcome in ("failed", "not_found", "already_completed")]
    results += [result()] * 12
    assert summary(results) == "15 Trigger.dev runs: 12 canceled, 1 already completed, 1 not found, 1 failed"


def test_a_summary_of_one_run_is_singular() -> None:
    assert summary([result()]) == "1 Trigger.dev run: 1 canceled"


def test_a_summary_of_no_runs_has_no_outcomes() -> None:
    assert summary([]) == "0 Trigger.dev runs"


# How many runs may still run.


@pytest.mark.parametrize(
    ("results", "texts"),
    [
        ([result(), result(outcome="not_found"), result(outcome="already_completed")], []),
        ([failed(), result()], ["1 run may still run (status unknown)"]),
        ([failed(), failed()], ["2 runs may still run (status unknown)"]),
        ([failed(status="QUEUED"), result(status="CANCELED")], ["1 run may still run (status QUEUED)"]),
        ([failed(status="DELAYED")] * 2, ["2 runs may still run (status DELAYED)"]),
        (
            [failed(), *[failed(status="EXECUTING")] * 3, *[failed(status="QUEUED")] * 2],
            ["6 runs may still run (status EXECUTING: 3, QUEUED: 2, unknown: 1)"],
        ),
    ],
)
def test_runs_that_may_still_run_are_counted_by_their_last_known_status(
    results: list[CancelResult], texts: list[str]
) -> None:
    assert runs_left(results, RunIds()) == texts


@pytest.mark.parametrize("ids", [gathered(7), gathered("run_1", failed="it cannot be read")])
def test_runs_with_ids_that_could_not_be_read_may_still_run(ids: RunIds) -> None:
    assert runs_left([], ids) == ["runs whose ids could not be read may still run"]


# The report.


def test_a_success_has_no_problems() -> None:
    made = report(result(), result("run_2", "already_completed"), ids=gathered(["run_1", None], None))
    assert (made.runs, made.problems, made.warnings, made.retryable) == (2, [], [], False)
    assert str(made) == made.summary == "2 Trigger.dev runs: 1 canceled, 1 already completed"


def test_a_report_names_each_problem_after_the_summary_and_what_may_still_run() -> None:
    ids = gathered(["run_1", 7], failed="the XCom 'return_value' of task 'a' cannot be read: OSError: down")
    made = report(result(), failed("run_2"), result("run_3", "not_found"), ids=ids)
    assert str(made) == (
        "3 Trigger.dev runs: 1 canceled, 1 not found, 1 failed - 1 run may still run (status unknown); "
        "runs whose ids could not be read may still run; not canceled: run_2: busy; "
        f"not found: run_3; {ids.invalid[0]}; {ids.failed[0]}"
    )
    assert "7 from source 0[1]" in str(ids.invalid[0])


def test_a_report_tells_what_was_requested_and_is_not_confirmed_from_what_was_not() -> None:
    unconfirmed = [replace(failed(f"run_{number}"), is_unconfirmed=True) for number in range(2)]
    assert str(report(*unconfirmed, failed("run_2"), ids=RunIds())) == (
        "3 Trigger.dev runs: 3 failed - the cancel of 2 runs was requested, and is not confirmed; "
        "1 run may still run (status unknown); not canceled: run_2: busy; not confirmed: run_0, run_1: busy"
    )


def test_each_problem_of_a_kind_is_named_and_of_many_the_first_ten() -> None:
    ids = gathered(list(range(12)))
    assert len(report(ids=ids).problems) == 2
    assert str(ids.invalid[9]) + " … and 2 more" in str(report(ids=ids))
    assert str(ids.invalid[10]) not in str(report(ids=ids))


@pytest.mark.parametrize(
    ("results", "ids", "retryable"),
    [
        ([failed(retryable=True)], RunIds(), True),
        ([failed(retryable=False)], RunIds(), False),
        ([failed(retryable=False), failed(retryable=True)], RunIds(), True),
        ([result(outcome="not_found")], RunIds(), False),
        ([], gathered(7), False),
        ([], gathered(failed="down"), True),
        ([failed(retryable=False)], gathered(failed="down"), True),
        ([], gathered(None), False),
    ],
)
def test_another_try_is_worth_it_if_it_may_cure_one_of_the_problems(
    results: list[CancelResult], ids: RunIds, retryable: bool
) -> None:
    made = report(*results, ids=ids, on_empty="fail")
    assert made.problems
    assert made.retryable is retryable


def test_a_rejected_key_is_the_first_problem_and_is_not_retried() -> None:
    made = report(
        result(), failed(retryable=True), failed(), rejection=CHECK_PASSWORD, ids=gathered(failed="down")
    )
    assert not made.retryable
    assert (
        "Connection 'x': the secret key was rejected: check the password of connection 'x'; "
        "2 runs may still run (status unknown); "
    ) in str(made)


def test_a_task_that_airflow_stopped_is_retried_and_says_what_may_still_run() -> None:
    made = report(result(), failed(), stopped=True)
    assert made.retryable
    assert made.problems[:2] == [
        "Airflow stopped the task before its work was done",
        "1 run may still run (status unknown)",
    ]
    assert not report(failed(), stopped=True, rejection=CHECK_PASSWORD).retryable


def test_an_unknown_run_is_a_problem_unless_it_is_ignored() -> None:
    unknown = result("run_x", "not_found")
    assert report(result(), unknown).problems == ["not found: run_x"]
    assert report(result(), unknown, on_not_found="ignore").problems == []


def test_an_unknown_value_that_does_not_look_like_a_run_id_gets_a_hint() -> None:
    made = report(result("run_1"), result("batch_1", "not_found"))
    assert made.problems == [
        "not found: batch_1 ('batch_1' is a batch's id, not a run's: give the batch's runs)"
    ]


ENVIRONMENT = (
    "None of the runs was found: does the secret key of connection 'x' belong to another environment?"
)


def test_if_no_run_was_found_the_key_may_be_another_environments() -> None:
    unknown = [result(run_id, "not_found") for run_id in ("run_x", "run_y")]
    made = report(*unknown)
    assert (made.problems, made.warnings) == (["not found: run_x, run_y", ENVIRONMENT], [])
    ignored = report(*unknown, on_not_found="ignore")
    assert (ignored.problems, ignored.warnings) == ([], [ENVIRONMENT])
    assert report().warnings == []


def test_an_empty_source_is_a_problem_if_it_shall_fail() -> None:
    ids = gathered([], None)
    assert len(ids.empty) == 2
    assert report(ids=ids).problems == []
    made = report(ids=ids, on_empty="fail")
    assert made.problems == ["; ".join(ids.empty)]
    assert not made.retryable


def test_a_report_of_very_many_failures_is_short() -> None:
    results = [
        failed(f"run_{number}", "no", Reason(Label.REQUEST, f"GET /runs/run_{number} failed"))
        for number in range(100_000)
    ]
    assert len(str(report(*results))) < 1000


# The log.


def test_each_run_gets_a_line_with_id_task_outcome_status_and_link(
    log: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    log_results(log, [result(status="CANCELED", task_identifier="send-mail")], link, on_not_found="fail")
    assert lines(caplog) == [
        ("INFO", "run_1 (send-mail): canceled, CANCELED https://dashboard.test/runs/run_1"),
    ]


def test_a_failed_run_is_an_error_with_its_reason(
    log: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    log_results(log, [failed(request="no answer")], link, on_not_found="ignore")
    text = "run_1 (Trigger.dev task unknown): failed, status unknown - no answer https://dashboard.test/runs/run_1"
    assert lines(caplog) == [("ERROR", text)]


@pytest.mark.parametrize(("on_not_found", "level"), [("fail", "ERROR"), ("ignore", "INFO")])
def test_an_unknown_run_is_an_error_unless_it_is_ignored(
    log: logging.Logger, caplog: pytest.LogCaptureFixture, on_not_found, level: str
) -> None:
    log_results(log, [result(outcome="not_found")], link, on_not_found=on_not_found)
    text = "run_1 (Trigger.dev task unknown): not found, status unknown https://dashboard.test/runs/run_1"
    assert lines(caplog) == [(level, text)]


def test_the_line_of_an_unknown_value_has_the_hint(
    log: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    log_results(log, [result("batch_1", "not_found"), result("batch_2")], link, on_not_found="fail")
    assert "status unknown - 'batch_1' is a batch's id" in lines(caplog)[0][1]
    assert "'batch_2' is" not in lines(caplog)[1][1]


def test_a_hundred_runs_get_a_line_each(log: logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    log_results(log, [result(f"run_{number}") for number in range(MAX_LINES)], link, on_not_found="fail")
    assert len(caplog.records) == MAX_LINES


def test_of_more_only_failed_and_unknown_ones_do(
    log: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    results = [result(f"run_{number}") for number in range(MAX_LINES)]
    results += [result("run_x", "not_found"), failed("run_y")]
    log_results(log, results, link, on_not_found="ignore")
    assert [text.split()[0] for _, text in lines(caplog)] == ["run_x", "run_y"]


def test_of_very_many_failures_only_the_first_do(
    log: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    log_results(log, [failed(f"run_{number}") for number in range(500)], link, on_not_found="fail")
    assert [text.split()[0] for _, text in lines(caplog)] == [f"run_{number}" for number in range(MAX_LINES)]


def test_canceled_runs_that_are_not_terminated_are_a_warning(
    log: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    results = [result("run_1"), result("run_2", terminated=True), failed("run_3"), result("run_4")]
    log_unterminated(log, results, 90)
    log_unterminated(log, results[1:3], 90)
    assert lines(caplog) == [("WARNING", "Canceled, but not terminated within 90 s: run_1, run_4")]


# The last line of a callback.


def test_the_summary_of_a_callback_begins_with_its_origin(
    log: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    log_summary(log, report(result()), origin="Dag 'd': ")
    assert lines(caplog) == [("INFO", "Dag 'd': 1 Trigger.dev run: 1 canceled")]


def test_the_summary_of_a_callback_is_an_error_if_there_are_problems(
    log: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    made = report(failed())
    log_summary(log, made, origin="Dag 'd': ")
    assert lines(caplog) == [("ERROR", f"Dag 'd': {made}")]


def test_only_without_problems_nothing_was_to_be_canceled(
    log: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    log_summary(log, report(ids=gathered([])), origin="Dag 'd': ")
    log_summary(log, report(ids=gathered(failed="it cannot be read")), origin="")
    assert lines(caplog) == [
        ("INFO", "Dag 'd': No run ids were found, so nothing was canceled"),
        ("ERROR", "0 Trigger.dev runs - runs whose ids could not be read may still run; it cannot be read"),
    ]


# An error that leaves no results.


@pytest.mark.parametrize(
    ("ids", "text"),
    [
        (gathered(["run_1", "run_2"]), "100 % wrong; 2 runs may still run"),
        (gathered("run_1"), "100 % wrong; 1 run may still run"),
        (
            gathered(["run_1", 7]),
            "100 % wrong; 1 run may still run; runs whose ids could not be read may still run",
        ),
    ],
)
def test_an_error_names_how_many_runs_may_still_run(ids: RunIds, text: str) -> None:
    error = ValueError("100 % wrong")
    with pytest.raises(ValueError, match="100 % wrong") as raised, adding_runs_left(ids):
        raise error
    assert raised.value is error
    assert str(error) == text


@pytest.mark.parametrize(("found", "text"), [([], ""), (["run_1"], "; 1 run may still run")])
def test_an_error_before_the_search_says_that_there_may_be_others(found: list[str], text: str) -> None:
    with pytest.raises(ValueError, match="no") as raised, adding_runs_left(gathered(found), searched=True):
        raise ValueError("no")
    assert str(raised.value) == f"no{text}; runs that were not found yet may still run"


def test_an_error_of_a_callback_begins_with_its_origin() -> None:
    with pytest.raises(ValueError, match="no") as raised, adding_runs_left(gathered("a"), origin="Dag 'd': "):
        raise ValueError("no")
    assert str(raised.value) == "Dag 'd': no; 1 run may still run"


def test_what_ends_the_process_is_not_changed() -> None:
    with pytest.raises(KeyboardInterrupt) as raised, adding_runs_left(gathered("run_1")):
        raise KeyboardInterrupt
    assert raised.value.args == ()


def test_where_every_id_has_a_hint_of_its_own_the_environment_is_not_questioned() -> None:
    made = report(result("batch_1", "not_found"), result("start", "not_found"))
    assert "another environment" not in str(made)
    assert made.warnings == []
    assert "another environment" in str(report(result("batch_1", "not_found"), result("run_x", "not_found")))


# Descendants


def test_a_descendants_line_has_its_parent(log: logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    child = result("run_2", status="CANCELED", task_identifier="resize", parent_run_id="run_1")
    log_results(log, [child], link, on_not_found="fail")
    text = "run_2 (resize, child of run_1): canceled, CANCELED https://dashboard.test/runs/run_2"
    assert lines(caplog) == [("INFO", text)]


def test_a_descendant_that_vanished_is_no_problem(
    log: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    gone = result("run_2", "not_found", parent_run_id="run_1")
    assert report(result(), gone).problems == []
    log_results(log, [gone], link, on_not_found="fail")
    assert [level for level, _ in lines(caplog)] == ["INFO"]


def test_a_descendant_that_may_still_run_is_a_problem() -> None:
    made = report(result(), failed("run_2", "still EXECUTING", status="EXECUTING", parent_run_id="run_1"))
    assert made.problems[0] == "1 run may still run (status EXECUTING)"


def searched(**fields: Any) -> Search:
    search = Search(lambda *_: None)
    for name, value in fields.items():
        setattr(search, name, value)
    return search


@pytest.mark.parametrize("search", [None, searched(), searched(unreadable={"run_2": TransportError("lost")})])
def test_a_search_that_found_all_says_nothing(
    search: Search | None, log: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    log_search(log, search)
    assert lines(caplog) == []


def test_a_search_without_the_query_says_why(log: logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    log_search(log, searched(query_error=TransportError("lost")), origin="Dag x: ")
    text = "Dag x: Descendants were searched with status checks, as the query failed: lost"
    assert lines(caplog) == [("INFO", text)]


def test_a_search_says_what_it_may_have_missed(log: logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    lost = TransportError("lost")
    search = searched(query_error=lost, unreadable={"run_2": lost}, is_cut_off=True)
    search.add(["run_1"], now=0.0)  # it has just begun
    log_search(log, search)
    assert lines(caplog)[1:] == [
        (
            "WARNING",
            "Descendants may be missing, and still run: the search was not finished; these runs could not "
            "be checked: run_2 (lost); the query shows no more than 10,000 runs",
        )
    ]
