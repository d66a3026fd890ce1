"""What is said of the runs of a task that was stopped: of a few by themselves, of many together."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_trigger.cancel.outcome import CancelOutcome, CancelResult, not_canceled
from airflow_provider_trigger.report.ends import of_cancels
from airflow_provider_trigger.wording import MAX_NAMED

MANY = MAX_NAMED + 1
IDS = ", ".join(["run_1"] * MANY)
NAMED = ", ".join(["run_1"] * MAX_NAMED) + " … and 1 more"
ONE_TO_DO = "Unless a retry waits for it, cancel it in the dashboard"
MANY_TO_DO = "Unless a retry waits for them, cancel them in the dashboard"


def result(outcome: str, **fields: Any) -> CancelResult:
    return CancelResult(run_id="run_1", outcome=CancelOutcome(outcome), **fields)


@pytest.mark.parametrize(
    ("one", "level", "text", "of_many"),
    [
        (
            result("canceled"),
            "info",
            "Canceled run run_1, because its task was ended",
            f"Canceled {MANY} runs, because their task was ended",
        ),
        (
            result("already_completed", status="FAILED"),
            "info",
            "Run run_1 was FAILED before its cancel",
            f"{MANY} runs had ended before their cancel: {NAMED}",
        ),
        (
            result("not_found"),
            "error",
            f"Run run_1 may still be running: connection 'mine' has no such run. {ONE_TO_DO}",
            f"{MANY} runs may still be running, as the cancel is not confirmed: connection 'mine' has no "
            f"such run: {NAMED}. {MANY_TO_DO}",
        ),
        (
            not_canceled("run_1", "no time."),
            "error",
            f"Run run_1 may still be running: cancel failed: no time. {ONE_TO_DO}",
            f"{MANY} runs may still be running, as the cancel is not confirmed: {MANY} runs ({IDS}): cancel "
            f"failed: no time. {MANY_TO_DO}",
        ),
        (
            result("failed", request="it is still EXECUTING", is_unconfirmed=True),
            "warning",
            f"Run run_1 may still be running: it is still EXECUTING. {ONE_TO_DO}",
            f"{MANY} runs may still be running, as the cancel is not confirmed: {MANY} runs ({IDS}): it is "
            f"still EXECUTING. {MANY_TO_DO}",
        ),
    ],
)
def test_each_outcome_is_said_of_one_run_and_of_many(
    one: CancelResult, level: str, text: str, of_many: str
) -> None:
    assert list(of_cancels([one] * MAX_NAMED, "mine", was_ended=True)) == [(level, text)] * MAX_NAMED
    assert list(of_cancels([one] * MANY, "mine", was_ended=True)) == [(level, of_many)]


def test_the_tasks_own_log_does_not_say_that_it_was_ended() -> None:
    assert list(of_cancels([result("canceled")], "mine")) == [("info", "Canceled run run_1")]
