"""Waiting for runs that others have started."""

from __future__ import annotations

import itertools
import json
import os
import signal
import threading
import time
from datetime import timedelta
from typing import Any

import pytest
from fake_airflow import TaskInstance, context_of
from waiting import LONG, limited, until

from airflow_provider_trigger import defaults
from airflow_provider_trigger._compat import (
    AirflowException,
    AirflowFailException,
    AirflowSkipException,
    BaseOperator,
    airflow_version,
)
from airflow_provider_trigger.api.errors import (
    AuthenticationError,
    NotFoundError,
    ResponseError,
    TriggerDevError,
)
from airflow_provider_trigger.operators.run import RunTriggerTaskOperator
from airflow_provider_trigger.sensors.run import TriggerRunSensor
from airflow_provider_trigger.testing import TriggerDevServer
from airflow_provider_trigger.triggers import run as triggers
from airflow_provider_trigger.triggers.run import TriggerDevRunTrigger

try:
    from airflow.sdk import DAG
except ImportError:  # 2.11
    from airflow.models.dag import DAG
try:
    from airflow.sdk.exceptions import (
        AirflowRescheduleException,
        AirflowSensorTimeout,
        TaskDeferralError,
        TaskDeferred,
    )
except ImportError:  # before 3.2
    from airflow.exceptions import (
        AirflowRescheduleException,
        AirflowSensorTimeout,
        TaskDeferralError,
        TaskDeferred,
    )

AIRFLOW_2 = airflow_version().startswith("2.")


def sensor(*run_ids: Any, **arguments: Any) -> TriggerRunSensor:
    ids = [getattr(run_id, "id", run_id) for run_id in run_ids] or None
    defaults = {"task_id": "wait", "run_ids": ids, "deferrable": False, "poke_interval": 0.02}
    return TriggerRunSensor(**defaults | arguments)


@pytest.fixture
def log(keep_log):
    return keep_log(TriggerRunSensor)


@pytest.fixture
def context(connection: str, monkeypatch: pytest.MonkeyPatch):
    with DAG("a_dag", schedule=None) as dag:
        BaseOperator(task_id="start")
        RunTriggerTaskOperator(task_id="resize", task_identifier="resize")
    ti = TaskInstance("wait", dag_id="a_dag", run_id="manual_1")
    # It was not rescheduled before: Airflow 3 asks the task instance, and Airflow 2 its database.
    monkeypatch.setattr(ti, "get_first_reschedule_date", lambda context: None, raising=False)
    if AIRFLOW_2:
        monkeypatch.setattr("airflow.sensors.base._orig_start_date", lambda **_: None)
    return context_of(ti, dag=dag)


# What is imported


def test_a_dags_parse_brings_no_client_and_no_trigger(parse, heavy: set[str]) -> None:
    parsed = set(
        parse(
            """
            from airflow_provider_trigger.sensors.run import TriggerRunSensor
            TriggerRunSensor(task_id="t", run_ids=["run_1"], xcom_task_ids="m", deferrable=True)
            TriggerRunSensor.partial(task_id="m").expand(run_ids=[["run_1"], ["run_2"]])
            """
        )
    )
    assert "airflow_provider_trigger.sensors.run" in parsed
    assert not parsed & (heavy | {"airflow_provider_trigger.triggers.run", "asyncio"})
    assert not {name for name in parsed if ".testing" in name or ".cancel" in name}


def test_airflows_setting_decides_whether_it_defers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE", "True")
    assert TriggerRunSensor(task_id="wait", run_ids="run_1").deferrable is True
    assert sensor("run_1").deferrable is False


# Poking


@pytest.mark.parametrize("mode", ["poke", "reschedule"])
def test_runs_that_have_completed_end_the_wait_with_a_list_in_the_ids_order(
    mode: str, server, context
) -> None:
    first, second = server.add_run("COMPLETED"), server.add_run("COMPLETED")
    assert sensor(second, first, second, mode=mode).execute(context) == [
        {"run_id": second.id, "status": "COMPLETED"},
        {"run_id": first.id, "status": "COMPLETED"},
    ]


def test_it_pokes_until_all_have_ended_and_checks_no_run_twice_that_has(server, context, log) -> None:
    ended = server.add_run("COMPLETED")
    late = server.add_run("EXECUTING", then=[(1, "COMPLETED")])
    assert [one["status"] for one in sensor(ended, late).execute(context)] == ["COMPLETED"] * 2
    paths = [request.path for request in server.requests]
    assert len([path for path in paths if ended.id in path]) == 1
    assert len([path for path in paths if late.id in path]) > 1
    messages = log.of("info")
    assert "1 of 2 runs have not ended yet" in messages
    assert f"Run {late.id} is COMPLETED" in messages


def test_it_keeps_no_payload_and_no_output(server, context) -> None:
    made = sensor(server.add_run("COMPLETED", payload="x" * 100_000))
    made.execute(context)
    [run] = made._ended.values()
    assert not {"payload", "output"} & run.attributes.keys()


def test_each_execution_begins_anew(server, context) -> None:
    # As by `dag.test()`, which executes the same operator again.
    ended, alive = server.add_run("COMPLETED"), server.add_run("EXECUTING")
    made = sensor(ended, mode="reschedule")
    made.execute(context)
    made.run_ids = [alive.id]
    with pytest.raises(AirflowRescheduleException):
        made.execute(context)


def test_it_gives_its_worker_slot_back_between_two_pokes(server, context) -> None:
    run = server.add_run("EXECUTING")
    with pytest.raises(AirflowRescheduleException):
        sensor(run, mode="reschedule", poke_interval=60).execute(context)


def test_a_run_that_can_no_longer_succeed_fails_it_at_once_and_for_good(server, context, log) -> None:
    server.on_task(
        "resize", error={"name": "Error", "message": "no such file", "stackTrace": "at resize.ts:5"}
    )
    failing, _ = server.trigger("resize")
    endless = server.add_run("EXECUTING")
    with pytest.raises(AirflowFailException, match=f"Run {failing.id} .* FAILED") as raised:
        sensor(endless, failing).execute(context)
    assert str(raised.value).endswith(f": Error: no such file. {server.url}/runs/{failing.id}")
    assert [text for text in log.of("error") if "at resize.ts:5" in text]
    assert endless.cancel_requests == 0


def test_which_statuses_count_as_success_can_be_set(server, context) -> None:
    run = server.add_run("CANCELED")
    with pytest.raises(AirflowFailException, match="CANCELED"):
        sensor(run).execute(context)
    ended = sensor(run, success_statuses=["CANCELED", "EXPIRED"]).execute(context)
    assert ended == [{"run_id": run.id, "status": "CANCELED"}]
    with pytest.raises(AirflowFailException, match="COMPLETED"):
        sensor(server.add_run("COMPLETED"), success_statuses=["CANCELED"]).execute(context)


def test_an_unknown_run_fails_it_at_once_and_names_the_connection(server, context) -> None:
    with pytest.raises(NotFoundError, match=r"trigger_dev_default") as raised:
        sensor(server.add_run("EXECUTING"), "run_unknown").execute(context)
    assert "run_unknown" in str(raised.value)


def test_a_rejected_key_fails_it_at_once(server, context) -> None:
    server.fail_next(None, 401)
    with pytest.raises(AuthenticationError, match=r"trigger_dev_default"):
        sensor("run_1").execute(context)


def test_a_check_that_fails_is_a_warning_and_the_wait_continues(
    server, context, log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_trigger.run.checks._PATIENCE", 0)
    run = server.add_run("COMPLETED")
    server.fail_next(2, 503)
    assert sensor(run).execute(context) == [{"run_id": run.id, "status": "COMPLETED"}]
    warnings = log.of("warning")
    assert [f"Status check of run {run.id} failed; still waiting" in text for text in warnings] == [True] * 2


def test_a_run_whose_check_answers_500_for_ever_is_checked_otherwise(
    server, context, log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_trigger.run.checks._PATIENCE", 0)
    server.fail_next(None, 500, path="/api/v3/runs/")
    late = server.add_run("EXECUTING", then=[(0.3, "COMPLETED")])
    for run in (server.add_run("COMPLETED"), late):
        assert sensor(run).execute(context) == [{"run_id": run.id, "status": "COMPLETED"}]
    assert log.of("warning") == []
    with pytest.raises(AirflowFailException, match="ended with status FAILED"):
        sensor(server.add_run("FAILED")).execute(context)


# Many runs, in a worker


def checks_of(server) -> list[str]:
    return [request.path for request in server.requests if request.path.startswith("/api/v3/runs/")]


def test_a_poke_of_many_runs_is_a_query_and_a_few_checks(server, context) -> None:
    runs = [server.add_run("EXECUTING") for _ in range(300)]
    made = sensor(*runs)
    assert not made.poke(context)
    assert (len(checks_of(server)), len(server.requests)) == (16, 17)
    for run in runs:
        run.status = "COMPLETED"
    results = made.execute(context)
    assert [one["run_id"] for one in results] == [run.id for run in runs]
    assert len(server.requests) == 18


def test_without_the_query_a_poke_checks_each_of_many_runs(server, context) -> None:
    server.fail_next(None, 400, path="/api/v1/query")
    runs = [server.add_run("COMPLETED") for _ in range(101)]
    assert len(sensor(*runs).execute(context)) == 101
    assert len(checks_of(server)) == 101


def test_of_many_runs_one_that_failed_is_checked_for_its_error(server, context) -> None:
    server.on_task("resize", error={"name": "Error", "message": "no such file"})
    failing, _ = server.trigger("resize")
    made = sensor(*(server.add_run("EXECUTING") for _ in range(150)), failing)
    with pytest.raises(AirflowFailException, match="Error: no such file"):
        made.execute(context)


def test_of_many_runs_an_unknown_one_fails_it_at_once(server, context) -> None:
    runs = [server.add_run("EXECUTING") for _ in range(150)]
    with pytest.raises(NotFoundError, match="run_unknown"):
        sensor(*runs, "run_unknown").poke(context)


def test_of_many_runs_an_end_that_the_query_has_lost_is_found(server, context) -> None:
    runs = [server.add_run("EXECUTING") for _ in range(150)]
    lost = runs[7]
    server.lose_in_query(lost.id)
    made = sensor(*runs)
    assert not made.poke(context)
    for run in runs:
        run.status = "COMPLETED"
    assert made.poke(context), "it is the only one that is left, so that it is checked"


def test_many_runs_that_end_in_a_status_that_counts_as_success_end_the_wait(server, context) -> None:
    runs = [server.add_run("CANCELED") for _ in range(150)]
    assert len(sensor(*runs, success_statuses=("CANCELED",)).execute(context)) == 150


@pytest.mark.parametrize("deferrable", [True, False])
@pytest.mark.parametrize("fault", ["redirect_next", "malformed_next", "403"])
def test_what_cannot_pass_fails_it_at_once_if_no_check_has_ever_succeeded(
    server, context, deferrable: bool, fault: str
) -> None:
    if fault == "403":
        server.fail_next(None, 403)
    elif fault == "malformed_next":
        server.malformed_next(None, status=404)
    else:
        server.redirect_next(None)
    with pytest.raises(TriggerDevError):
        sensor(server.add_run("EXECUTING"), deferrable=deferrable, timeout=5).execute(context)


@pytest.mark.parametrize("status", [401, 403])
def test_a_single_rejection_by_a_gateway_does_not_end_the_wait(
    server, context, log, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = server.add_run("EXECUTING"), server.add_run("EXECUTING")
    made = sensor(first, second)
    poke, number = made.poke, itertools.count(1)

    def counted(context: Any) -> Any:
        this = next(number)
        if this in (2, 4):
            server.fail_next(2, status)
        if this == 5:
            first.status = second.status = "COMPLETED"
        return poke(context)

    monkeypatch.setattr(made, "poke", counted)
    assert len(made.execute(context)) == 2
    # A 401 is tried once more within its poke.
    warnings = log.of("warning")
    assert [f"answered {status}" in text for text in warnings] == [True] * (4 if status == 403 else 0)


@pytest.mark.parametrize("status", [401, 403])
def test_a_rejection_in_two_pokes_in_a_row_ends_the_wait(server, context, status: int) -> None:
    run = server.add_run("EXECUTING")
    made = sensor(run, timeout=5)
    assert not made.poke(context)
    server.fail_next(None, status)
    assert not made.poke(context)
    with pytest.raises(ResponseError, match=f"answered {status}"):
        made.poke(context)


def test_what_ends_the_task_is_not_held_up_by_a_request(
    server, connection: str, context, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = json.loads(os.environ[f"AIRFLOW_CONN_{connection.upper()}"])
    fields["extra"]["timeout"] = LONG
    monkeypatch.setenv(f"AIRFLOW_CONN_{connection.upper()}", json.dumps(fields))
    server.hang_next(None)
    made = sensor(server.add_run("EXECUTING"))

    def end(*_: Any) -> None:
        raise TimeoutError

    def end_once_it_has_sent() -> None:
        until(lambda: server.requests, "the sensor has sent a request", limit=15)
        os.kill(os.getpid(), signal.SIGALRM)

    before = signal.signal(signal.SIGALRM, end)
    killer = threading.Thread(target=end_once_it_has_sent)
    try:
        killer.start()
        with limited(20), pytest.raises(TimeoutError):
            made.execute(context)
        assert checks(), "it has ended after its request"
    finally:
        killer.join()
        signal.signal(signal.SIGALRM, before)
        server.stop()
        for thread in checks():  # it would send in the tests after this one
            thread.join(10)


def checks() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("trigger-dev-call")]


def test_airflows_timeout_of_sensors_counts(server, context) -> None:
    with pytest.raises(AirflowSensorTimeout):
        sensor(server.add_run("EXECUTING"), timeout=0.1).execute(context)


# Its sources


def test_the_runs_that_a_task_started_are_meant_and_of_another_task_its_return_value(server, context) -> None:
    first, second, third = (server.add_run("COMPLETED") for _ in range(3))
    context["ti"].xcoms |= {
        ("resize", "run_id"): first.id,
        ("resize", "return_value"): "an output",
        ("start", "return_value"): [second.id],
        ("start", "mine"): third.id,
    }
    ended = sensor(xcom_task_ids=["resize", "start"]).execute(context)
    assert [one["run_id"] for one in ended] == [first.id, second.id]
    ended = sensor(third, xcom_task_ids="start", xcom_key="mine").execute(context)
    assert [one["run_id"] for one in ended] == [third.id]


@pytest.mark.parametrize("deferrable", [True, False])
def test_a_source_without_run_ids_fails_it_for_good_or_is_a_warning(
    deferrable: bool, server, context, log
) -> None:
    with pytest.raises(AirflowFailException, match="'start'"):
        sensor(xcom_task_ids="start", deferrable=deferrable).execute(context)
    log.leveled.clear()
    made = sensor(xcom_task_ids="start", deferrable=deferrable, on_empty="ignore")
    assert made.execute(context) == []
    assert ["'start'" in text for text in log.of("warning")] == [True]
    assert server.requests == []


def test_an_xcom_that_cannot_be_read_fails_it_so_that_another_try_may_help(context) -> None:
    context["ti"].xcoms["start", "return_value"] = RuntimeError("no XCom backend")
    with pytest.raises(AirflowException, match="no XCom backend") as raised:
        sensor("run_1", xcom_task_ids="start").execute(context)
    assert not isinstance(raised.value, AirflowFailException)


def test_what_is_not_a_run_id_fails_it_for_good(context, server) -> None:
    with pytest.raises(AirflowFailException, match=r"run_ids\[1\]"):
        sensor("run_1", 5.5).execute(context)
    assert server.requests == []


def test_all_that_is_wrong_with_its_sources_is_one_failure_and_an_error_line_for_each(
    context, log, server
) -> None:
    with pytest.raises(AirflowFailException) as raised:
        sensor("run_1", 5.5, xcom_task_ids="start").execute(context)
    invalid, empty = str(raised.value).split("; ")
    assert "run_ids[1]" in invalid
    assert "'start'" in empty
    assert sorted(log.of("error")) == sorted([invalid, empty])
    assert log.of("warning") == []
    assert server.requests == []


def test_it_can_be_mapped_and_an_instance_may_get_nothing(server, context) -> None:
    with DAG("d", schedule=None):
        mapped = TriggerRunSensor.partial(task_id="wait", on_empty="ignore").expand(run_ids=[["run_1"]])
    assert mapped.operator_class is TriggerRunSensor
    run = server.add_run("COMPLETED")
    given: dict[str, Any] = {
        "task_id": "wait",
        "deferrable": False,
        "on_empty": "ignore",
        "_airflow_from_mapped": True,
    }
    assert TriggerRunSensor(run_ids=None, **given).execute(context) == []
    ended = TriggerRunSensor(run_ids=run.id, **given).execute(context)
    assert ended == [{"run_id": run.id, "status": "COMPLETED"}]


# Deferred


def deferred(made: TriggerRunSensor, context: Any) -> tuple[Any, Any]:
    """Execute a sensor until it defers; return its trigger and what Airflow got."""
    with pytest.raises(TaskDeferred) as raised:
        made.execute(context)
    path, arguments = raised.value.trigger.serialize()
    assert path == f"{TriggerDevRunTrigger.__module__}.{TriggerDevRunTrigger.__qualname__}"
    assert json.loads(json.dumps(arguments)) == arguments
    return arguments, raised.value


def test_it_defers_what_has_not_ended_at_once(server, context) -> None:
    ended, endless = server.add_run("COMPLETED"), server.add_run("EXECUTING")
    made = sensor(
        ended, endless, deferrable=True, timeout=60, poll_interval=7, success_statuses=("COMPLETED",)
    )
    arguments, deferral = deferred(made, context)
    assert arguments == {
        "trigger_dev_conn_id": "trigger_dev_default",
        "run_ids": [ended.id, endless.id],
        "wait": {
            "run_url": f"{server.url}/runs/{ended.id}",
            "poll_interval": 7,
            "deadline": None,
            "pending_version_timeout": None,
            "patience": 2,
            "cancels": False,
            "is_development": False,
            "success_statuses": ["COMPLETED"],
            "cancels_others": False,
            "logs_progress": False,
            "logs_end": True,
            "names_completed": True,
        },
        "try_number": None,
        "not_before": pytest.approx(time.time(), abs=60),
    }
    assert (deferral.method_name, deferral.timeout) == ("execute_complete", timedelta(seconds=60))


@pytest.mark.parametrize(("knows", "seconds"), [(False, 1.5 * defaults.EVENT_HOLD), (True, 1)])
def test_its_timeout_while_deferred_is_longer_than_an_event_is_held_back(
    server, context, monkeypatch: pytest.MonkeyPatch, knows: bool, seconds: float
) -> None:
    monkeypatch.setattr(triggers, "scheduler_knows_resumed_tasks", lambda: knows)
    _, deferral = deferred(sensor(server.add_run("EXECUTING"), deferrable=True, timeout=1), context)
    assert deferral.timeout == timedelta(seconds=seconds)


def test_its_trigger_has_the_sensors_connection_and_knows_a_development_environment(
    context, connection_to
) -> None:
    with TriggerDevServer(secret_key="tr_dev_notARealSecretKey") as server:
        made = sensor(
            server.add_run("EXECUTING"), deferrable=True, trigger_dev_conn_id=connection_to(server, "dev")
        )
        arguments, _ = deferred(made, context)
    assert arguments["trigger_dev_conn_id"] == "dev"
    assert arguments["wait"]["is_development"] is True


def test_it_leaves_the_first_check_of_many_runs_to_the_trigger(server, context) -> None:
    runs = [server.add_run("COMPLETED") for _ in range(101)]
    arguments, _ = deferred(sensor(*runs, deferrable=True), context)
    assert len(arguments["run_ids"]) == 101
    assert server.requests == []
    assert len(sensor(*runs[:100], deferrable=True).execute(context)) == 100


def test_it_does_not_defer_where_all_have_ended(server, context) -> None:
    run = server.add_run("COMPLETED")
    assert sensor(run, deferrable=True).execute(context) == [{"run_id": run.id, "status": "COMPLETED"}]


def test_it_does_not_defer_where_one_has_failed(server, context) -> None:
    with pytest.raises(AirflowFailException, match="FAILED"):
        sensor(server.add_run("EXECUTING"), server.add_run("FAILED"), deferrable=True).execute(context)


@pytest.mark.parametrize("deferrable", [True, False])
def test_a_failure_skips_it_if_it_shall_fail_softly(deferrable: bool, server, context) -> None:
    for run_ids, soft in (((server.add_run("FAILED"),), "soft_fail"), ((5.5,), "never_fail")):
        with pytest.raises(AirflowSkipException):
            sensor(*run_ids, deferrable=deferrable, **{soft: True}).execute(context)


@pytest.mark.parametrize("deferrable", [True, False])
@pytest.mark.parametrize("never_fail", [True, False])
def test_a_check_that_ends_the_wait_skips_it_only_if_it_shall_never_fail(
    deferrable: bool, never_fail: bool, server, context
) -> None:
    # As Airflow does it: `soft_fail` is for failures that are Airflow's.
    flag = {"never_fail": True} if never_fail else {"soft_fail": True}
    with pytest.raises(AirflowSkipException if never_fail else NotFoundError):
        sensor("run_unknown", deferrable=deferrable, **flag).execute(context)


def event_of(*runs: tuple[str, str, str | None], error: str = "") -> dict[str, Any]:
    """Make the event of the sensor's trigger."""
    return {
        "runs": [
            {"run_id": run_id, "end": end, "status": status, "error": error} for run_id, end, status in runs
        ]
    }


def test_a_resumed_sensor_returns_what_its_trigger_has_seen(context) -> None:
    event = event_of(("run_2", "final", "COMPLETED"), ("run_1", "final", "COMPLETED"))
    assert sensor("run_2", "run_1").resume_execution("execute_complete", {"event": event}, context) == [
        {"run_id": "run_2", "status": "COMPLETED"},
        {"run_id": "run_1", "status": "COMPLETED"},
    ]


def test_a_resumed_sensor_says_why_a_run_failed(server, context, log) -> None:
    error = {"message": "no such file", "stackTrace": "at resize.ts:5"}
    server.on_task("resize", error=error, start_after=0, after=0)
    run, _ = server.trigger("resize")
    event = event_of(("run_2", "final", "COMPLETED"), (run.id, "final", "FAILED"))
    with pytest.raises(AirflowFailException, match=f"Run {run.id} .*FAILED.*no such file"):
        sensor(run).execute_complete(context, event)
    assert [text for text in log.of("error") if "at resize.ts:5" in text]


def test_a_page_in_place_of_the_server_does_not_hide_why_a_run_failed(server, context) -> None:
    server.on_task("resize", error="no such file", start_after=0, after=0)
    run, _ = server.trigger("resize")
    server.redirect_next(1)
    with pytest.raises(AirflowFailException, match=f"Run {run.id} .*FAILED.*no such file"):
        sensor(run).execute_complete(context, event_of((run.id, "final", "FAILED")))


def test_a_run_that_completes_in_spite_of_its_cancel_is_no_failure(server, context) -> None:
    run, other = server.add_run("COMPLETED"), server.add_run("EXECUTING")
    event = event_of((run.id, "final", "CANCELED"))  # as the trigger has seen it
    context["ti"].xcoms["start", "return_value"] = other.id  # whose run ids are gathered again
    made = sensor(run, xcom_task_ids="start", deferrable=True)
    with pytest.raises(TaskDeferred) as raised:
        made.resume_execution("execute_complete", {"event": event}, context)
    assert raised.value.trigger.serialize()[1]["run_ids"] == [run.id, other.id]
    other.status = "COMPLETED"
    assert made.resume_execution("execute_complete", {"event": event}, context) == [
        {"run_id": run.id, "status": "COMPLETED"},
        {"run_id": other.id, "status": "COMPLETED"},
    ]


@pytest.mark.parametrize("status", [None, "EXECUTING"])
def test_a_run_that_cannot_be_checked_any_more_fails_it_so_that_another_try_may_help(
    server, context, status: str | None
) -> None:
    event = event_of(("run_1", "rejected", status), error="401 Unauthorized")
    text = "rejects the status checks of run run_1, which may still be running: 401"
    with pytest.raises(AirflowException, match=text) as raised:
        sensor("run_1").execute_complete(context, event)
    assert not isinstance(raised.value, AirflowFailException)
    assert f"{server.url}/runs/run_1" in str(raised.value)
    assert server.requests == []


@pytest.mark.parametrize("event", [None, {}, "done", []])
def test_what_is_not_an_event_of_its_trigger_is_an_error(event, context) -> None:
    with pytest.raises(AirflowException, match="the trigger's event is not valid; do all workers"):
        sensor("run_1").execute_complete(context, event)


@pytest.mark.parametrize("soft", [None, "soft_fail", "never_fail"])
def test_the_timeout_of_a_deferred_sensor_is_not_retried(context, soft: str | None) -> None:
    text = "Trigger/execution timeout" if AIRFLOW_2 else "Trigger timeout"
    made = sensor("run_1", **({soft: True} if soft else {}))
    raised: Any
    with pytest.raises(AirflowSkipException if soft else AirflowSensorTimeout) as raised:
        made.resume_execution("__fail__", {"error": text}, context)
    assert soft or (str(raised.value), str(raised.value.__cause__)) == (text, text)


@pytest.mark.parametrize("soft", ["soft_fail", "never_fail"])
@pytest.mark.parametrize("kind", ["failed run", "rejected", "uncheckable", "invalid event", "trigger failed"])
def test_no_failure_after_it_was_resumed_fails_it_if_it_shall_be_skipped(
    server, context, soft: str, kind: str
) -> None:
    run = server.add_run("FAILED")
    events: dict[str, Any] = {
        "failed run": event_of((run.id, "final", "FAILED")),
        "rejected": event_of((run.id, "rejected", None), error="401 Unauthorized"),
        "uncheckable": event_of((run.id, "uncheckable", None), error="500"),
        "invalid event": {},
    }
    made = sensor(run, **{soft: True})
    method, arguments = "execute_complete", {"event": events.get(kind)}
    if kind == "trigger failed":
        method, arguments = "__fail__", {"error": "Trigger failure", "traceback": ["ZeroDivisionError"]}
    with pytest.raises(AirflowSkipException):
        made.resume_execution(method, arguments, context)


def test_a_check_after_it_was_resumed_that_fails_skips_it_if_it_shall_never_fail(server, context) -> None:
    event = {"event": event_of(("run_unknown", "final", "FAILED"))}
    with pytest.raises(AirflowSkipException, match="run_unknown"):
        sensor("run_unknown", never_fail=True).resume_execution("execute_complete", event, context)


def test_a_failed_run_whose_check_answers_500_for_ever_fails_it_all_the_same(server, context) -> None:
    run = server.add_run("FAILED")
    server.fail_next(None, 500, path="/api/v3/runs/")
    with pytest.raises(AirflowFailException, match=f"Run {run.id} ended with status FAILED"):
        sensor(run).execute_complete(context, event_of((run.id, "final", "FAILED")))


def test_a_trigger_that_failed_cancels_nothing(server, context) -> None:
    run = server.add_run("EXECUTING")
    with pytest.raises(TaskDeferralError):
        sensor(run).resume_execution("__fail__", {"error": "no such trigger"}, context)
    assert server.requests == []


# Outputs


def outputs_of(*run_ids: Any, **arguments: Any) -> TriggerRunSensor:
    return sensor(*run_ids, return_outputs=True, **arguments)


@pytest.fixture
def completed(server):
    """Add runs that have returned their numbers."""

    def add(count: int, status: str = "COMPLETED") -> list[Any]:
        runs = [server.add_run(status) for _ in range(count)]
        for number, run in enumerate(runs):
            run.output = number
        return runs

    return add


@pytest.mark.parametrize("deferrable", [False, True])
def test_it_returns_the_outputs_in_the_order_of_the_runs(deferrable: bool, completed, context) -> None:
    runs = completed(3)
    made = outputs_of(runs[2], runs[0], runs[1], deferrable=deferrable)
    assert made.execute(context) == [2, 0, 1]


def test_a_resumed_sensor_returns_the_outputs(completed, context) -> None:
    runs = completed(2)
    event = event_of(*((run.id, "final", "COMPLETED") for run in reversed(runs)))
    assert outputs_of(*reversed(runs)).execute_complete(context, event) == [1, 0]


def test_a_run_without_an_output_has_none(completed, server, context) -> None:
    [run], canceled = completed(1), server.add_run("CANCELED")
    made = outputs_of(canceled, run, success_statuses=["COMPLETED", "CANCELED"])
    assert made.execute(context) == [None, 0]


def test_outputs_that_are_too_large_together_are_references(completed, context, log) -> None:
    runs = completed(2)
    references = [{"run_id": run.id, "output_size": 1} for run in runs]
    assert outputs_of(*runs, max_output_size=1).execute(context) == references
    assert "more than max_output_size=1: XCom gets references to them" in log.of("warning")[-1]


def test_outputs_are_fetched_once_and_only_at_the_end(server, context, completed) -> None:
    ended, other = completed(1)[0], server.add_run("EXECUTING")
    made = outputs_of(ended, other)
    assert not made.poke(context).is_done
    checks = [request.path for request in server.requests]
    assert sorted(checks) == sorted(f"/api/v3/runs/{run.id}" for run in (ended, other))


def test_without_runs_there_are_no_outputs(server, context) -> None:
    assert outputs_of(run_ids=[], on_empty="ignore").execute(context) == []
    assert server.requests == []


@pytest.mark.parametrize("deferrable", [False, True])
def test_outputs_that_cannot_be_fetched_skip_it_if_it_shall_never_fail(
    deferrable: bool, completed, context, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise TriggerDevError("the outputs cannot be fetched")

    monkeypatch.setattr("airflow_provider_trigger.run.output.fetch_outputs", fail)
    runs = completed(1)
    with pytest.raises(TriggerDevError, match="the outputs cannot be fetched"):
        outputs_of(*runs, deferrable=deferrable).execute(context)
    with pytest.raises(AirflowSkipException, match="the outputs cannot be fetched"):
        outputs_of(*runs, deferrable=deferrable, never_fail=True).execute(context)
