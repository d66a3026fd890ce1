"""What the end of a run, or of a wait for it, says to the one who waited."""

from __future__ import annotations

from typing import Any

import pytest
from fake_log import Log

from airflow_provider_trigger.api.models.statuses import FINAL_STATUSES
from airflow_provider_trigger.run.ending import log_stack_trace, why_failed, why_no_output, why_not_ended
from airflow_provider_trigger.run.waited import Waited, WaitEnd

URL = "https://trigger.test/runs/run_1"


def internal(code: str) -> dict[str, str]:
    return {"message": f"trigger.dev internal error ({code})"}


def test_only_a_completed_run_has_ended_well(make_run) -> None:
    good = {status for status in FINAL_STATUSES if make_run(status).is_success}
    assert good == {"COMPLETED", "COMPLETED_SUCCESSFULLY"}
    assert not make_run("EXECUTING").is_success


@pytest.mark.parametrize(
    ("status", "shown", "text"),
    [
        (
            "FAILED",
            {
                "attemptCount": 3,
                "error": {"name": "TypeError", "message": "no such\n  image", "stackTrace": "x"},
            },
            "FAILED after 3 attempts: TypeError: no such image",
        ),
        ("FAILED", {"attemptCount": 1, "error": {"message": "boom"}}, "FAILED after 1 attempt: boom"),
        ("FAILED", {"error": {"name": "Error", "message": ""}}, "FAILED: Error"),
        ("FAILED", {"error": {"message": ""}}, "FAILED"),
        ("FAILED", {"error": {"message": "it ended. So."}}, "FAILED: it ended. So"),
        ("FAILED", {"error": {"message": "no file X."}}, "FAILED: no file X"),
        ("CANCELED", {}, "CANCELED"),
        (
            "EXPIRED",
            {"attemptCount": 0, "error": {"message": "Run expired because the TTL was reached"}},
            "EXPIRED: Run expired because the TTL was reached",
        ),
        (
            "CRASHED",
            {"attemptCount": 1, "error": internal("TASK_PROCESS_OOM_KILLED")},
            "CRASHED after 1 attempt: trigger.dev internal error (TASK_PROCESS_OOM_KILLED). The task ran "
            "out of memory. Give it a larger machine, or let the task use less memory",
        ),
        (
            "TIMED_OUT",
            {"attemptCount": 1, "error": internal("MAX_DURATION_EXCEEDED")},
            "TIMED_OUT after 1 attempt: trigger.dev internal error (MAX_DURATION_EXCEEDED). It reached its "
            "maximum duration: allow a longer one, or let the task do less",
        ),
        (
            "SYSTEM_FAILURE",
            {"error": internal("COULD_NOT_FIND_TASK")},
            "SYSTEM_FAILURE: trigger.dev internal error (COULD_NOT_FIND_TASK). The deployed version has no "
            "task with this identifier: check it, and deploy a version that has it",
        ),
        (
            "SYSTEM_FAILURE",
            {"error": internal("SOMETHING_NEW")},
            "SYSTEM_FAILURE: trigger.dev internal error (SOMETHING_NEW)",
        ),
    ],
)
def test_a_failure_names_task_status_attempts_error_link_and_what_to_do(
    make_run, status: str, shown: dict[str, Any], text: str
) -> None:
    run = make_run(status, taskIdentifier="resize", **shown)
    assert why_failed(run, run_url=URL) == (
        f"Run run_1 of Trigger.dev task 'resize' ended with status {text}. {URL}"
    )


def test_a_long_message_is_shortened_and_stays_one_line(make_run) -> None:
    text = why_failed(make_run("FAILED", error={"message": "line\n" * 20_000}), run_url=URL)
    assert len(text) < 1200
    assert "\n" not in text


@pytest.mark.parametrize(
    ("error", "logged"),
    [
        (
            {"message": "boom", "stackTrace": "Error: boom\n    at resize.ts:3"},
            [("error", "Stack trace of run run_1:\nError: boom\n    at resize.ts:3")],
        ),
        ({"message": "boom"}, []),
        (None, []),
    ],
)
def test_where_a_run_has_failed_is_logged_as_an_error_if_it_is_known(
    make_run, error: dict[str, str] | None, logged: list[tuple[str, str]]
) -> None:
    log = Log()
    log_stack_trace(make_run("FAILED", error=error), log)
    assert log.leveled == logged


# A wait that ended before its run


def not_ended(end: str, run: Any, *, error: str = "", is_canceled: bool = False, **facts: Any) -> str:
    waited = Waited(end=WaitEnd(end), run=run, error=error, is_canceled=is_canceled)
    return why_not_ended(waited, "run_1", limit="timeout=60 s", run_url=URL, **facts)


@pytest.mark.parametrize(
    ("run", "facts", "became"),
    [
        ({"status": "CANCELED"}, {"is_canceled": True}, "It was canceled"),
        # A check that lags behind, and one that failed: the cancel was acknowledged all the same.
        ({"status": "EXECUTING"}, {"is_canceled": True}, "It was canceled"),
        (None, {"is_canceled": True}, "It was canceled"),
        ({"status": "CANCELED"}, {}, "It was canceled"),
        (
            {"status": "EXECUTING"},
            {"error": "the cancel failed: no answer"},
            "It may still be running: the cancel failed: no answer",
        ),
        (
            None,
            {"error": "the cancel failed: no answer"},
            "It may still be running: the cancel failed: no answer",
        ),
        ({"status": "EXECUTING"}, {}, "It was not canceled, and is EXECUTING"),
        (None, {}, "It was not canceled"),
    ],
)
def test_a_time_limit_says_what_became_of_the_run(
    make_run, run: dict[str, str] | None, facts: dict[str, Any], became: str
) -> None:
    seen = make_run(taskIdentifier="resize", **run) if run else None
    what = "Run run_1 of Trigger.dev task 'resize'" if run else "Run run_1"
    assert not_ended("timed_out", seen, **facts) == (
        f"{what} did not end within its time limit (timeout=60 s). {became}. {URL}"
    )


def test_a_run_without_a_version_says_what_to_do(make_run) -> None:
    run = make_run("CANCELED", taskIdentifier="resize")
    assert not_ended("no_version", run, is_canceled=True) == (
        "Run run_1 of Trigger.dev task 'resize' was still waiting for a version after "
        "pending_version_timeout: no deployed version in this environment has the Trigger.dev task "
        "'resize' (or its queue). Deploy it, or check task_identifier, queue and the environment of the "
        "secret key. "
        f"It was canceled. {URL}"
    )


def test_in_development_a_run_without_a_version_needs_the_command_that_runs_its_task(make_run) -> None:
    text = not_ended("no_version", make_run("PENDING_VERSION", taskIdentifier="resize"), is_development=True)
    assert "no running `trigger dev` has the Trigger.dev task 'resize' (or its queue)" in text
    assert "Deploy" not in text


def test_a_run_that_another_one_has_made_useless_says_so(make_run) -> None:
    run = make_run("CANCELED", taskIdentifier="resize")
    assert not_ended("not_needed", run, is_canceled=True) == (
        "Run run_1 of Trigger.dev task 'resize' was not needed any more, as another run had failed. "
        f"It was canceled. {URL}"
    )


def test_a_run_without_a_version_may_not_show_its_task(make_run) -> None:
    text = not_ended("no_version", make_run("PENDING_VERSION"))
    assert "no deployed version in this environment has the Trigger.dev task (or its queue). Dep" in text


@pytest.mark.parametrize("end", list(WaitEnd))
def test_no_text_has_two_blanks(make_run, end: WaitEnd) -> None:
    for run in (None, make_run(), make_run("CANCELED", taskIdentifier="t")):
        assert "  " not in not_ended(end, run, error="no answer")
        assert "  " not in not_ended(end, run, is_canceled=True)


def test_a_rejected_wait_names_the_error_and_that_the_run_may_still_be_running(make_run) -> None:
    error = "GET /api/v3/runs/run_1 answered 401: Invalid API key"
    assert not_ended("rejected", make_run("EXECUTING", taskIdentifier="resize"), error=error) == (
        "The server rejects the status checks of run run_1 of Trigger.dev task 'resize', which may still be "
        f"running: {error}. {URL}"
    )
    text = not_ended("rejected", None, error=error)
    assert text.startswith("The server rejects the status checks of run run_1, ")


def test_a_run_that_cannot_be_checked_is_to_be_looked_at_in_the_dashboard(make_run) -> None:
    error = "GET /api/v3/runs/run_1 answered 500; its realtime feed does not show it either: 503"
    rest = f" cannot be checked, and may still be running: {error}. Look at it in the dashboard: {URL}"
    task = "Run run_1 of Trigger.dev task 'resize'"
    run = make_run("EXECUTING", taskIdentifier="resize")
    assert not_ended("uncheckable", run, error=error) == task + rest
    assert not_ended("uncheckable", None, error=error) == "Run run_1" + rest


@pytest.mark.parametrize(
    ("status", "error", "is_missing"),
    [("COMPLETED", "500", True), ("COMPLETED", "", False), ("FAILED", "500", False)],
)
def test_an_output_that_cannot_be_fetched_is_no_empty_one(
    make_run, status: str, error: str, is_missing: bool
) -> None:
    waited = Waited(end=WaitEnd.FINAL, run=make_run(status), error=error)
    text = "Run run_1 is COMPLETED, but its output cannot be fetched: 500. A retry tries again, and starts "
    text += f"another run only if this one has no idempotency key. {URL}"
    assert why_no_output(waited, run_url=URL) == (text if is_missing else None)
