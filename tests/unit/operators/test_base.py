"""The runs belong to the task: their XComs come first, and they are canceled when the task is ended."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from fake_airflow import TaskInstance, context_of
from run_operator import batch_in_worker, operator_in_worker
from waiting import until

from airflow_provider_trigger._compat import AirflowException
from airflow_provider_trigger.hooks import trigger_dev
from airflow_provider_trigger.operators.run import RunTriggerTaskOperator
from airflow_provider_trigger.run import guard
from airflow_provider_trigger.triggers import run as triggers

try:
    from airflow.sdk.exceptions import TaskDeferralError, TaskDeferred
except ImportError:  # before 3.2
    from airflow.exceptions import TaskDeferralError, TaskDeferred


operator = partial(operator_in_worker, timeout=30)
of_one_and_of_many = pytest.mark.parametrize(
    "make", [operator, partial(batch_in_worker, payloads=[1, 2])], ids=["one run", "many runs"]
)


# XCom


def test_the_runs_id_and_page_are_in_xcom_before_it_is_checked(
    execute, endless, ti, sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []
    push = ti.xcom_push

    def xcom_push(**given: Any) -> None:
        seen.append(sent())
        push(**given)

    monkeypatch.setattr(ti, "xcom_push", xcom_push)
    run_id = execute(operator(wait_for_completion=False))
    assert (ti.pushed["run_id"], ti.pushed["run_url"]) == (run_id, f"{endless.url}/runs/{run_id}")
    assert seen == [["trigger"]] * 3


@of_one_and_of_many
@pytest.mark.parametrize("cancels", [True, False])
def test_where_the_push_of_its_id_fails_a_run_is_canceled_if_it_may_be(
    cancels: bool, make, execute, endless, ti
) -> None:
    ti.fails_at = "run_id"
    with pytest.raises(RuntimeError, match="no XCom backend"):
        execute(make(cancel_on_kill=cancels))
    assert {run.cancel_requests for run in endless.runs.values()} == {int(cancels)}


def test_a_link_that_cannot_be_pushed_is_a_warning_and_no_failure(execute, server, ti, keep_log) -> None:
    log, ti.fails_at = keep_log(RunTriggerTaskOperator), "run_url"
    assert execute(operator()) == {"done": True}
    [warning] = log.of("warning")
    assert "in XCom; only the button is missing: RuntimeError: no XCom backend" in warning


# Airflow stops the task


@of_one_and_of_many
def test_stopped_before_the_request_it_sends_nothing(make, execute, server) -> None:
    made = make()
    made.on_kill()
    with pytest.raises(AirflowException, match=r"Airflow stopped the task .*Its runs, as far as known: none"):
        execute(made)
    assert server.requests == []


def test_stopped_while_the_request_is_unanswered_it_cancels_the_run(
    execute, endless, run_of, in_signal_handler, ti
) -> None:
    made = operator()
    endless.delay_next(seconds=1, after_handling=True)
    in_signal_handler(lambda: endless.requests, made.on_kill)
    with pytest.raises(AirflowException, match="as far as known: ") as raised:
        execute(made)
    assert str(raised.value).endswith(run_of().id)
    assert (run_of().status, run_of().cancel_requests) == ("CANCELED", 1)
    assert ti.pushed["run_id"] == run_of().id


@of_one_and_of_many
def test_stopped_just_as_a_thread_begins_it_says_so(
    make, execute, endless, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, name = make(), "_start_new_thread" if sys.version_info < (3, 13) else "_start_joinable_thread"
    start = getattr(threading, name)

    def start_and_stop(*given: Any, **more: Any) -> None:
        start(*given, **more)
        if endless.runs and threading.current_thread() is threading.main_thread():
            until(lambda: not threading._limbo, "it runs")  # type: ignore[attr-defined]
            made.on_kill()
            raise ConnectionAbortedError  # as a signal handler of Airflow 2 raises something

    monkeypatch.setattr(threading, name, start_and_stop)
    with pytest.raises(AirflowException, match="Airflow stopped the task"):
        execute(made)
    assert {run.status for run in endless.runs.values()} == {"CANCELED"}


@pytest.mark.parametrize("extra", [{"retry_for": 0}, {"timeout": 0.3}])
def test_a_stop_has_its_own_time_limits_whatever_those_of_the_connection(
    extra: dict[str, Any], endless, ti, run_of, in_signal_handler, keep_log, connection_to
) -> None:
    log = keep_log(RunTriggerTaskOperator)
    if "timeout" in extra:
        endless.delay_next(None, 0.6, path="*/cancel")
    else:
        endless.fail_next(2, 503, path="*/cancel")
    made = operator(trigger_dev_conn_id=connection_to(endless, "hasty", **extra))
    in_signal_handler(lambda: run_of("EXECUTING"), made.on_kill)
    with pytest.raises(AirflowException, match="Airflow stopped the task"):
        made.execute(context_of(ti))
    assert (run_of().status, run_of().cancel_requests) == ("CANCELED", 1)
    assert log.of("error") == []


@pytest.mark.parametrize("try_number", [1, 2])
def test_where_the_check_of_a_run_fails_that_was_started_before_it_is_canceled(
    try_number: int, connection: str, endless, run_of
) -> None:
    if try_number == 1:
        endless.truncate_next(1, path="/trigger", method="POST")
    else:
        operator(wait_for_completion=False).execute(context_of(TaskInstance(max_tries=1)))
    endless.fail_next(1, 403, path="/api/v3/runs/", method="GET")
    with pytest.raises(Exception, match="answered 403"):
        operator().execute(context_of(TaskInstance(max_tries=1, try_number=try_number)))
    assert run_of().status == "CANCELED"


# Its trigger


@of_one_and_of_many
def test_its_event_is_held_back_for_half_of_an_execution_timeout_at_most(
    make, execute, endless, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triggers, "scheduler_knows_resumed_tasks", lambda: False)
    with pytest.raises(TaskDeferred) as deferred:
        execute(make(deferrable=True, execution_timeout=timedelta(seconds=8)))
    assert 0 < deferred.value.trigger.not_before - time.time() <= 4


# A trigger that failed or timed out


@pytest.fixture
def resume(connection: str, ti, server) -> Callable[..., Any]:
    """Resume an operator as Airflow does where its trigger failed; return the run from before."""

    def run(made: Any, *, pushes: Callable[[str], Any] = str) -> Any:
        run = server.add_run("EXECUTING")
        ti.map_index = 3
        ti.xcoms["work", "run_id"] = pushes(run.id)
        with pytest.raises(TaskDeferralError, match="no such trigger"):
            made.resume_execution("__fail__", {"error": "no such trigger"}, context_of(ti))
        return run

    return run


@pytest.mark.parametrize("pushes", [str, lambda run_id: [run_id, None]])
def test_where_the_trigger_failed_the_runs_in_xcom_are_canceled(pushes, resume, ti) -> None:
    assert resume(operator(), pushes=pushes).status == "CANCELED"
    assert ti.pulls == [{"task_ids": "work", "key": "run_id", "map_indexes": 3}]


@pytest.mark.parametrize(
    ("arguments", "pushes"), [({"cancel_on_kill": False}, str), ({}, lambda _: None)], ids=["not to", "none"]
)
def test_where_the_trigger_failed_nothing_is_sent_if_nothing_is_to_be_canceled(
    arguments, pushes, resume, sent
) -> None:
    assert resume(operator(**arguments), pushes=pushes).status == "EXECUTING"
    assert sent() == []


@of_one_and_of_many
@pytest.mark.parametrize("is_searched", [True, False])
def test_where_the_trigger_failed_and_xcom_cannot_be_pulled_what_has_the_tag_is_canceled(
    is_searched: bool, make, execute, endless, ti, keep_log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "_PAUSES", (0.0,))  # the list has no lag here
    log, made = keep_log(type(make())), make(wait_for_completion=False)
    execute(made)
    ours = list(endless.runs.values())
    [tag] = [one for one in ours[0].tags if one.startswith("airflow_task:")]
    keys = ("a user's", None, "airflow-of_another_airflow-1")  # a replay by somebody has none
    added = [endless.add_run("EXECUTING", tags=[tag], idempotency_key=key) for key in keys]
    ti.xcoms["work", "run_id"] = OSError("the XCom backend is away")
    if not is_searched:
        endless.fail_next(None, 403, path="/api/v1/runs?")
    with pytest.raises(TaskDeferralError, match="no such trigger"):
        made.resume_execution("__fail__", {"error": "no such trigger"}, context_of(ti))
    assert {one.status == "CANCELED" for one in (*ours, added[0])} == {is_searched}
    assert {one.status for one in added[1:]} == {"EXECUTING"}
    assert f"(OSError): canceling those with the tag {tag}" in log.of("error")[0]
    assert (f"No run with the tag {tag} was found" in log.of("error")[-1]) == (not is_searched)


@pytest.mark.parametrize("what", ["server", "vault"])
def test_where_the_trigger_failed_and_the_cancel_too_the_log_says_that_the_run_may_still_run(
    what: str, resume, server, keep_log, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError("tr_prod_secret: the vault is sealed")

    log = keep_log(RunTriggerTaskOperator)
    if what == "server":
        server.fail_next(None, 400)
    else:
        monkeypatch.setattr(trigger_dev, "fetch_connection", fail)
    run = resume(operator())
    [error] = [text for text in log.of("error") if "may still be running" in text]
    assert error.startswith(f"Run {run.id} may still be running: cancel failed: ")
    assert "tr_prod_secret" not in error


def test_an_event_of_the_trigger_cancels_nothing(connection: str, server, ti, sent) -> None:
    run = server.add_run("COMPLETED")
    event = {"runs": [{"run_id": run.id, "end": "final", "status": "COMPLETED", "error": ""}]}
    operator().resume_execution("execute_complete", {"event": event}, context_of(ti))
    assert sent() == ["retrieve"]
    assert set(ti.pushed) == {"run"}
