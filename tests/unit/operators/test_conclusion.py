"""What the ends of runs mean for their task: whether it fails, for good or not, and what XCom gets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from fake_log import Log
from run_operator import batch_in_worker

from airflow_provider_trigger._compat import AirflowException, AirflowFailException
from airflow_provider_trigger.api.models import Run
from airflow_provider_trigger.api.statuses import FINAL_STATUSES, RETRY_STATUSES
from airflow_provider_trigger.exceptions import (
    TriggerBatchFailedError,
    TriggerBatchNotRetriedError,
    TriggerRunFailedError,
    TriggerRunNotRetriedError,
)
from airflow_provider_trigger.hooks.connection import Settings
from airflow_provider_trigger.operators.batch import is_failure
from airflow_provider_trigger.operators.conclusion import RunEnd, ends_of, failure_of, failure_of_batch
from airflow_provider_trigger.run.waited import Waited, WaitEnd

CONNECTION = Settings(
    conn_id="mine",
    base_url="https://api.trigger.dev",
    secret_key="tr_prod_key",
    user_agent="a test",
    dashboard_url="https://cloud.trigger.dev",
)


def waited(status: str | None, end: WaitEnd = WaitEnd.FINAL, **shown: Any) -> Waited:
    run = Run.from_answer({"id": "run_x", "status": status} | shown) if status else None
    return Waited(end=end, run=run)


TIMED_OUT = waited("CANCELED", WaitEnd.TIMED_OUT)
NOT_NEEDED = waited("CANCELED", WaitEnd.NOT_NEEDED)
NO_VERSION = waited("QUEUED", WaitEnd.NO_VERSION)
REJECTED = waited(None, WaitEnd.REJECTED)


def ends(*each: Waited | str, retry_statuses: Sequence[str] = RETRY_STATUSES) -> list[RunEnd]:
    """Make what became of items whose runs are run_0, run_1 …"""
    found = {f"run_{number}": waited(one) if isinstance(one, str) else one for number, one in enumerate(each)}
    return ends_of(
        list(found),
        found,
        connection=CONNECTION,
        timeouts={"timeout": 60.0, "execution_timeout": None},
        retry_statuses=retry_statuses,
    )


@pytest.mark.parametrize("status", sorted(FINAL_STATUSES - {"COMPLETED"}))
@pytest.mark.parametrize("statuses", [RETRY_STATUSES, FINAL_STATUSES, ()])
def test_the_final_status_says_whether_the_task_is_retried(status: str, statuses: Sequence[str]) -> None:
    [end] = ends(status, retry_statuses=statuses)
    error = failure_of(end, run_url="https://cloud.trigger.dev/runs/run_0", log=Log())
    assert type(error) is (TriggerRunFailedError if status in statuses else TriggerRunNotRetriedError)


def test_what_became_of_each_item_goes_into_xcom() -> None:
    failed = waited("FAILED", error={"name": "Error", "message": "x" * 900})
    results = [end.to_dict() for end in ends("COMPLETED", failed, "EXPIRED", TIMED_OUT, waited(None))]
    assert [result["index"] for result in results] == [0, 1, 2, 3, 4]
    assert [result["status"] for result in results] == ["COMPLETED", "FAILED", "EXPIRED", "CANCELED", None]
    limit = "did not end within its time limit (timeout=60 s)"
    assert [result["error"] for result in results] == [
        None,
        "Error: " + "x" * 493,
        "ended with status EXPIRED",
        f"Run run_x {limit}. It was canceled. https://cloud.trigger.dev/runs/run_3",
        f"Run run_4 {limit}. It was not canceled. https://cloud.trigger.dev/runs/run_4",
    ]


# Batches


@pytest.mark.parametrize(
    ("each", "kind"),
    [
        ((), None),
        (("COMPLETED",), None),
        # The task is retried if one of its runs may do better.
        ((TIMED_OUT,), AirflowException),
        ((NO_VERSION,), AirflowFailException),
        ((REJECTED,), AirflowException),
        (("FAILED", "CANCELED"), TriggerBatchFailedError),
        (("COMPLETED", "FAILED"), TriggerBatchFailedError),
        (("CANCELED", "EXPIRED"), TriggerBatchNotRetriedError),
        (("CANCELED", TIMED_OUT), TriggerBatchFailedError),
        (("CANCELED", NO_VERSION), TriggerBatchNotRetriedError),
        (("CANCELED", NOT_NEEDED), TriggerBatchNotRetriedError),
        (("COMPLETED", NOT_NEEDED), TriggerBatchFailedError),
    ],
)
def test_the_error_of_a_batch_says_whether_it_is_retried(each: Any, kind: Any) -> None:
    error = failure_of_batch(ends(*each), log=Log())
    assert (error and type(error)) is kind


@pytest.mark.parametrize(
    ("fail_on", "count", "fewest"),
    [
        ("any", 20, 1),
        ("all", 20, 20),
        ("never", 20, None),
        (3, 20, 3),
        (3, 2, 2),  # as many as there are
        (3, 0, None),
        ("10%", 20, 3),
        ("10 %", 30, 4),
        ("0.1%", 1000, 2),
        ("50%", 1, 1),
    ],
)
def test_a_batch_fails_from_so_many_failed_runs_on(fail_on: Any, count: int, fewest: int | None) -> None:
    failing = [failed for failed in range(count + 1) if is_failure(fail_on, failed=failed, count=count)]
    assert failing == ([] if fewest is None else list(range(fewest, count + 1)))


@pytest.mark.parametrize("fail_on", [0, True, 1.5, "3", "0%", "100%", "1e1%", None, ["any"]])
def test_what_is_no_such_threshold_is_an_error(fail_on: Any) -> None:
    with pytest.raises(ValueError, match=r"fail_on must be 'any', 'all', 'never', a whole number of runs, 1"):
        batch_in_worker(fail_on=fail_on)


@pytest.mark.parametrize("fail_on", [1, "10%"])
def test_a_threshold_and_a_cancel_of_the_others_exclude_each_other(fail_on: Any) -> None:
    with pytest.raises(ValueError, match=f"cancel_others=True does not go with fail_on={fail_on!r}"):
        batch_in_worker(fail_on=fail_on, cancel_others=True)


@pytest.mark.parametrize(("last", "is_named"), [("FAILED", False), (TIMED_OUT, False), (REJECTED, True)])
def test_of_runs_that_may_be_running_the_tag_is_named(last: Any, is_named: bool) -> None:
    text = str(failure_of_batch(ends("FAILED", last), log=Log(), tag="airflow_task:x"))
    assert text.endswith(". Look for runs that may still be running by the tag airflow_task:x") is is_named


ALIVE = replace(waited("EXECUTING", WaitEnd.NOT_NEEDED), error="the cancel failed: answered 503")
ITEM_0 = "item 0: Run run_x ended with status FAILED. https://cloud.trigger.dev/runs/run_0"


@pytest.mark.parametrize(
    ("each", "text"),
    [
        (
            ("FAILED", NOT_NEEDED, NOT_NEEDED),
            f"1 of 3 runs did not complete: {ITEM_0}. 2 others were canceled, as one had failed "
            "(cancel_others=True)",
        ),
        (
            ("FAILED", ALIVE),
            f"2 of 2 runs did not complete: {ITEM_0}; item 1: Run run_x was not needed any more, as another "
            "run had failed. It may still be running: the cancel failed: answered 503. "
            "https://cloud.trigger.dev/runs/run_1",
        ),
        (
            ("COMPLETED", NOT_NEEDED, NOT_NEEDED),
            "2 of 3 runs were canceled, as another one had failed (cancel_others=True); that one has "
            "completed after all",
        ),
    ],
)
def test_what_was_canceled_because_of_another_one_is_counted_apart(each: Any, text: str) -> None:
    assert str(failure_of_batch(ends(*each), log=Log())) == text


def test_the_first_ten_are_named_and_the_rest_is_counted() -> None:
    log = Log()
    each = [waited("FAILED", error={"message": "boom", "stackTrace": "at line 1"})] * 12
    text = str(failure_of_batch(ends("COMPLETED", *each), log=log))
    assert text.startswith("12 of 13 runs did not complete: item 1: Run run_x ended with status FAILED: boo")
    assert text.endswith(" … and 2 more")
    assert "; item 10: " in text
    assert [line.partition(":")[0] for line in log.of("error")] == ["Stack trace of run run_x"] * 10
