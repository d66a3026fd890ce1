"""What a task returns or fails with when its run has ended, and whether it is retried."""

from __future__ import annotations

from typing import Any

import pytest
from fake_log import Log

from airflow_provider_trigger._compat import AirflowException, AirflowFailException
from airflow_provider_trigger.api.models.runs import Run
from airflow_provider_trigger.api.models.statuses import FINAL_STATUSES, RETRY_STATUSES
from airflow_provider_trigger.hooks.connection import Settings
from airflow_provider_trigger.operators.conclusion import failure_of, for_xcom, reference_to
from airflow_provider_trigger.run.output import OutputTooLargeError
from airflow_provider_trigger.run.waited import Waited, WaitEnd

URL = "https://cloud.trigger.dev/runs/run_1"


@pytest.fixture
def log() -> Log:
    return Log()


def connection(secret_key: str = "tr_prod_key") -> Settings:
    return Settings(
        conn_id="mine",
        base_url="https://api.trigger.dev",
        secret_key=secret_key,
        user_agent="a test",
        dashboard_url="https://cloud.trigger.dev",
    )


def run(status: str, **fields: Any) -> Run:
    return Run.from_answer({"id": "run_1", "status": status, "taskIdentifier": "resize"} | fields)


def failure(waited: Waited, log: Log | None = None, **changes: Any) -> AirflowException:
    arguments: dict[str, Any] = {
        "connection": connection(),
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


def test_the_stack_trace_is_in_the_log_and_not_in_the_error(log: Log) -> None:
    shown = {"name": "Error", "message": "no such file", "stackTrace": "at resize.ts:5"}
    error = failure(Waited(end=WaitEnd.FINAL, run=run("FAILED", error=shown, attemptCount=2)), log)
    assert log.leveled == [("error", "Stack trace of run run_1:\nat resize.ts:5")]
    assert "after 2 attempts: Error: no such file" in str(error)
    assert "resize.ts" not in str(error)


@pytest.mark.parametrize(
    ("end", "is_retried", "text"),
    [
        (WaitEnd.TIMED_OUT, True, "did not end within its time limit (timeout=60 s)"),
        (
            WaitEnd.NO_VERSION,
            False,
            "no deployed version in this environment has the Trigger.dev task 'resize' (or its queue)",
        ),
        (
            WaitEnd.REJECTED,
            True,
            "The server rejects the status checks of run run_1 of Trigger.dev task 'resize', which may still "
            "be running: 401",
        ),
    ],
)
def test_after_a_wait_that_ended_before_its_run_the_task_is_retried_where_that_may_help(
    end: WaitEnd, is_retried: bool, text: str
) -> None:
    error = failure(Waited(end=end, run=run("EXECUTING"), error="401"))
    assert isinstance(error, AirflowFailException) != is_retried
    assert text in str(error)
    assert str(error).endswith(URL)


def test_with_a_development_key_a_missing_version_names_the_command_that_must_run() -> None:
    waited = Waited(end=WaitEnd.NO_VERSION, run=run("CANCELED"), is_canceled=True)
    assert "npx trigger.dev@latest dev" in str(failure(waited, connection=connection("tr_dev_key")))
    assert "npx" not in str(failure(waited))


def test_a_run_that_was_never_seen_is_named_too() -> None:
    error = failure(Waited(end=WaitEnd.REJECTED, run=None, error="404"))
    assert str(error).startswith("The server rejects the status checks of run run_1, which may still be runn")


# XCom


@pytest.mark.parametrize("output", [None, 0, "", "text", {"a": 1}])
def test_a_small_output_goes_into_xcom_as_it_is(log: Log, output) -> None:
    assert for_xcom(output, "run_1", max_size=1000, log=log) == output
    assert log.lines == []


def test_the_limit_itself_is_not_too_large(log: Log) -> None:
    output = {"text": "x" * 100}
    size = len('{"text":""}') + 100
    assert for_xcom(output, "run_1", max_size=size, log=log) is output
    assert for_xcom(output, "run_1", max_size=size - 1, log=log) == {"run_id": "run_1", "output_size": size}


def test_of_a_large_one_xcom_gets_a_reference_with_a_warning(log: Log) -> None:
    assert for_xcom("x" * 998, "run_1", max_size=999, log=log) == {"run_id": "run_1", "output_size": 1000}
    assert log.leveled == [
        (
            "warning",
            "The output of run run_1 has 1000 bytes, more than max_output_size=999: XCom gets a reference to "
            "it; TriggerDevHook.get_output('run_1') returns the output",
        )
    ]


def test_with_a_limit_of_nothing_every_output_is_a_reference(log: Log) -> None:
    assert for_xcom(None, "run_1", max_size=0, log=log) == {"run_id": "run_1", "output_size": 4}


@pytest.mark.parametrize("size", [17_000_000, None])
def test_of_one_that_is_too_large_to_be_fetched_too_with_the_size_as_far_as_it_is_known(
    log: Log, size: int | None
) -> None:
    error = OutputTooLargeError("run_1", limit=16 * 1024 * 1024, size=size)
    assert reference_to(error, "run_1", log=log) == {"run_id": "run_1", "output_size": size}
    assert log.leveled == [("warning", f"XCom gets a reference. {error}")]
