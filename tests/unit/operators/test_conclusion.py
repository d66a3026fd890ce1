"""What the ends of runs mean for their task: whether it fails, for good or not, and what XCom gets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from fake_log import Log

from airflow_provider_trigger._compat import AirflowException, AirflowFailException
from airflow_provider_trigger.api.errors import TriggerDevError
from airflow_provider_trigger.api.models import Run
from airflow_provider_trigger.api.statuses import FINAL_STATUSES, RETRY_STATUSES
from airflow_provider_trigger.exceptions import (
    TriggerBatchFailedError,
    TriggerBatchNotRetriedError,
    TriggerRunFailedError,
    TriggerRunNotRetriedError,
)
from airflow_provider_trigger.hooks.connection import Settings
from airflow_provider_trigger.operators.conclusion import (
    RunEnd,
    check_fetched,
    ends_of,
    failure_of,
    failure_of_batch,
)
from airflow_provider_trigger.run.output import Outputs
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
    ("fail_on", "each", "kind"),
    [
        ("any", (), None),
        # The task is retried if one of its runs may do better.
        ("any", (TIMED_OUT,), AirflowException),
        ("any", (NO_VERSION,), AirflowFailException),
        ("any", (REJECTED,), AirflowException),
        ("any", ("FAILED", "CANCELED"), TriggerBatchFailedError),
        ("any", ("COMPLETED", "FAILED"), TriggerBatchFailedError),
        ("any", ("CANCELED", "EXPIRED"), TriggerBatchNotRetriedError),
        ("any", ("CANCELED", TIMED_OUT), TriggerBatchFailedError),
        ("any", ("CANCELED", NO_VERSION), TriggerBatchNotRetriedError),
        ("any", ("CANCELED", NOT_NEEDED), TriggerBatchNotRetriedError),
        ("any", ("COMPLETED", NOT_NEEDED), TriggerBatchFailedError),
        ("all", ("COMPLETED", "FAILED"), None),
        ("all", ("FAILED", "CANCELED"), TriggerBatchFailedError),
        ("all", ("FAILED", NOT_NEEDED), TriggerBatchFailedError),
        ("all", ("COMPLETED", "FAILED", NOT_NEEDED), None),
        ("never", ("FAILED", "FAILED"), None),
        (2, ("FAILED", "COMPLETED"), None),
        (2, ("FAILED", TIMED_OUT, "COMPLETED"), TriggerBatchFailedError),
        ("never", ("COMPLETED",), None),
    ],
)
def test_failures_count_as_fail_on_says_and_otherwise_are_a_warning(
    fail_on: Any, each: Any, kind: Any
) -> None:
    log = Log()
    error = failure_of_batch(ends(*each), fail_on=fail_on, log=log)
    assert (error and type(error)) is kind
    text = failure_of_batch(ends(*each), fail_on="any", log=Log())
    is_warned = text is not None and kind is None
    assert log.lines == [f"The task does not fail for it (fail_on={fail_on!r}): {text}"] * is_warned


@pytest.mark.parametrize(("last", "is_named"), [("FAILED", False), (TIMED_OUT, False), (REJECTED, True)])
def test_of_runs_that_may_be_running_the_tag_is_named(last: Any, is_named: bool) -> None:
    text = str(failure_of_batch(ends("FAILED", last), fail_on="any", log=Log(), tag="airflow_task:x"))
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
    assert str(failure_of_batch(ends(*each), fail_on="any", log=Log())) == text


def test_the_first_ten_are_named_and_the_rest_is_counted() -> None:
    log = Log()
    each = [waited("FAILED", error={"message": "boom", "stackTrace": "at line 1"})] * 12
    text = str(failure_of_batch(ends("COMPLETED", *each), fail_on="any", log=log))
    assert text.startswith("12 of 13 runs did not complete: item 1: Run run_x ended with status FAILED: boo")
    assert text.endswith(" … and 2 more")
    assert "; item 10: " in text
    assert [line.partition(":")[0] for line in log.of("error")] == ["Stack trace of run run_x"] * 10


@pytest.mark.parametrize(
    ("fail_on", "other", "fails"),
    [
        ("any", "COMPLETED", True),
        ("never", "FAILED", False),
        (2, "COMPLETED", False),
        (2, "FAILED", True),
        ("all", NOT_NEEDED, True),
    ],
)
def test_an_output_that_cannot_be_fetched_counts_as_a_failed_run(
    fail_on: Any, other: Any, fails: bool
) -> None:
    log, outputs = Log(), Outputs(max_size=100)
    outputs.errors["run_1"] = TriggerDevError("broken")
    text = "1 output missing: item 1: run run_1 is COMPLETED, but its output cannot be fetched: broken. "
    text += "https://cloud.trigger.dev/runs/run_1"
    text += ". 1 other run did not complete" if other != "COMPLETED" else ""

    def check() -> None:
        check_fetched(ends(other, "COMPLETED"), outputs, connection=CONNECTION, fail_on=fail_on, log=log)

    if fails:
        with pytest.raises(AirflowException) as raised:
            check()
        assert (str(raised.value), log.lines) == (text, [])
    else:
        check()
        assert log.lines == [f"The task does not fail for it (fail_on={fail_on!r}): {text}"]
