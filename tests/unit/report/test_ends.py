"""What is said of the end of a run, and of a wait that ended before its run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_trigger.api.models import Run
from airflow_provider_trigger.cancel.outcome import CancelOutcome, CancelResult, not_canceled
from airflow_provider_trigger.log import MAX_NAMED
from airflow_provider_trigger.report.ends import of_cancels, why_not_completed
from airflow_provider_trigger.run.wait_outcome import WaitEnd, WaitOutcome

URL = "https://trigger.test/runs/run_1"


def run(status: str = "EXECUTING", **shown: Any) -> Run:
    return Run.from_answer({"id": "run_1", "status": status, "taskIdentifier": "resize"} | shown)


def internal(code: str) -> dict[str, str]:
    return {"message": f"trigger.dev internal error ({code})"}


@pytest.mark.parametrize(
    ("status", "shown", "text"),
    [
        (
            "FAILED",
            {"attemptCount": 3, "error": {"name": "TypeError", "message": "no such\n  image"}},
            "FAILED after 3 attempts: TypeError: no such image",
        ),
        ("FAILED", {"error": {"message": ""}}, "FAILED"),
        ("FAILED", {"error": {"message": "x" * 20_000}}, f"FAILED: {'x' * 1000}"),
        ("CANCELED", {}, "CANCELED"),
        (
            "CRASHED",
            {"error": internal("TASK_PROCESS_OOM_KILLED")},
            "CRASHED: trigger.dev internal error (TASK_PROCESS_OOM_KILLED). The task ran out of memory: give "
            "it a larger machine, or let it use less",
        ),
        (
            "SYSTEM_FAILURE",
            {"error": internal("SOMETHING_NEW")},
            "SYSTEM_FAILURE: trigger.dev internal error (SOMETHING_NEW). See "
            "https://trigger.dev/docs/troubleshooting",
        ),
    ],
)
def test_a_failure_names_its_run_and_what_to_do(status: str, shown: dict[str, Any], text: str) -> None:
    expected = f"Run run_1 of Trigger.dev task 'resize' ended with status {text}. {URL}"
    outcome = WaitOutcome(end=WaitEnd.FINAL, run=run(status, **shown))
    assert why_not_completed(outcome, "run_1", run_url=URL, conn_id="mine") == expected


TASK = "un run_1 of Trigger.dev task 'resize'"
UNNEEDED = "was not needed any more, as another run had failed. It was canceled."
LIMIT = "did not end within its time limit (timeout=60 s)"
DEPLOY = (
    "was still waiting for a version after pending_version_timeout: no deployed version in this environment "
    "has the Trigger.dev task 'resize' (or its queue). Deploy it (in development, start "
    "`npx trigger.dev@latest dev`), or check task_identifier, queue and the environment of the secret key"
)
UNSEEN = (
    "The server rejects the status checks of {}, which may still be running: {}. Check that connection "
    "'mine' has a key of its environment, and look at it in the dashboard:"
)


@pytest.mark.parametrize(
    ("end", "seen", "facts", "text"),
    [
        ("final", run("CANCELED"), {}, f"R{TASK} ended with status CANCELED."),
        ("timed_out", run("CANCELED"), {}, f"R{TASK} {LIMIT}. It was canceled."),
        # A check that lags behind, and one that failed: the cancel was acknowledged all the same.
        ("timed_out", run(), {"is_canceled": True}, f"R{TASK} {LIMIT}. It was canceled."),
        ("timed_out", run(), {"error": "503"}, f"R{TASK} {LIMIT}. It may still be running: 503."),
        ("timed_out", run(), {}, f"R{TASK} {LIMIT}. It was not canceled, and is EXECUTING."),
        ("no_version", run("CANCELED"), {}, f"R{TASK} {DEPLOY}. It was canceled."),
        ("not_needed", run("CANCELED"), {}, f"R{TASK} {UNNEEDED}"),
        ("rejected", run(), {"error": "401"}, UNSEEN.format(f"r{TASK}", "401")),
        ("rejected", None, {"error": "16 MB"}, UNSEEN.format("run run_1", "16 MB")),
        (
            "no_connection",
            run(),
            {"error": "Connection 'mine' was not found"},
            f"R{TASK} may still be running, as the triggerer could not wait for it: Connection 'mine' was "
            "not found. It was not canceled, and a retry waits for it.",
        ),
    ],
)
def test_a_wait_says_how_its_run_is(end: str, seen: Run | None, facts: dict[str, Any], text: str) -> None:
    outcome = WaitOutcome(end=WaitEnd(end), run=seen, **facts)
    timeouts = {"timeout": 60, "execution_timeout": None}
    shown = why_not_completed(outcome, "run_1", run_url=URL, conn_id="mine", timeouts=timeouts)
    assert shown == f"{text} {URL}"


TO_DO = "Cancel in the dashboard what no retry waits for, by the tag airflow_task:x"
IDS = [f"run_{number}" for number in range(MAX_NAMED + 2)]


def result(outcome: str, **fields: Any) -> CancelResult:
    return CancelResult(run_id="", outcome=CancelOutcome(outcome), **fields)


@pytest.mark.parametrize(
    ("outcome", "level", "text"),
    [
        (result("canceled"), "info", "Canceled {some}, because the task was ended"),
        (result("already_completed", status="FAILED"), "info", "FAILED before the cancel: {some}"),
        (result("not_found"), "error", "{each} may still be running: connection 'mine' has no such run. "),
        (not_canceled("", "no time."), "error", "{each} may still be running: cancel failed: no time. "),
        (
            result("failed", error="it is still EXECUTING", is_unconfirmed=True),
            "warning",
            "{each} may still be running: it is still EXECUTING. ",
        ),
    ],
)
def test_an_outcome_is_one_line_for_one_run_or_many(outcome: CancelResult, level: str, text: str) -> None:
    some, each = f"12 runs ({', '.join(IDS[:MAX_NAMED])} … and 2 more)", f"12 runs ({', '.join(IDS)})"
    for run_ids, names in ((IDS[:1], ("run run_0", "Run run_0")), (IDS, (some, each))):
        expected = text.format(some=names[0], each=names[1]) + TO_DO * text.endswith(". ")
        results = [replace(outcome, run_id=run_id) for run_id in run_ids]
        shown = list(of_cancels(results, "mine", was_ended=True, tag="airflow_task:x"))
        assert shown == [(level, expected)]


def test_runs_whose_cancels_failed_for_other_reasons_have_lines_of_their_own() -> None:
    why = {"run_1": "busy", "run_2": "gone", "run_3": "busy"}
    shown = [text for _, text in of_cancels([not_canceled(*error) for error in why.items()], "mine")]
    assert [text.partition(". ")[0] for text in shown] == [
        "2 runs (run_1, run_3) may still be running: cancel failed: busy",
        "Run run_2 may still be running: cancel failed: gone",
    ]
