"""What the ends of a batch's runs mean for its task: whether it fails, for good or not, and its value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from fake_log import Log

from airflow_provider_trigger._compat import AirflowException, AirflowFailException
from airflow_provider_trigger.api.errors import TriggerDevError
from airflow_provider_trigger.api.models.runs import Run
from airflow_provider_trigger.api.models.statuses import RETRY_STATUSES
from airflow_provider_trigger.hooks.connection import Settings
from airflow_provider_trigger.operators.batch_end import (
    ItemEnd,
    check_fetched,
    ends_of,
    failure_of,
)
from airflow_provider_trigger.run.batch.outputs import Outputs
from airflow_provider_trigger.run.waited import Waited, WaitEnd

CONNECTION = Settings(
    conn_id="mine",
    base_url="https://api.trigger.dev",
    secret_key="tr_prod_key",
    user_agent="a test",
    dashboard_url="https://cloud.trigger.dev",
)


@pytest.fixture
def log() -> Log:
    return Log()


def waited(status: str | None, end: WaitEnd = WaitEnd.FINAL, **shown: Any) -> Waited:
    run = Run.from_answer({"id": "run_x", "status": status} | shown) if status else None
    return Waited(end=end, run=run)


def ends(*each: Waited | str, retry_statuses: Sequence[str] = RETRY_STATUSES) -> list[ItemEnd]:
    """Make what became of items whose runs are run_0, run_1 …"""
    found: Mapping[str, Waited] = {
        f"run_{number}": waited(one) if isinstance(one, str) else one for number, one in enumerate(each)
    }
    return ends_of(
        list(found),
        found,
        connection=CONNECTION,
        timeouts={"timeout": 60.0, "execution_timeout": None},
        retry_statuses=retry_statuses,
    )


TIMED_OUT = waited("CANCELED", WaitEnd.TIMED_OUT)
NOT_NEEDED = waited("CANCELED", WaitEnd.NOT_NEEDED)


def test_results_are_in_the_order_of_the_items() -> None:
    failed = waited("FAILED", error={"name": "Error", "message": "boom"})
    assert [end.to_dict() for end in ends("COMPLETED", failed, "EXPIRED", TIMED_OUT, waited(None))] == [
        {"run_id": "run_0", "status": "COMPLETED", "error": None},
        {"run_id": "run_1", "status": "FAILED", "error": "Error: boom"},
        {"run_id": "run_2", "status": "EXPIRED", "error": "ended with status EXPIRED"},
        {
            "run_id": "run_3",
            "status": "CANCELED",
            "error": "Run run_x did not end within its time limit (timeout=60 s). It was canceled. "
            "https://cloud.trigger.dev/runs/run_3",
        },
        {
            "run_id": "run_4",
            "status": None,
            "error": "Run run_4 did not end within its time limit (timeout=60 s). It was not canceled. "
            "https://cloud.trigger.dev/runs/run_4",
        },
    ]


def test_a_long_error_is_cut() -> None:
    [end] = ends(waited("FAILED", error={"message": "x" * 900}))
    assert end.to_dict()["error"] == "x" * 500


def test_two_items_may_share_a_run() -> None:
    found = {"run_1": waited("COMPLETED")}
    both = ends_of(["run_1"] * 2, found, connection=CONNECTION, timeouts={}, retry_statuses=())
    assert [end.index for end in both] == [0, 1]


def test_one_whose_cancel_failed_is_named_as_a_run_that_may_be_alive(log: Log) -> None:
    executing = replace(waited("EXECUTING", WaitEnd.NOT_NEEDED), error="the cancel failed: answered 503")
    text = str(failure_of(ends("FAILED", NOT_NEEDED, executing), fail_on="any", log=log))
    assert text.startswith("2 of 3 runs did not complete: item 0: ")
    assert "item 2: Run run_x was not needed any more, as another run had failed. It may still be run" in text
    assert text.endswith(". 1 others were canceled, as one had failed (cancel_others=True)")


def test_where_the_one_that_seemed_to_have_failed_has_completed_a_retry_does_the_rest(log: Log) -> None:
    error = failure_of(ends("COMPLETED", NOT_NEEDED, NOT_NEEDED), fail_on="any", log=log)
    assert str(error) == (
        "2 of 3 runs were canceled, as another one had failed (cancel_others=True); that one has completed "
        "after all"
    )
    assert not isinstance(error, AirflowFailException)


# Whether the task fails


@pytest.mark.parametrize("fail_on", ["any", "all", "never"])
def test_without_a_failure_it_succeeds(fail_on: str, log: Log) -> None:
    assert failure_of(ends("COMPLETED", "COMPLETED"), fail_on=fail_on, log=log) is None
    assert failure_of([], fail_on=fail_on, log=log) is None
    assert log.lines == []


@pytest.mark.parametrize(
    ("fail_on", "each", "fails"),
    [
        ("any", ("COMPLETED", "FAILED"), True),
        ("all", ("COMPLETED", "FAILED"), False),
        ("all", ("FAILED", "CANCELED"), True),
        ("all", ("FAILED", NOT_NEEDED), True),
        ("all", ("COMPLETED", "FAILED", NOT_NEEDED), False),
        ("never", ("FAILED", "FAILED"), False),
    ],
)
def test_failures_count_as_fail_on_says(fail_on: str, each: Any, fails: bool, log: Log) -> None:
    assert (failure_of(ends(*each), fail_on=fail_on, log=log) is not None) == fails
    text = f"The task does not fail for it (fail_on='{fail_on}'): "
    text += str(failure_of(ends(*each), fail_on="any", log=Log()))
    assert log.lines == ([] if fails else [text])


@pytest.mark.parametrize(
    ("each", "is_retried"),
    [
        (("FAILED", "CANCELED"), True),
        (("CANCELED", "EXPIRED"), False),
        (("CANCELED", TIMED_OUT), True),
        (("CANCELED", waited("QUEUED", WaitEnd.NO_VERSION)), False),
        (("CANCELED", waited(None, WaitEnd.REJECTED)), True),
        (("CANCELED", NOT_NEEDED), False),
    ],
)
def test_it_is_retried_if_one_of_them_may_do_better(each: Any, is_retried: bool, log: Log) -> None:
    error = failure_of(ends(*each), fail_on="any", log=log)
    assert isinstance(error, AirflowFailException) != is_retried


def test_the_first_ten_are_named_and_the_rest_is_counted(log: Log) -> None:
    each = [waited("FAILED", error={"message": "boom", "stackTrace": "at line 1"})] * 12
    text = str(failure_of(ends("COMPLETED", *each), fail_on="any", log=log))
    assert text.startswith("12 of 13 runs did not complete: item 1: Run run_x ended with status FAILED: boo")
    assert "; item 10: " in text
    assert text.endswith(" … and 2 more")
    assert len(log.of("error")) == 10


def test_what_was_canceled_because_of_another_one_is_counted_apart(log: Log) -> None:
    text = str(failure_of(ends("FAILED", NOT_NEEDED, NOT_NEEDED), fail_on="any", log=log))
    assert text.startswith("1 of 3 runs did not complete: item 0: ")
    assert text.endswith(". 2 others were canceled, as one had failed (cancel_others=True)")


# Outputs


def outputs_of(max_size: int = 100, **values: Any) -> Outputs:
    outputs = Outputs(max_size=max_size)
    outputs.values = values
    outputs.sizes = {run_id: len(str(value)) for run_id, value in values.items()}
    outputs.total = sum(size or 0 for size in outputs.sizes.values())
    return outputs


@pytest.mark.parametrize(
    ("fail_on", "has_others", "fails"),
    [("any", True, True), ("all", True, False), ("never", True, False), ("never", False, True)],
)
def test_outputs_that_cannot_be_fetched(fail_on: str, has_others: bool, fails: bool, log: Log) -> None:
    found = outputs_of(run_0="a") if has_others else outputs_of()
    found.errors["run_1"] = TriggerDevError("broken")
    both = ends("COMPLETED", "COMPLETED")

    def check() -> None:
        check_fetched(both, found, connection=CONNECTION, fail_on=fail_on, log=log)

    if fails:
        with pytest.raises(AirflowException, match=r"^1 output missing: item 1: run run_1 is COMPLETED"):
            check()
    else:
        check()
    assert len(log.of("warning")) == (not fails)


def test_nothing_is_said_where_all_were_fetched(log: Log) -> None:
    check_fetched(ends("COMPLETED"), outputs_of(), connection=CONNECTION, fail_on="any", log=log)
    assert log.lines == []


def test_all_outputs_that_cannot_be_fetched_are_named(log: Log) -> None:
    found = outputs_of(run_0="a")
    found.errors |= {run_id: TriggerDevError("broken") for run_id in ("run_1", "run_2")}
    check_fetched(ends(*["COMPLETED"] * 3), found, connection=CONNECTION, fail_on="all", log=log)
    named = "; ".join(
        f"item {index}: run run_{index} is COMPLETED, but its output cannot be fetched: broken. "
        f"https://cloud.trigger.dev/runs/run_{index}"
        for index in (1, 2)
    )
    assert log.leveled == [
        ("warning", f"The task does not fail for it (fail_on='all'): 2 outputs missing: {named}")
    ]
