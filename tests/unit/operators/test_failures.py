"""Which error a task fails with, and whether it is retried."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_trigger._compat import AirflowException, AirflowFailException
from airflow_provider_trigger.api.models.runs import Run
from airflow_provider_trigger.api.models.statuses import FINAL_STATUSES, RETRY_STATUSES
from airflow_provider_trigger.operators.failures import failure_of
from airflow_provider_trigger.run.wait import Waited, WaitEnd

URL = "https://trigger.test/runs/run_1"


class Log:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, text: str, *values: Any) -> None:
        raise AssertionError("not an error")

    warning = info

    def error(self, text: str, *values: Any) -> None:
        self.lines.append(text % values)


def run(status: str, **fields: Any) -> Run:
    return Run.from_answer({"id": "run_1", "status": status, "taskIdentifier": "resize"} | fields)


def failure(waited: Waited, log: Log | None = None, **changes: Any) -> AirflowException:
    arguments: dict[str, Any] = {
        "run_url": URL,
        "timeouts": {"timeout": 60, "execution_timeout": None},
        "retry_statuses": RETRY_STATUSES,
        "log": log or Log(),
    }
    return failure_of(waited, "run_1", **arguments | changes)


@pytest.mark.parametrize("status", sorted(FINAL_STATUSES - {"COMPLETED", "COMPLETED_SUCCESSFULLY"}))
def test_the_final_status_says_whether_the_task_is_retried(status: str) -> None:
    error = failure(Waited(end=WaitEnd.FINAL, run=run(status)))
    assert isinstance(error, AirflowFailException) == (status not in RETRY_STATUSES)
    assert str(error) == f"Run run_1 of Trigger.dev task 'resize' ended with status {status}. {URL}"
    for statuses in ([status], []):
        error = failure(Waited(end=WaitEnd.FINAL, run=run(status)), retry_statuses=statuses)
        assert isinstance(error, AirflowFailException) == (not statuses)


def test_the_stack_trace_is_in_the_log_and_not_in_the_error() -> None:
    log = Log()
    shown = {"name": "Error", "message": "no such file", "stackTrace": "at resize.ts:5"}
    error = failure(Waited(end=WaitEnd.FINAL, run=run("FAILED", error=shown, attemptCount=2)), log)
    assert log.lines == ["Stack trace of run run_1:\nat resize.ts:5"]
    assert "after 2 attempts: Error: no such file" in str(error)
    assert "resize.ts" not in str(error)


@pytest.mark.parametrize(
    ("end", "is_retried", "text"),
    [
        (WaitEnd.TIMED_OUT, True, "did not end within its time limit (timeout=60 s)"),
        (WaitEnd.NO_VERSION, False, "no deployed version in this environment has the task 'resize'"),
        (WaitEnd.REJECTED, True, "cannot be checked any more, and may still be running: 401"),
    ],
)
def test_a_run_that_was_given_up_is_retried_where_that_may_help(
    end: WaitEnd, is_retried: bool, text: str
) -> None:
    error = failure(Waited(end=end, run=run("EXECUTING"), error="401"))
    assert isinstance(error, AirflowFailException) != is_retried
    assert text in str(error)
    assert str(error).endswith(URL)


def test_a_run_that_was_never_seen_is_named_too() -> None:
    error = failure(Waited(end=WaitEnd.REJECTED, run=None, error="404"))
    assert str(error).startswith("Run run_1 cannot be checked any more")
