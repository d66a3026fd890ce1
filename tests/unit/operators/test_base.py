"""The run belongs to the task: its XComs come first, and it is canceled when the task is ended."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from fake_airflow import TaskInstance, context_of
from run_operator import operator_in_worker

from airflow_provider_trigger._compat import AirflowException
from airflow_provider_trigger.hooks import trigger_dev
from airflow_provider_trigger.links.run import TriggerRunLink
from airflow_provider_trigger.operators.replay import ReplayTriggerRunOperator
from airflow_provider_trigger.operators.run import RunTriggerTaskOperator
from airflow_provider_trigger.testing import TriggerDevServer

try:
    from airflow.sdk.exceptions import AirflowTaskTimeout, TaskDeferralError
except ImportError:  # before 3.2
    from airflow.exceptions import AirflowTaskTimeout, TaskDeferralError


operator = partial(operator_in_worker, timeout=30)


@pytest.fixture
def ti() -> TaskInstance:
    return TaskInstance()


@pytest.fixture
def execute(connection: str, ti) -> Callable[..., Any]:
    return lambda made: made.execute(context_of(ti))


@pytest.fixture
def endless(server):
    """A server whose runs never end by themselves."""
    server.on_task("resize", after=None)
    return server


def statuses(server: TriggerDevServer) -> list[str]:
    return [run.status for run in server.runs.values()]


def in_flight(server: TriggerDevServer) -> Callable[[], bool]:
    """Return whether the first request was sent."""
    return lambda: bool(server.requests)


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
    url = f"{endless.url}/runs/{run_id}"
    assert (ti.pushed["run_id"], ti.pushed["run_url"]) == (run_id, url)
    assert ti.pushed[f"_link_{TriggerRunLink.__name__}"] == url
    assert seen == [["trigger"]] * 3


def test_where_the_push_of_its_id_fails_the_run_is_canceled(execute, endless, ti, run_of) -> None:
    ti.fails_at = "run_id"
    with pytest.raises(RuntimeError, match="no XCom backend"):
        execute(operator())
    assert (run_of().status, run_of().cancel_requests) == ("CANCELED", 1)


@pytest.mark.parametrize("key", ["run_url", f"_link_{TriggerRunLink.__name__}"])
def test_a_link_that_cannot_be_pushed_is_a_warning_and_no_failure(
    key: str, execute, server, ti, run_of, keep_log
) -> None:
    log = keep_log(RunTriggerTaskOperator)
    ti.fails_at = key
    assert execute(operator()) == {"done": True}
    [warning] = log.of("warning")
    assert f"/runs/{run_of().id} in XCom; only the button is missing: RuntimeError: no XCom ba" in warning


def test_where_the_push_fails_a_run_that_is_not_to_be_canceled_goes_on(execute, endless, ti, run_of) -> None:
    ti.fails_at = "run_id"
    with pytest.raises(RuntimeError, match="no XCom backend"):
        execute(operator(cancel_on_kill=False))
    assert run_of().cancel_requests == 0


def test_the_link_is_one_of_the_operators() -> None:
    for made in (operator(), ReplayTriggerRunOperator(task_id="again", run_id="run_1")):
        assert [type(link) for link in made.operator_extra_links] == [TriggerRunLink]


# Airflow stops the task, in each phase


def test_stopped_before_the_request_it_sends_nothing(execute, endless) -> None:
    made = operator()
    made.on_kill()
    with pytest.raises(AirflowException, match=r"Airflow stopped the task .*\. Its run is not known"):
        execute(made)
    assert endless.requests == []


def test_stopped_while_the_request_is_unanswered_it_cancels_the_run(
    execute, endless, run_of, in_signal_handler, ti
) -> None:
    made = operator()
    endless.delay_next(seconds=1, after_handling=True)
    in_signal_handler(in_flight(endless), made.on_kill)
    with pytest.raises(AirflowException, match="Its run: ") as raised:
        execute(made)
    assert str(raised.value).endswith(run_of().id)
    assert (run_of().status, run_of().cancel_requests) == ("CANCELED", 1)
    assert ti.pushed["run_id"] == run_of().id


def test_stopped_before_the_request_arrived_no_run_ever_begins(
    execute, endless, run_of, in_signal_handler
) -> None:
    made = operator()
    endless.delay_next(seconds=1, after_handling=False)  # it takes effect only then
    in_signal_handler(in_flight(endless), made.on_kill)
    with pytest.raises(AirflowException, match="Airflow stopped the task"):
        execute(made)
    assert (run_of().status, run_of().options["delay"]) == ("CANCELED", "1h")


def test_stopped_while_the_answer_is_lost_it_leaves_no_run_alive(execute, endless, in_signal_handler) -> None:
    made = operator()
    endless.delay_next(seconds=0.5)
    endless.disconnect_next()  # the request is repeated, and its key has a canceled run by then
    in_signal_handler(in_flight(endless), made.on_kill)
    with pytest.raises(AirflowException, match="Airflow stopped the task"):
        execute(made)
    assert statuses(endless)
    assert set(statuses(endless)) == {"CANCELED"}


def test_stopped_while_it_waits_it_cancels_the_run_once(execute, endless, run_of, in_signal_handler) -> None:
    made = operator(poll_interval=30)
    in_signal_handler(lambda: run_of("EXECUTING"), made.on_kill)
    with pytest.raises(AirflowException, match="Airflow stopped the task"):
        execute(made)
    assert (run_of().status, run_of().cancel_requests) == ("CANCELED", 1)


def test_stopped_while_it_waits_it_tries_again_where_the_cancel_failed(
    execute, endless, run_of, in_signal_handler, keep_log
) -> None:
    log = keep_log(RunTriggerTaskOperator)
    made = operator()
    endless.fail_next(1, 400, path="*/cancel")
    in_signal_handler(lambda: run_of("EXECUTING"), made.on_kill)
    with pytest.raises(AirflowException, match="Airflow stopped the task"):
        execute(made)
    assert run_of().status == "CANCELED"
    assert [text for text in log.of("error") if "may still be running" in text]


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
    assert run_of().status == "CANCELED"
    assert log.of("error") == []


def test_stopped_after_the_end_it_cancels_nothing(execute, server, run_of, sent) -> None:
    made = operator()
    execute(made)
    before = sent()
    made.on_kill()
    assert sent() == before
    assert run_of().status == "COMPLETED"


def test_a_run_that_is_not_to_be_canceled_goes_on_whenever_the_task_is_stopped(
    execute, endless, run_of, in_signal_handler, sent
) -> None:
    made = operator(cancel_on_kill=False)
    endless.delay_next(seconds=0.3, after_handling=True)
    in_signal_handler(in_flight(endless), made.on_kill)
    with pytest.raises(AirflowException, match="Airflow stopped the task"):
        execute(made)
    again = operator(cancel_on_kill=False)
    in_signal_handler(lambda: run_of("EXECUTING"), again.on_kill)
    with pytest.raises(AirflowException, match="Airflow stopped the task"):
        execute(again)
    assert run_of().cancel_requests == 0
    assert "cancel" not in sent()


# Airflow's timeout, which is no Exception


def time_out() -> None:
    raise AirflowTaskTimeout("Timeout, PID: 1")


def test_airflows_timeout_cancels_the_run_once(execute, endless, run_of, in_signal_handler) -> None:
    in_signal_handler(lambda: run_of("EXECUTING"), time_out)
    with pytest.raises(AirflowTaskTimeout, match="PID"):
        execute(operator(poll_interval=30))
    assert (run_of().status, run_of().cancel_requests) == ("CANCELED", 1)


def test_airflow_2_calls_on_kill_and_then_ends_the_task_and_the_run_is_canceled_once(
    execute, endless, run_of, in_signal_handler
) -> None:
    made = operator()

    def end() -> None:
        made.on_kill()
        time_out()

    in_signal_handler(lambda: run_of("EXECUTING"), end)
    with pytest.raises(AirflowTaskTimeout, match="PID"):
        execute(made)
    assert (run_of().status, run_of().cancel_requests) == ("CANCELED", 1)


def test_airflows_timeout_while_the_request_is_unanswered_cancels_the_run(
    execute, endless, run_of, in_signal_handler
) -> None:
    endless.delay_next(seconds=1, after_handling=True)
    in_signal_handler(in_flight(endless), time_out)
    with pytest.raises(AirflowTaskTimeout, match="PID"):
        execute(operator())
    assert (run_of().status, run_of().cancel_requests) == ("CANCELED", 1)


def test_airflows_timeout_leaves_a_run_alone_that_is_not_to_be_canceled(
    execute, endless, run_of, in_signal_handler
) -> None:
    in_signal_handler(lambda: run_of("EXECUTING"), time_out)
    with pytest.raises(AirflowTaskTimeout, match="PID"):
        execute(operator(cancel_on_kill=False))
    assert run_of().cancel_requests == 0


def test_a_request_that_the_server_rejects_is_followed_by_nothing(execute, endless, sent) -> None:
    endless.fail_next(1, 400)
    with pytest.raises(Exception, match="400"):
        execute(operator())
    assert sent() == ["trigger"]


# A trigger that failed or timed out


@pytest.fixture
def resume(connection: str, ti, server) -> Callable[..., Any]:
    """Resume an operator as Airflow does where its trigger failed; return the run from before."""

    def run(made: Any, *, index: int = -1, pushed: bool = True) -> Any:
        run = server.add_run("EXECUTING")
        ti.map_index = index
        if pushed:
            ti.xcom_push(key="run_id", value=run.id)
        with pytest.raises(TaskDeferralError, match="no such trigger"):
            made.resume_execution("__fail__", {"error": "no such trigger"}, context_of(ti))
        return run

    return run


def test_where_the_trigger_failed_a_cancel_waits_for_the_rate_limit(
    resume, server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_trigger.operators.base._STOP_TIME", 0.5)
    server.rate_limit_next(1, reset_after=1.0, path="*/cancel")
    assert resume(operator()).status == "CANCELED"


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


@pytest.mark.parametrize("index", [-1, 3])
def test_where_the_trigger_failed_the_run_is_canceled(index: int, resume) -> None:
    assert resume(operator(), index=index).status == "CANCELED"


def test_where_the_trigger_failed_a_run_that_is_not_to_be_canceled_goes_on(resume, sent) -> None:
    assert resume(operator(cancel_on_kill=False)).cancel_requests == 0
    assert sent() == []


def test_where_the_trigger_failed_and_no_run_is_known_nothing_is_sent(resume, sent) -> None:
    resume(operator(), pushed=False)
    assert sent() == []


def test_where_the_trigger_failed_and_the_cancel_too_the_log_says_that_the_run_may_still_run(
    resume, server, keep_log
) -> None:
    log = keep_log(RunTriggerTaskOperator)
    server.fail_next(None, 400)
    run = resume(operator())
    [error] = [text for text in log.of("error") if run.id in text]
    assert f"Run {run.id} may still be running" in error


def test_where_the_trigger_failed_as_no_connection_could_be_fetched_the_log_names_the_runs(
    resume, keep_log, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError("tr_prod_secret: the vault is sealed")

    monkeypatch.setattr(trigger_dev, "fetch_connection", fail)
    log = keep_log(RunTriggerTaskOperator)
    run = resume(operator())
    [error] = log.of("error")
    assert error.startswith(f"Run {run.id} may still be running: cancel failed: OSError. ")


def test_an_event_of_the_trigger_cancels_nothing(connection: str, server, ti, sent) -> None:
    run = server.add_run("COMPLETED")
    event = {"runs": [{"run_id": run.id, "end": "final", "status": "COMPLETED", "error": ""}]}
    operator().resume_execution("execute_complete", {"event": event}, context_of(ti))
    assert sent() == ["retrieve"]
    assert json.dumps(ti.xcoms) == "{}"
