"""Waiting for the run, in the worker or deferred, and what its end means for the task."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from airflow_names import TaskDeferred
from fake_airflow import TaskInstance, context_of
from run_operator import batch_in_worker
from run_operator import operator_in_worker as operator
from waiting import until

from airflow_provider_trigger._compat import AirflowException, AirflowFailException
from airflow_provider_trigger.exceptions import TriggerRunNotStartedError
from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook
from airflow_provider_trigger.operators.run import RunTriggerTaskOperator
from airflow_provider_trigger.sensors.run import TriggerRunSensor
from airflow_provider_trigger.triggers.run import TriggerDevRunTrigger


@pytest.fixture
def log(keep_log):
    return keep_log(RunTriggerTaskOperator)


@pytest.fixture
def execute(connection: str) -> Callable[..., Any]:
    return lambda made: made.execute(context_of(TaskInstance()))


@pytest.fixture
def defer(execute) -> Callable[..., Any]:
    """Execute an operator until it defers; return its trigger's arguments, and the method to go on with."""

    def run(made: Any) -> tuple[dict[str, Any], Any]:
        with pytest.raises(TaskDeferred) as raised:
            execute(made)
        path, arguments = raised.value.trigger.serialize()
        assert path == f"{TriggerDevRunTrigger.__module__}.{TriggerDevRunTrigger.__qualname__}"
        assert json.loads(json.dumps(arguments)) == arguments
        TriggerDevRunTrigger(**arguments)
        return arguments, getattr(made, raised.value.method_name)

    return run


def ended(run: Any, end: str = "final", *, error: str = "", **fields: Any) -> dict[str, Any]:
    shown = {"run_id": run.id, "end": end, "status": run.status, "error": error}
    return {"runs": [shown], "try_number": None} | fields


# In the worker


@pytest.mark.parametrize("output", [{"a": [1, None]}, "text", 0, None, False])
def test_a_run_that_completed_gives_its_output(output, execute, server) -> None:
    server.on_task("resize", output=output)
    assert execute(operator()) == output


@pytest.mark.parametrize(
    ("output", "size"),
    [("x" * 8, None), ("x" * 9, 11), ("x" * 200_000, 200_002)],
    ids=["just small enough", "too large for XCom", "too large to be read"],
)
def test_a_large_output_is_a_reference(output: str, size: int | None, execute, server, log, run_of) -> None:
    server.on_task("resize", output=output)
    returned = execute(operator(max_output_size=10))
    assert returned == (output if size is None else {"run_id": run_of().id, "output_size": size})
    start = f"The output of run {run_of().id} has {size} bytes, more than "
    assert [start in line for line in log.of("warning")] == ([] if size is None else [True])


@pytest.mark.parametrize("made", [operator(), batch_in_worker()])
def test_an_output_that_is_not_json_is_an_error_that_says_so(made, connection: str, server) -> None:
    run = server.add_run("COMPLETED")
    shown = f'{{"id": "{run.id}", "status": "COMPLETED", "output": [-1e999], "durationMs": {"9" * 400}}}'
    server.malformed_next(2, shown, content_type="application/json", path=run.id)
    text = f"The output of run {run.id} is not JSON: it has NaN, or a number above 1.8e308"
    with pytest.raises(AirflowException, match=text):
        made.execute_complete(context_of(TaskInstance()), ended(run))


@pytest.mark.parametrize("kind", ["run", "batch", "sensor"])
@pytest.mark.parametrize(
    ("output", "stored"),
    [({"text": "half \ud83d"}, {"text": "half \ufffd"}), ({"a": [{"__type": "set", "__var": []}]}, None)],
)
def test_an_output_is_made_fit_for_xcom(output, stored, kind: str, connection: str, server, keep_log) -> None:
    run = server.add_run("COMPLETED")
    run.output, run.output_by_url = output, kind == "batch"
    made: Any = operator() if kind == "run" else batch_in_worker()
    if kind == "sensor":
        made = TriggerRunSensor(task_id="work", run_ids=run.id, return_outputs=True)
    log = keep_log(type(made))
    returned = made.execute_complete(context_of(TaskInstance()), ended(run))
    size = len(json.dumps(output, separators=(",", ":")))
    expected = stored or {"run_id": run.id, "output_size": size}
    assert returned == (expected if kind == "run" else [expected])
    [warning] = log.of("warning")
    assert warning.startswith(f"The output of run {run.id} has ")
    assert TriggerDevHook(connection).get_output(run.id) == output


@pytest.mark.parametrize("made", [operator(), batch_in_worker(payloads=[1])])
def test_an_error_that_cannot_be_encoded_is_corrected(made, execute, server, keep_log) -> None:
    log = keep_log(type(made))
    server.on_task("resize", error={"name": "Error", "message": "bad \ud83d", "stackTrace": "at \ud83d"})
    with pytest.raises(AirflowException, match="bad \ufffd"):
        execute(made)
    assert all(line.encode() for line in log.lines)
    assert any("at \ufffd" in line for line in log.lines)


@pytest.mark.parametrize("made", [operator(), batch_in_worker(payloads=[1, 2])])
def test_a_retry_policy_can_read_that_a_start_found_a_full_queue(made, execute, server) -> None:
    text = "Cannot trigger resize as the queue size limit for this environment has been reached"
    server.fail_next(1, 422, body={"error": text})
    with pytest.raises(TriggerRunNotStartedError, match=f"answered 422: {text}$") as raised:
        execute(made)
    assert not isinstance(raised.value, AirflowFailException)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("scopes", "text"),
    [
        (["trigger:tasks"], "GET .* answered 403: Unauthorized: the key may lack the right read:runs"),
        (["trigger:tasks", "read:runs"], "time limit .* the key may lack the right write:runs"),
    ],
)
def test_where_a_key_may_not_check_or_cancel_the_error_names_the_right(
    scopes: list[str], text: str, execute, server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.on_task("resize", after=None)
    connection = {"conn_type": "trigger_dev", "host": server.url, "password": server.add_key(scopes)}
    monkeypatch.setenv("AIRFLOW_CONN_TRIGGER_DEV_DEFAULT", json.dumps(connection))
    with pytest.raises(Exception, match=text):
        execute(operator(timeout=0.3))


# Deferred


def test_its_trigger_gets_all_that_it_needs(defer, server, run_of, log, connection_to) -> None:
    server.on_task("resize", after=None)
    given: dict[str, Any] = {"poll_interval": 7, "pending_version_timeout": 60, "cancel_on_kill": False}
    connection_to(server, "mine", retry_for=2)
    arguments, _ = defer(operator(deferrable=True, trigger_dev_conn_id="mine", **given))
    url, wait = f"{server.url}/runs/{run_of().id}", arguments["wait"]
    assert (arguments["trigger_dev_conn_id"], arguments["run_ids"]) == ("mine", [run_of().id])
    assert (arguments["try_number"], wait["tag"] in run_of().tags) == (1, True)
    shown = {"run_url": url, "poll_interval": 7, "pending_version_timeout": 60, "patience": 2}
    shown |= {"cancels": False, "deadline": None}
    assert {name: wait[name] for name in shown} == shown
    assert log.of("info")[-1] == f"Deferring: the triggerer waits for run {run_of().id} from here on. {url}"
    canceling = operator(deferrable=True)
    assert defer(canceling)[0]["wait"]["cancels"] is True
    canceling.on_kill()
    assert run_of().cancel_requests == 0


def test_a_resumed_task_whose_output_is_gone_says_so_and_is_retried(defer, server, run_of) -> None:
    server.on_task("resize", start_after=0, after=0)
    _, go_on = defer(operator(deferrable=True))
    event = ended(until(lambda: run_of("COMPLETED"), "the run has completed"))
    server.fail_next(None, 500, path="/api/v3/runs/", headers={"x-should-retry": "false"})
    with pytest.raises(AirflowException, match="is COMPLETED, but its output cannot be fetched") as raised:
        go_on({}, event)
    assert str(raised.value).endswith(f"{server.url}/runs/{run_of().id}")
    assert not isinstance(raised.value, AirflowFailException)


ERROR = {"name": "Error", "message": "no such file", "stackTrace": "at resize.ts:5"}


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_failed_run_is_logged_once(deferrable: bool, execute, defer, server, run_of, log) -> None:
    server.on_task("resize", error=ERROR, start_after=0, after=0.02)
    wait = partial(execute, operator())
    if deferrable:
        _, go_on = defer(operator(deferrable=True))
        while not run_of().terminated:
            time.sleep(0.01)
        wait = partial(go_on, {}, ended(run_of()))
    with pytest.raises(AirflowException, match=r"ended with status FAILED.*no such file") as raised:
        wait()
    assert not isinstance(raised.value, AirflowFailException)
    [trace] = log.of("error")
    assert "at resize.ts:5" in trace
    assert len([line for line in log.of("info") if line.endswith("(0.02 s of compute time)")]) == 1
    assert run_of().cancel_requests == 0


def test_a_resumed_task_whose_run_goes_on_says_which_time_limit_it_was(defer, server, run_of, log) -> None:
    server.on_task("resize", after=None)
    _, go_on = defer(operator(deferrable=True, timeout=60, execution_timeout=timedelta(seconds=30)))
    log.leveled.clear()
    with pytest.raises(AirflowException, match=r"\(timeout=60 s, execution_timeout=30 s\)") as raised:
        go_on({}, ended(run_of(), "timed_out", error="cancel failed: 500"))
    assert "It may still be running: cancel failed: 500" in str(raised.value)
    assert log.of("info") == []


def test_a_retry_that_gets_the_event_of_the_try_before_starts_anew(defer, server, run_of) -> None:
    server.on_task("resize", times=1, error="no such file", start_after=0, after=0)
    server.on_task("resize", output="second", start_after=0, after=0)
    _, go_on = defer(operator(deferrable=True, retries=1))
    event = ended(run_of(), try_number=1)
    with pytest.raises(AirflowException, match="ended with status FAILED"):
        go_on(context_of(TaskInstance()), event)
    retry = operator(deferrable=False, retries=1)
    assert retry.execute_complete(context_of(TaskInstance(try_number=2)), event) == "second"
    assert len(server.runs) == 2
