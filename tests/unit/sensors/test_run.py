"""Waiting for runs that others have started."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from itertools import product
from typing import Any

import pytest
from airflow_names import IS_AIRFLOW_2, AirflowRescheduleException, TaskDeferred, dag_of
from fake_airflow import TaskInstance, context_of

from airflow_provider_trigger._compat import (
    AirflowException,
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
)
from airflow_provider_trigger.sensors.run import TriggerRunSensor
from airflow_provider_trigger.triggers.run import TriggerDevRunTrigger


def sensor(*run_ids: Any, **arguments: Any) -> TriggerRunSensor:
    ids = [getattr(run_id, "id", run_id) for run_id in run_ids] or None
    defaults = {"task_id": "wait", "run_ids": ids, "deferrable": False, "poke_interval": 0.02}
    return TriggerRunSensor(**defaults | arguments)


def failed_run(server: Any) -> Any:
    """Add a run that has failed, with an error."""
    error = {"name": "Error", "message": "no such file", "stackTrace": "at resize.ts:5"}
    server.on_task("resize", error=error, start_after=0, after=0)
    return server.trigger("resize")[0]


@pytest.fixture
def log(keep_log):
    return keep_log(TriggerRunSensor)


@pytest.fixture
def context(connection: str, monkeypatch: pytest.MonkeyPatch):
    ti = TaskInstance("wait", dag_id="a_dag", run_id="manual_1")
    # It was not rescheduled before: Airflow 3 asks the task instance, and Airflow 2 its database.
    monkeypatch.setattr(ti, "get_first_reschedule_date", lambda context: None, raising=False)
    if IS_AIRFLOW_2:
        monkeypatch.setattr("airflow.sensors.base._orig_start_date", lambda **_: None)
    return context_of(ti, dag=dag_of("start"))


# Poking


@pytest.mark.parametrize("options", [{}, {"mode": "reschedule"}, {"deferrable": True}])
def test_completed_runs_end_the_wait_in_the_ids_order(options: dict[str, Any], server, context) -> None:
    first, second = server.add_run("COMPLETED"), server.add_run("COMPLETED")
    results = sensor(second, first, second, **options).execute(context)
    assert results == [{"run_id": run.id, "status": "COMPLETED"} for run in (second, first)]


def test_it_checks_no_run_twice_that_has_ended(server, context, log, monkeypatch: pytest.MonkeyPatch) -> None:
    ended, late = server.add_run("COMPLETED"), server.add_run("EXECUTING")
    made = sensor(ended, late)
    poke = made.poke

    def poke_and_end(context: Any) -> Any:
        is_done = poke(context)
        late.status = "COMPLETED"
        return is_done

    monkeypatch.setattr(made, "poke", poke_and_end)
    assert [one["status"] for one in made.execute(context)] == ["COMPLETED"] * 2
    paths = [request.path for request in server.requests]
    assert [sum(run.id in path for path in paths) for run in (ended, late)] == [1, 2]
    assert "1 of 2 runs have not ended yet" in log.of("info")
    assert "2 of 2 runs have ended: 2 COMPLETED" in log.of("info")


def test_which_statuses_count_as_success_can_be_set(server, context) -> None:
    run = server.add_run("CANCELED")
    with pytest.raises(AirflowFailException, match="CANCELED"):
        sensor(run).execute(context)
    ended = sensor(run, success_statuses=["CANCELED", "EXPIRED"]).execute(context)
    assert ended == [{"run_id": run.id, "status": "CANCELED"}]
    with pytest.raises(AirflowFailException, match="COMPLETED"):
        sensor(server.add_run("COMPLETED"), success_statuses=["CANCELED"]).execute(context)


@pytest.mark.parametrize("deferrable", [True, False])
@pytest.mark.parametrize(
    "fault",
    [
        lambda server: None,  # the run is unknown
        lambda server: server.fail_next(None, 401),
        lambda server: server.fail_next(None, 403),
        lambda server: server.malformed_next(None, status=404),
        lambda server: server.redirect_next(None),
    ],
)
def test_what_cannot_pass_fails_it_at_its_first_check(server, context, deferrable: bool, fault: Any) -> None:
    fault(server)
    with pytest.raises(Exception, match=r"Connection 'trigger_dev_default'.*run_"):
        sensor(server.add_run("EXECUTING"), "run_unknown", deferrable=deferrable, timeout=5).execute(context)


def test_with_silent_fail_it_continues_after_an_error(server, context) -> None:
    run = server.add_run("COMPLETED")
    server.fail_next(1, 403)
    results = sensor(run, silent_fail=True, timeout=5).execute(context)
    assert results == [{"run_id": run.id, "status": "COMPLETED"}]


def test_a_run_that_completes_in_spite_of_its_cancel_ends_no_wait_for_others(server, context) -> None:
    server.on_task("resize", start_after=0, after=0.3)
    run, other = server.add_run("COMPLETED"), server.trigger("resize")[0]
    older = json.dumps({"id": run.id, "status": "CANCELED"})
    server.malformed_next(1, older, content_type="application/json", path=run.id)
    results = sensor(run, other).execute(context)
    assert results == [{"run_id": one.id, "status": "COMPLETED"} for one in (run, other)]


def test_each_execution_begins_anew(server, context) -> None:
    made = sensor(server.add_run("COMPLETED"), mode="reschedule", poke_interval=60)
    made.execute(context)
    made.run_ids = [server.add_run("EXECUTING").id]  # `dag.test()` executes the same operator again
    with pytest.raises(AirflowRescheduleException):
        made.execute(context)


# Its sources


INVALID_ID = "5.5 from run_ids is not a valid run id: it must be an id (run_…), a list of ids"
NO_XCOM = "task 'start' pushed no XCom"


@pytest.mark.parametrize(
    ("run_ids", "pushed", "problems"),
    [
        ([], None, [NO_XCOM]),
        (["run_1", 5.5], "run_2", [INVALID_ID]),
        (["run_1", 5.5], None, [INVALID_ID, NO_XCOM]),
        (["run_1"], RuntimeError("no XCom backend"), ["RuntimeError: no XCom backend"]),
    ],
)
def test_what_is_wrong_with_its_sources_is_one_failure_with_an_error_line_for_each(
    run_ids: list[Any], pushed: Any, problems: list[str], context, log, server
) -> None:
    if pushed is not None:
        context["ti"].xcoms["start", "return_value"] = pushed
    with pytest.raises(AirflowException) as raised:
        sensor(*run_ids, xcom_task_ids="start").execute(context)
    # Another try may help only where an XCom cannot be read.
    assert isinstance(raised.value, AirflowFailException) is not isinstance(pushed, RuntimeError)
    shown = str(raised.value).split("; ")
    assert [problem in text for problem, text in zip(problems, shown, strict=True)] == [True] * len(problems)
    assert sorted(log.of("error")) == sorted(shown)
    assert (log.of("warning"), server.requests) == ([], [])


@pytest.mark.parametrize("given", [{"xcom_task_ids": "start"}, {"_airflow_from_mapped": True}])
def test_a_source_without_run_ids_is_a_warning_where_wanted(given: Any, server, context, log) -> None:
    made = sensor(deferrable=True, on_empty="ignore", return_outputs=True, **given)
    assert made.execute(context) == []
    assert len(log.of("warning")) == 1
    assert server.requests == []


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
    made = sensor(ended, endless, deferrable=True, timeout=60, poll_interval=7)
    arguments, deferral = deferred(made, context)
    wait = arguments.pop("wait")
    assert wait["run_url"] == f"{server.url}/runs/{ended.id}"
    assert (wait["poll_interval"], wait["patience"], wait["success_statuses"]) == (7, 2, ["COMPLETED"])
    assert (wait["cancels"], wait["pending_version_timeout"], wait["deadline"]) == (False, None, None)
    assert arguments == {
        "trigger_dev_conn_id": "trigger_dev_default",
        "run_ids": [ended.id, endless.id],
        "try_number": None,
        "not_before": pytest.approx(time.time(), abs=60),
    }
    assert (deferral.method_name, deferral.timeout) == ("execute_complete", timedelta(seconds=60))


def test_it_leaves_the_first_check_of_many_runs_to_the_trigger(server, context) -> None:
    runs = [server.add_run("COMPLETED") for _ in range(101)]
    arguments, _ = deferred(sensor(*runs, deferrable=True), context)
    assert len(arguments["run_ids"]) == 101
    assert server.requests == []
    assert len(sensor(*runs[:100], deferrable=True).execute(context)) == 100


def event_of(*runs: tuple[str, str, str | None], error: str = "") -> dict[str, Any]:
    """Make the event of the sensor's trigger."""
    names = ("run_id", "end", "status")
    return {"runs": [dict(zip(names, run, strict=True)) | {"error": error} for run in runs]}


def test_a_resumed_sensor_returns_what_its_trigger_has_seen(context) -> None:
    event = event_of(("run_2", "final", "COMPLETED"), ("run_1", "final", "COMPLETED"))
    results = sensor("run_2", "run_1").resume_execution("execute_complete", {"event": event}, context)
    assert results == [{"run_id": run_id, "status": "COMPLETED"} for run_id in ("run_2", "run_1")]


@pytest.mark.parametrize("is_page", [False, True])
def test_a_resumed_sensor_says_why_a_run_failed(is_page: bool, server, context, log) -> None:
    run = failed_run(server)
    if is_page:  # in place of the server, for a moment
        server.redirect_next(1)
    event = event_of(("run_2", "final", "COMPLETED"), (run.id, "final", "FAILED"))
    with pytest.raises(AirflowFailException, match=f"Run {run.id} .*FAILED.*no such file"):
        sensor(run).execute_complete(context, event)
    assert [text for text in log.of("error") if "at resize.ts:5" in text]


def test_a_failed_run_whose_check_answers_500_for_ever_fails_it_all_the_same(server, context) -> None:
    run = server.add_run("FAILED")
    server.fail_next(None, 500, path="/api/v3/runs/")
    with pytest.raises(AirflowFailException, match=f"Run {run.id} ended with status FAILED"):
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
    results = made.resume_execution("execute_complete", {"event": event}, context)
    assert results == [{"run_id": one.id, "status": "COMPLETED"} for one in (run, other)]


def test_a_run_that_cannot_be_checked_any_more_fails_it_so_that_another_try_may_help(server, context) -> None:
    text = "rejects the status checks of run run_1, which may still be running: 401"
    for status in (None, "EXECUTING"):
        event = event_of(("run_1", "rejected", status), error="401 Unauthorized")
        with pytest.raises(AirflowException, match=text) as raised:
            sensor("run_1").execute_complete(context, event)
        assert not isinstance(raised.value, AirflowFailException)
        assert f"{server.url}/runs/run_1" in str(raised.value)
    assert server.requests == []


@pytest.mark.parametrize("event", [None, {}, "done", []])
def test_what_is_not_an_event_of_its_trigger_is_an_error(event, context) -> None:
    with pytest.raises(AirflowException, match="the trigger's event is not valid; do all workers"):
        sensor("run_1").execute_complete(context, event)


# Skipped


def fail(made: Any, way: str, context: Any, server: Any) -> None:
    """Let a sensor fail in some way."""
    if way in ("poke", "invalid"):
        run = server.add_run("FAILED", task_identifier="resize")
        made.run_ids = [run.id if way == "poke" else 5.5]
        made.execute(context)
    if way == "resumed":  # and its output is rejected
        made.return_outputs = True
        server.fail_next(None, 403)
    timeout = "Trigger/execution timeout" if IS_AIRFLOW_2 else "Trigger timeout"
    ways: dict[str, Any] = {
        "event": ("execute_complete", {"event": {}}),
        "resumed": ("execute_complete", {"event": event_of(("run_1", "final", "COMPLETED"))}),
        "trigger": ("__fail__", {"error": "Trigger failure"}),
        "timeout": ("__fail__", {"error": timeout}),
    }
    made.resume_execution(*ways[way], context)


REASONS = {
    "poke": "ended with status FAILED",
    "invalid": INVALID_ID,
    "event": "the trigger's event is not valid",
    "trigger": "Trigger failure",
    "timeout": "timeout",
    "resumed": "answered 403",
}
# Of what another try may cure, Airflow lets soft_fail skip nothing.
SKIPPED = set(product(REASONS, ["soft_fail", "never_fail"])) - {("resumed", "soft_fail")}


@pytest.mark.parametrize(("way", "option"), sorted(SKIPPED))
def test_a_failure_skips_it_and_the_log_says_why(way: str, option: str, server, context, log) -> None:
    with pytest.raises(AirflowSkipException):
        fail(sensor("run_1", **{option: True}), way, context, server)
    [warning] = [text for text in log.of("warning") if text.startswith("Skipped in place of failed: ")]
    assert REASONS[way] in warning


def test_the_timeout_of_a_deferred_sensor_is_not_retried(server, context) -> None:
    with pytest.raises(AirflowSensorTimeout, match="timeout"):
        fail(sensor("run_1"), "timeout", context, server)


# Outputs


@pytest.mark.parametrize("deferrable", [False, True])
def test_outputs_have_the_order_of_the_runs_or_are_references(deferrable: bool, server, context, log) -> None:
    completed = [server.add_run("COMPLETED", output=number) for number in range(3)]
    runs = completed[2], completed[0], server.add_run("CANCELED"), completed[1]
    given = {"return_outputs": True, "success_statuses": ["COMPLETED", "CANCELED"], "deferrable": deferrable}
    assert sensor(*runs, **given).execute(context) == [2, 0, None, 1]
    references = [{"run_id": run.id, "output_size": 1} for run in completed]
    assert sensor(*completed, return_outputs=True, max_output_size=2).execute(context) == references
    assert "more than max_output_size=2 or 16 MB: XCom gets a reference" in log.of("warning")[-1]


@pytest.mark.parametrize(
    ("status", "place", "text"),
    [
        (500, "run", ": 1 of 2 outputs cannot be fetched: {}: GET .* 500"),
        (404, "run", ": 1 of 2 outputs cannot be fetched: {}: "),
        (404, "object store", ": 1 of 2 outputs cannot be fetched: {}: "),
        (403, "run", "^Connection 'trigger_dev_default'.*/{} answered 403"),
        (403, "object store", "the object store rejected the URL of the output"),
    ],
)
def test_an_output_that_is_gone_is_named(status: int, place: str, text: str, server, context) -> None:
    whole, gone = server.add_run("COMPLETED"), server.add_run("COMPLETED", output="x" * 200_000)
    path = gone.id if place == "run" else "/packets/"
    server.fail_next(None, status, path=path, headers={"x-should-retry": "false"})
    seen = event_of(*((run.id, "final", "COMPLETED") for run in (whole, gone)))
    with pytest.raises(Exception, match=text.format(gone.id)):
        sensor(whole, gone, return_outputs=True).execute_complete(context, seen)


def test_an_older_answer_is_not_a_run_without_output(server, context) -> None:
    run = server.add_run("COMPLETED", output="abc")
    older = json.dumps({"id": run.id, "status": "EXECUTING"})
    server.malformed_next(2, older, content_type="application/json", path=run.id)
    seen = event_of((run.id, "final", "COMPLETED"))
    assert sensor(run, return_outputs=True).execute_complete(context, seen) == ["abc"]
