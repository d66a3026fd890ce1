"""What becomes of the runs that it gathers: its results, its log, and whether the task fails."""

from __future__ import annotations

from typing import Any

import pytest
from airflow_names import dag_of
from fake_airflow import TaskInstance

from airflow_provider_trigger._compat import AirflowException, AirflowFailException, AirflowNotFoundException
from airflow_provider_trigger.operators.cancel import CancelTriggerRunOperator


def operator(**arguments: Any) -> CancelTriggerRunOperator:
    return CancelTriggerRunOperator(**{"task_id": "cancel", "run_ids": ["run_1"]} | arguments)


def context(**pushed: Any) -> Any:
    return {"ti": TaskInstance(xcoms=pushed), "dag": dag_of("start", "stop")}


def results_of(given: Any) -> list[str]:
    """Return the runs whose results were pushed although the task failed."""
    return [result["run_id"] for result in given["ti"].pushed["return_value"]]


@pytest.fixture
def log(keep_log):
    return keep_log(CancelTriggerRunOperator)


NAMES = ("run_id", "outcome", "status", "task_identifier", "terminated")
CANCELED = dict(zip(NAMES, ("run_1", "canceled", "CANCELED", "t", True), strict=True))
NOT_FOUND = dict(zip(NAMES, ("run_x", "not_found", None, None, False), strict=True))


@pytest.mark.parametrize(
    ("given", "rendered"), [([], []), ([], None), ([], "None"), ([], [None]), (None, None)]
)
def test_no_ids_at_all_are_a_success_without_a_connection(given: Any, rendered: Any, log) -> None:
    is_mapped = {"_airflow_from_mapped": True} if given is None else {}
    made = operator(run_ids=given, trigger_dev_conn_id="there is no such connection", **is_mapped)
    made.run_ids = rendered
    assert made.execute(context()) == []
    assert [level for level, _ in log.leveled] == ["warning", "info"]
    assert log.leveled[-1] == ("info", "No run ids were found, so nothing was canceled")


@pytest.mark.parametrize("argument", ["tags", "batch_ids"])
def test_none_in_place_of_a_mapped_selection_is_an_error(argument: str, log) -> None:
    made = operator(run_ids=None, _airflow_from_mapped=True, **{argument: None})
    with pytest.raises(AirflowFailException, match=f"{argument} must be a string, or a list .*, not None"):
        made.execute(context())


def test_an_empty_source_is_a_warning_and_an_unknown_run_none_where_that_is_wanted(answers, log) -> None:
    made = operator(run_ids=["run_x"], xcom_task_ids=["start", "stop"], on_not_found="ignore")
    assert made.execute(context(stop="run_1")) == [NOT_FOUND, CANCELED]
    [warning] = log.of("warning")
    assert warning.startswith("task 'start' pushed no XCom with the key 'return_value'")
    assert log.of("error") == []


UNREAD = "runs whose ids could not be read may still run"


@pytest.mark.parametrize(
    ("arguments", "pushed", "kind", "text", "results"),
    [
        (
            {"xcom_task_ids": ["start", "stop"]},
            {"start": OSError("down"), "stop": "run_2"},
            AirflowException,
            f"2 canceled - {UNREAD}; the XCom 'return_value' of task 'start' cannot be read: OSError: down$",
            ["run_1", "run_2"],
        ),
        (
            {"run_ids": None, "xcom_task_ids": "start"},
            {"start": OSError("down")},
            AirflowException,
            rf"0 Trigger\.dev runs - {UNREAD}",
            [],
        ),
        (
            {"run_ids": None, "xcom_task_ids": "strat"},
            {},
            AirflowFailException,
            r"the Dag has no such task; did you mean 'start'\?",
            [],
        ),
        (
            {"run_ids": ["run_1", 7]},
            {},
            AirflowFailException,
            "1 canceled - .*; 7 from run_ids is",
            ["run_1"],
        ),
        (
            {"xcom_task_ids": ["start", "stop"], "on_empty": "fail"},
            {},
            AirflowFailException,
            "1 canceled - .*'start'.*'stop'",
            ["run_1"],
        ),
        (
            {"run_ids": ["run_x", "run_1"]},
            {},
            AirflowFailException,
            "1 not found - not found: run_x",
            ["run_x", "run_1"],
        ),
    ],
    ids=["an XCom that cannot be read", "nothing else", "no such task", "invalid", "empty", "unknown"],
)
def test_what_is_wrong_fails_the_task_after_all_others_were_canceled(
    arguments, pushed, kind, text: str, results: list[str], answers, log
) -> None:
    given = context(**pushed)
    with pytest.raises(AirflowException, match=text) as raised:
        operator(**arguments).execute(given)
    assert type(raised.value) is kind
    assert results_of(given) == results
    assert log.of("error")
    assert "nothing was canceled" not in str(log.leveled)


# Runs that were not canceled


def test_a_rejected_key_fails_the_task_for_good_and_is_not_shown(answers, log) -> None:
    answers["run_1"] = answers["run_2"] = (401, {"error": "Invalid API key tr_prod_marker"})
    given = context()
    with pytest.raises(AirflowFailException) as raised:
        operator(run_ids=["run_1", "run_2"]).execute(given)
    assert (
        "Connection 'trigger_dev_default': the secret key was rejected: "
        "check the password of connection 'trigger_dev_default'; 2 runs may still run (status unknown)"
    ) in str(raised.value)
    assert "tr_prod_marker" not in f"{raised.value}{given['ti'].pushed}{log.leveled}"
    assert (raised.value.__cause__, raised.value.__context__) == (None, None)
    assert [result["outcome"] for result in given["ti"].pushed["return_value"]] == ["failed", "failed"]


FURTHER = "runs that were not found yet may still run"


@pytest.mark.parametrize(
    ("arguments", "end"),
    [
        ({"run_ids": ["run_1", "run_2"]}, "; 2 runs may still run"),
        ({"run_ids": None, "tags": "a"}, f"; {FURTHER}"),
        ({"run_ids": ["run_1", "run_2"], "tags": "a"}, f"; 2 runs may still run; {FURTHER}"),
    ],
)
def test_a_missing_connection_is_named_with_what_may_still_run(arguments, end: str) -> None:
    with pytest.raises(AirflowNotFoundException, match=r"Connection .mine. was not found; create") as raised:
        operator(trigger_dev_conn_id="mine", **arguments).execute(context())
    assert str(raised.value).endswith(end)
    assert str(raised.value).count("may still run") == end.count("may still run")


@pytest.mark.parametrize("given", [{}, {"ti": None}])
def test_executed_by_hand_it_fails_for_the_reason_that_it_has(given, answers) -> None:
    with pytest.raises(AirflowFailException, match="not found: run_x"):
        operator(run_ids=["run_1", "run_x"]).execute(given)


def test_an_xcom_backend_that_is_down_does_not_hide_why_the_task_fails(answers, log) -> None:
    given = context()
    given["ti"].fails_at = "return_value"
    for pushes in (True, False):
        with pytest.raises(AirflowFailException, match="not found: run_x"):
            operator(run_ids="run_x", do_xcom_push=pushes).execute(given)
    stored = [text for text in log.of("error") if "could not be stored" in text]
    assert stored == ["XCom 'return_value' could not be stored: RuntimeError: no XCom backend"]


# How it cancels


def test_the_log_ends_with_a_summary_and_the_link_leads_to_the_first_run(answers, log) -> None:
    made, given = operator(run_ids=["run_1", "run_2"]), context()
    made.execute(given)
    first, second = ("https://trigger.test/runs/run_1", "https://trigger.test/runs/run_2")
    assert log.leveled == [
        ("info", "Canceling 2 Trigger.dev runs on https://trigger.test"),
        ("info", f"run_1 (t): canceled, CANCELED {first}"),
        ("info", f"run_2 (t): canceled, CANCELED {second}"),
        ("info", "2 Trigger.dev runs: 2 canceled"),
    ]
    pushed = given["ti"].pushed
    assert made.run_url == pushed["run_url"] == pushed["_link_TriggerRunLink"] == first
