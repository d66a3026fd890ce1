"""Waiting for the run, in the worker or deferred, and what its end means for the task."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from fake_airflow import TaskInstance, context_of
from fake_clock import Clock
from in_process import Network
from run_operator import batch_in_worker
from run_operator import operator_in_worker as operator
from waiting import until

from airflow_provider_trigger._compat import AirflowException, AirflowFailException
from airflow_provider_trigger.api.errors import TriggerDevError
from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook
from airflow_provider_trigger.operators.run import RunTriggerTaskOperator
from airflow_provider_trigger.run.output import OutputTooLargeError
from airflow_provider_trigger.testing import TriggerDevServer
from airflow_provider_trigger.triggers.run import TriggerDevRunTrigger

try:
    from airflow.sdk.exceptions import TaskDeferred
except ImportError:  # before 3.2
    from airflow.exceptions import TaskDeferred


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


def test_the_log_says_what_a_missing_output_can_mean(execute, server, log, run_of) -> None:
    server.on_task("resize", output="")
    assert execute(operator()) is None
    assert [text for text in log.of("info") if text.startswith(f"Run {run_of().id} has no output: ")]


def test_a_large_output_is_replaced_by_a_reference_with_a_warning(
    execute, server, log, connection: str, run_of
) -> None:
    server.on_task("resize", output="x" * 8)
    assert execute(operator(max_output_size=10)) == "x" * 8
    server.on_task("resize", output="x" * 9)
    reference = execute(operator(max_output_size=10, idempotency_key=None))
    run_id = list(server.runs)[-1]
    assert reference == {"run_id": run_id, "output_size": 11}
    [warning] = log.of("warning")
    assert "max_output_size=10" in warning
    assert TriggerDevHook(connection).get_output(run_id) == "x" * 9


def test_an_output_that_is_too_large_to_be_fetched_is_replaced_by_a_reference_with_a_warning(
    execute, server, log, run_of, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(run: Any, *_: Any, **__: Any) -> None:
        raise OutputTooLargeError(run.id, limit=16 * 1024 * 1024, size=17_000_000)

    monkeypatch.setattr("airflow_provider_trigger.run.output.output_of", fail)
    assert execute(operator()) == {"run_id": run_of().id, "output_size": 17_000_000}
    [warning] = log.of("warning")
    assert warning.startswith(f"XCom gets a reference. The output of run {run_of().id} has 17000000 bytes")


@pytest.mark.parametrize("number", ["1e999", "[-1e999]", "NaN"])
@pytest.mark.parametrize("made", [operator(), batch_in_worker()])
def test_an_output_that_is_not_json_is_an_error_that_says_so(
    number: str, made, connection: str, server
) -> None:
    run = server.add_run("COMPLETED")
    shown = f'{{"id": "{run.id}", "status": "COMPLETED", "output": {number}, "durationMs": {"9" * 400}}}'
    server.malformed_next(2, shown, content_type="application/json", path=run.id)
    text = f"The output of run {run.id} is not JSON: it has NaN, or a number above 1.8e308"
    with pytest.raises((TriggerDevError, AirflowException), match=text):
        made.execute_complete(context_of(TaskInstance()), ended(run))


def test_without_waiting_the_run_id_is_returned_and_the_run_goes_on(execute, server, run_of, sent) -> None:
    server.on_task("resize", after=None)
    made = operator(wait_for_completion=False, deferrable=True)
    assert execute(made) == run_of().id
    made.on_kill()
    assert run_of().cancel_requests == 0
    assert sent() == ["trigger"]


def test_what_failed_fails_the_task_and_its_stack_trace_is_in_the_log(execute, server, log, run_of) -> None:
    error = {"name": "TypeError", "message": "no such file", "stackTrace": "at resize.ts:5"}
    server.on_task("resize", error=error)
    with pytest.raises(AirflowException) as raised:
        execute(operator())
    assert not isinstance(raised.value, AirflowFailException)
    url = f"{server.url}/runs/{run_of().id}"
    assert str(raised.value) == (
        f"Run {run_of().id} of Trigger.dev task 'resize' ended with status FAILED after 1 attempt: "
        f"TypeError: no such file. {url}"
    )
    assert [text for text in log.of("error") if "at resize.ts:5" in text]
    assert run_of().cancel_requests == 0


@pytest.mark.parametrize(
    ("crash", "status"),
    [
        ("TASK_PROCESS_OOM_KILLED", "CRASHED"),
        ("MAX_DURATION_EXCEEDED", "TIMED_OUT"),
        ("TASK_RUN_HEARTBEAT_TIMEOUT", "SYSTEM_FAILURE"),
    ],
)
def test_after_an_internal_error_the_task_may_be_retried(crash: str, status: str, execute, server) -> None:
    server.on_task("resize", crash=crash)
    with pytest.raises(AirflowException, match=f"ended with status {status}.*{crash}") as raised:
        execute(operator())
    assert not isinstance(raised.value, AirflowFailException)


def test_which_statuses_allow_a_retry_can_be_set(execute, server, run_of, in_signal_handler) -> None:
    server.on_task("resize", error="no such file")
    with pytest.raises(AirflowFailException, match="FAILED"):
        execute(operator(retry_statuses=["CANCELED"], idempotency_key=None))
    server.runs.clear()
    for statuses, kind in ((["CANCELED"], AirflowException), (["FAILED"], AirflowFailException)):
        server.runs.clear()
        server.on_task("resize", after=None)
        in_signal_handler(lambda: run_of("EXECUTING"), lambda: run_of().cancel())
        with pytest.raises(AirflowException, match="ended with status CANCELED") as raised:
            execute(operator(retry_statuses=statuses, idempotency_key=None))
        assert type(raised.value) is kind


def test_after_its_timeout_the_run_is_canceled_and_the_task_fails(execute, server, run_of) -> None:
    server.on_task("resize", after=None)
    with pytest.raises(
        AirflowException, match=r"did not end within its time limit \(timeout=0.3 s\). It was c"
    ):
        execute(operator(timeout=0.3))
    assert (run_of().status, run_of().cancel_requests) == ("CANCELED", 1)


def test_a_run_that_is_not_to_be_canceled_is_left_alone_after_its_timeout(execute, server, run_of) -> None:
    server.on_task("resize", after=None)
    with pytest.raises(AirflowException, match="It was not canceled, and is EXECUTING"):
        execute(operator(timeout=0.3, cancel_on_kill=False))
    assert run_of().cancel_requests == 0


def test_a_run_without_a_deployed_version_is_canceled_and_the_task_fails_for_good(
    execute, server, run_of
) -> None:
    server.unknown_task("resize")
    missing = r"no deployed version in this environment has the Trigger\.dev task 'resize'"
    with pytest.raises(AirflowFailException, match=missing):
        execute(operator(pending_version_timeout=0.1))
    assert run_of().status == "CANCELED"


def test_with_a_development_key_it_says_that_trigger_dev_must_run(execute, log, connection_to) -> None:
    with TriggerDevServer(secret_key="tr_dev_notARealSecretKey") as server:
        server.unknown_task("resize")
        made = operator(pending_version_timeout=0.1, trigger_dev_conn_id=connection_to(server, "dev"))
        with pytest.raises(AirflowFailException, match=r"npx trigger\.dev@latest dev"):
            execute(made)
    [warning] = [text for text in log.of("warning") if text.startswith("Run ")]
    assert "is PENDING_VERSION: no running `trigger dev` has the Trigger.dev task 'resize'" in warning


def test_a_poll_that_fails_is_not_the_end_of_the_wait(execute, server, run_of) -> None:
    server.on_task("resize", output=5, after=0.3)
    server.fail_next(3, 500, method="GET")
    server.malformed_next(method="GET")
    server.disconnect_next(method="GET")
    assert execute(operator()) == 5
    assert server.pending_faults == 0
    assert run_of().cancel_requests == 0


@pytest.mark.parametrize("made", [operator(), batch_in_worker(payloads=[1, 2])])
def test_a_full_queue_lets_the_task_be_retried_and_says_that_this_may_help(made, execute, server) -> None:
    body = {"error": "Cannot trigger resize as the queue size limit for this environment has been reached."}
    server.fail_next(1, 422, body=body)
    with pytest.raises(TriggerDevError, match=r"the queue is full, which passes: .* may cure it$"):
        execute(made)
    assert len(server.requests) == 1


def test_an_error_names_the_connection(execute, server) -> None:
    server.fail_next(None, 401)
    with pytest.raises(TriggerDevError, match="trigger_dev_default"):
        execute(operator())


# Deferred


def test_it_hands_all_that_is_needed_to_its_trigger_and_leaves_the_cancel_to_it(
    defer, server, run_of
) -> None:
    server.on_task("resize", after=None)
    made = operator(deferrable=True, poll_interval=7, pending_version_timeout=60, cancel_on_kill=False)
    arguments, _ = defer(made)
    assert arguments == {
        "trigger_dev_conn_id": "trigger_dev_default",
        "run_ids": [run_of().id],
        "wait": {
            "run_url": f"{server.url}/runs/{run_of().id}",
            "poll_interval": 7,
            "deadline": None,
            "pending_version_timeout": 60,
            "patience": 2,
            "cancels": False,
            "is_development": False,
            "success_statuses": None,
            "cancels_others": False,
            "logs_progress": False,
            "logs_end": False,
            "names_completed": True,
        },
        "try_number": 1,
        "not_before": pytest.approx(time.time(), abs=60),
    }
    assert defer(operator(deferrable=True))[0]["wait"]["cancels"] is True
    made.on_kill()
    assert run_of().cancel_requests == 0


def test_its_log_names_the_run_and_the_triggerer_before_it_defers(defer, server, run_of, log) -> None:
    server.on_task("resize", after=None)
    defer(operator(deferrable=True))
    url = f"{server.url}/runs/{run_of().id}"
    assert log.of("info")[-1] == f"Deferring: the triggerer waits for run {run_of().id} from here on. {url}"


def test_its_trigger_knows_when_the_run_must_have_ended(defer, server) -> None:
    server.on_task("resize", after=None)
    before = time.time()
    limits: list[dict[str, Any]] = [
        {"timeout": 60},
        {"timeout": 60, "execution_timeout": timedelta(seconds=30)},
        {"timeout": 60, "execution_timeout": timedelta(seconds=90)},
        {"execution_timeout": timedelta(seconds=30)},
    ]
    made = [operator(deferrable=True, idempotency_key=None, **limit) for limit in limits]
    deadlines = [defer(one)[0]["wait"]["deadline"] for one in made]
    took = time.time() - before
    for deadline, seconds in zip(deadlines, (60, 30, 60, 30), strict=True):
        assert before + seconds <= deadline <= before + seconds + took


def test_the_timeout_counts_from_the_creation_of_a_run_that_is_taken_up(
    defer, server, wire, answer, clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_trigger.operators.base.time", clock)
    of_server = Clock()
    of_server.now += 8  # it need not be exactly that of the worker
    server.clock = of_server.time
    wire.script = Network(server, answer)
    server.on_task("resize", after=None)
    defer(operator(deferrable=True))
    of_server.now += 40
    clock.now += 40
    deadline = defer(operator(deferrable=True, timeout=60))[0]["wait"]["deadline"]
    assert len(server.runs) == 1
    assert deadline == clock.time() + 20


def test_airflow_itself_ends_a_task_that_waits_in_its_worker_after_its_execution_timeout(
    connection: str,
) -> None:
    limit = timedelta(seconds=50)
    hook = TriggerDevHook(connection)
    waits = operator(execution_timeout=limit)._wait_settings(hook, 1000.0, age=0.0)
    defers = operator(execution_timeout=limit, deferrable=True)._wait_settings(hook, 1000.0, age=0.0)
    assert (waits.deadline, defers.deadline) == (None, 1050.0)


def test_what_comes_before_the_run_does_not_count_for_its_timeout(
    defer, server, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The worker of a run that was canceled may take a minute to stop.
    server.on_task("resize", after=None)
    made = operator(deferrable=True, idempotency_key=None, timeout=60)
    start, now = made._start, time.time
    waited = 0.0

    def wait_and_start(*arguments: Any) -> Any:
        nonlocal waited
        waited = 75.0
        return start(*arguments)

    monkeypatch.setattr(made, "_start", wait_and_start)
    monkeypatch.setattr("airflow_provider_trigger.operators.base.time.time", lambda: now() + waited)
    begun = now()
    assert defer(made)[0]["wait"]["deadline"] >= begun + 75 + 60


def test_a_run_that_completed_already_needs_no_trigger(execute, server) -> None:
    server.on_task("resize", output="done", start_after=0, after=0)
    execute(operator(wait_for_completion=False))
    again = context_of(TaskInstance(try_number=2))
    assert operator(deferrable=True).execute(again) == "done"


def test_its_trigger_has_the_tasks_connection(defer, server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_MINE", os.environ["AIRFLOW_CONN_TRIGGER_DEV_DEFAULT"])
    server.on_task("resize", after=None)
    arguments, _ = defer(operator(deferrable=True, trigger_dev_conn_id="mine"))
    assert arguments["trigger_dev_conn_id"] == "mine"


@pytest.mark.parametrize("by_url", [False, True])
def test_a_resumed_task_returns_the_output(by_url: bool, defer, server, run_of) -> None:
    server.on_task("resize", output={"a": 1}, output_by_url=by_url, start_after=0, after=0)
    made = operator(deferrable=True)
    _, go_on = defer(made)
    empty: Any = {}
    assert go_on(empty, ended(run_of())) == {"a": 1}
    assert made.run_url == f"{server.url}/runs/{run_of().id}"


def test_a_page_in_place_of_the_server_costs_a_resumed_task_no_output(defer, server, run_of) -> None:
    server.on_task("resize", output={"a": 1}, start_after=0, after=0)
    _, go_on = defer(operator(deferrable=True))
    server.redirect_next(1)
    assert go_on({}, ended(run_of())) == {"a": 1}
    assert not server.pending_faults


def test_a_resumed_task_whose_output_the_server_cannot_give_says_so_and_may_be_retried(
    defer, server, run_of
) -> None:
    server.on_task("resize", start_after=0, after=0)
    _, go_on = defer(operator(deferrable=True))
    event = ended(until(lambda: run_of("COMPLETED"), "the run has completed"))
    server.fail_next(None, 500, path="/api/v3/runs/", headers={"x-should-retry": "false"})
    with pytest.raises(AirflowException, match="is COMPLETED, but its output cannot be fetched") as raised:
        go_on({}, event)
    assert str(raised.value).endswith(f"{server.url}/runs/{run_of().id}")
    assert not isinstance(raised.value, AirflowFailException)


@pytest.mark.parametrize("output", [{"output": 1}, {"error": "no such file"}])
def test_a_resumed_task_logs_once_how_its_run_ended_and_what_it_has_used(
    defer, server, run_of, log, output
) -> None:
    server.on_task("resize", start_after=0, after=0, **output)
    _, go_on = defer(operator(deferrable=True))
    log.leveled.clear()
    with contextlib.suppress(AirflowException):
        go_on({}, ended(run_of()))
    status = "COMPLETED" if "output" in output else "FAILED"
    assert log.of("info") == [f"Run {run_of().id} is {status}, attempt 1 (0.12 s of compute time)"]


def test_a_resumed_task_whose_run_goes_on_logs_no_end(defer, server, run_of, log) -> None:
    server.on_task("resize", after=None)
    _, go_on = defer(operator(deferrable=True))
    log.leveled.clear()
    with pytest.raises(AirflowException, match="It may still be running"):
        go_on({}, ended(run_of(), "timed_out", error="cancel failed: 500"))
    assert log.of("info") == []


def test_a_resumed_task_fails_if_the_run_did(defer, server, run_of, log) -> None:
    error = {"name": "Error", "message": "no such file", "stackTrace": "at resize.ts:5"}
    server.on_task("resize", error=error, start_after=0, after=0)
    _, go_on = defer(operator(deferrable=True))
    with pytest.raises(AirflowException, match=r"ended with status FAILED.*no such file"):
        go_on({}, ended(run_of()))
    assert [text for text in log.of("error") if "at resize.ts:5" in text]


def test_a_resumed_task_says_which_time_limit_it_was(defer, server, run_of) -> None:
    server.on_task("resize", after=None)
    _, go_on = defer(operator(deferrable=True, timeout=60, execution_timeout=timedelta(seconds=30)))
    with pytest.raises(AirflowException, match=r"\(timeout=60 s, execution_timeout=30 s\)") as raised:
        go_on({}, ended(run_of(), "timed_out", error="cancel failed: 500"))
    assert "It may still be running: cancel failed: 500" in str(raised.value)


@pytest.mark.parametrize("tried", [1, None])
def test_a_retry_that_gets_the_event_of_the_try_before_starts_anew(
    tried: int | None, defer, server, run_of
) -> None:
    server.on_task("resize", times=1, error="no such file", start_after=0, after=0)
    server.on_task("resize", output="second", start_after=0, after=0)
    _, go_on = defer(operator(deferrable=True, retries=1))
    event = ended(run_of(), try_number=tried)
    retry = operator(deferrable=False, retries=1)
    retried = context_of(TaskInstance(try_number=2))
    if tried is None:  # an older version of this provider had deferred it
        with pytest.raises(AirflowException, match="ended with status FAILED"):
            retry.execute_complete(retried, event)
    else:
        with pytest.raises(AirflowException, match="ended with status FAILED"):
            go_on(context_of(TaskInstance()), event)
        assert retry.execute_complete(retried, event) == "second"
    assert len(server.runs) == 1 + (tried is not None)


@pytest.mark.parametrize("event", [None, {}, "done", {"runs": [{"run_id": "run_1"}]}])
def test_what_is_not_an_event_of_its_trigger_is_an_error(event, connection: str) -> None:
    context: Any = {}
    with pytest.raises(ValueError, match="event is not valid"):
        operator().execute_complete(context, event)


# A key that is changed while the task waits


@pytest.mark.parametrize("ends", [True, False])
def test_the_wait_continues_with_the_key_that_the_connection_has_now_and_so_does_the_cancel(
    execute, server, run_of, in_signal_handler, monkeypatch: pytest.MonkeyPatch, ends: bool
) -> None:
    server.on_task("resize", after=None)

    def rotate() -> None:
        new = "tr_prod_of_afterwards"
        object.__setattr__(server.environment, "secret_key", new)
        if ends:
            run_of().status = "COMPLETED"
        connection = json.loads(os.environ["AIRFLOW_CONN_TRIGGER_DEV_DEFAULT"]) | {"password": new}
        monkeypatch.setenv("AIRFLOW_CONN_TRIGGER_DEV_DEFAULT", json.dumps(connection))

    in_signal_handler(lambda: run_of("EXECUTING"), rotate)
    if ends:
        assert execute(operator()) == {"done": True}
    else:
        with pytest.raises(AirflowException, match="canceled"):
            execute(operator(timeout=1.0))
        assert run_of("CANCELED")
