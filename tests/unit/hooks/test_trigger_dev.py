"""The hook's methods, with the local server or a script in the place of Trigger.dev."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
import requests
from in_process import Network

import airflow_provider_trigger
from airflow_provider_trigger._compat import (
    AirflowFailException,
    AirflowNotFoundException,
    BaseHook,
    airflow_version,
)
from airflow_provider_trigger.api.client import TriggerDevClient
from airflow_provider_trigger.api.endpoints.batches import batch_item, trigger_batch
from airflow_provider_trigger.api.endpoints.runs import list_newest_runs
from airflow_provider_trigger.api.errors import (
    AuthenticationError,
    NotFoundError,
    ResponseError,
    TransportError,
    TriggerDevError,
)
from airflow_provider_trigger.api.models.runs import ListedRun
from airflow_provider_trigger.api.models.statuses import RunStatus
from airflow_provider_trigger.cancel.settings import CancelSettings
from airflow_provider_trigger.hooks import run_arguments
from airflow_provider_trigger.hooks.connection import ConnectionNotFoundError
from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook
from airflow_provider_trigger.run import starts, wait
from airflow_provider_trigger.testing import UNSET, TriggerDevServer

KEY = "tr_prod_marker_of_the_test"


@pytest.fixture
def server(clock) -> TriggerDevServer:
    made = TriggerDevServer(clock=clock.time, acknowledge_after=10.0)
    made.on_task("resize", start_after=0, after=20, output={"n": 1})
    return made


@pytest.fixture
def network(server: TriggerDevServer, wire, answer) -> Network:
    """What is between the hook and the server."""
    wire.script = made = Network(server, answer)
    return made


@pytest.fixture
def hook(
    connect_as, server: TriggerDevServer, network: Network, clock, monkeypatch: pytest.MonkeyPatch
) -> TriggerDevHook:
    """A hook that goes by the test's clock."""
    monkeypatch.setattr("airflow_provider_trigger.run.drive.time", clock)
    monkeypatch.setattr(run_arguments, "time", clock)
    monkeypatch.setattr(starts, "start_run", partial(starts.start_run, sleep=clock.sleep))
    monkeypatch.setattr(wait, "wait_for_runs", partial(wait.wait_for_runs, now=clock.time))
    made: TriggerDevHook = connect_as(password=server.secret_key)
    return made


# Connection and client


def test_the_names_that_airflow_and_users_know() -> None:
    assert issubclass(TriggerDevHook, BaseHook)
    assert TriggerDevHook.conn_type == "trigger_dev"
    assert TriggerDevHook.hook_name == "Trigger.dev"
    assert TriggerDevHook.conn_name_attr == "trigger_dev_conn_id"
    assert TriggerDevHook.default_conn_name == "trigger_dev_default"
    assert TriggerDevHook().trigger_dev_conn_id == "trigger_dev_default"
    assert TriggerDevHook(trigger_dev_conn_id="mine").trigger_dev_conn_id == "mine"


def test_a_hook_fetches_no_connection_until_it_is_used() -> None:
    assert TriggerDevHook("there is no such connection").trigger_dev_conn_id


def test_the_form_of_older_airflows_is_that_of_newer_ones() -> None:
    from airflow_provider_trigger.get_provider_info import get_provider_info

    behaviour = TriggerDevHook.get_ui_field_behaviour()
    [connection_type] = get_provider_info()["connection-types"]
    newer = {name.replace("-", "_"): value for name, value in connection_type["ui-field-behaviour"].items()}
    assert behaviour == newer
    assert json.loads(behaviour["placeholders"]["extra"])


def test_a_client_has_the_values_of_the_connection(connect_as, wire) -> None:
    hook = connect_as(extra={"timeout": 7, "branch": "main", "verify": False, "proxy": "http://p.test:1"})
    with hook.get_conn() as client:
        client.call(list_newest_runs())
    headers, options = wire.sent[0].headers, wire.options[0]
    assert wire.sent[0].url.startswith("https://trigger.test/api/")
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert headers["x-trigger-branch"] == "main"
    provider = f"airflow-provider-trigger/{airflow_provider_trigger.__version__}"
    assert headers["User-Agent"] == f"{provider} apache-airflow/{airflow_version()}"
    assert options["timeout"] == (7, 7)
    assert options["verify"] is False
    assert options["proxies"]["https"] == "http://p.test:1"
    assert client.exchange.retry_for == 120


def test_a_client_can_have_other_times_than_the_connection(connect_as, wire) -> None:
    with connect_as(extra={"timeout": 7, "retry_for": 8}).get_client(timeout=2, retry_for=0) as client:
        client.call(list_newest_runs())
    assert wire.options[0]["timeout"] == (2, 2)
    assert client.exchange.retry_for == 0


def test_a_connection_is_read_once(connect_as) -> None:
    hook = connect_as()
    assert hook.settings is hook.settings


# Errors


@pytest.mark.parametrize(
    "failure", [(401, {"error": f"bad {KEY}"}), requests.ConnectionError("refused"), (200, b"<html>")]
)
def test_nothing_that_an_error_carries_leads_to_the_key(
    connect_as, wire, answer, assert_hides, failure
) -> None:
    wire.script = lambda _: failure if isinstance(failure, Exception) else answer(*failure)
    hook = connect_as(extra={"retry_for": 0})
    with pytest.raises(TriggerDevError) as raised:
        hook.get_run("run_1")
    assert_hides(raised.value, KEY)


def test_a_missing_connection_is_an_error_that_is_not_retried(assert_hides) -> None:
    hook = TriggerDevHook("no_such_connection")
    for call in (hook.get_client, hook.get_conn, lambda: hook.cancel_run("run_1"), lambda: hook.settings):
        with pytest.raises(ConnectionNotFoundError, match=r"^Connection 'no_such_connection' ") as raised:
            call()
        assert isinstance(raised.value, AirflowNotFoundException)
        assert isinstance(raised.value, AirflowFailException)
        assert_hides(raised.value, KEY)


def test_an_error_of_airflow_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: str) -> None:
        raise RuntimeError("no database")

    monkeypatch.setattr(TriggerDevHook, "get_connection", staticmethod(fail))
    with pytest.raises(RuntimeError, match=r"^no database$"):
        _ = TriggerDevHook().settings


def test_a_fetched_connection_is_not_kept(connect_as) -> None:
    hook = connect_as()
    assert hook.settings.secret_key == KEY
    assert KEY not in repr(vars(hook))


def assert_each_names_the_connection(*calls: Callable[[], Any]) -> None:
    for call in calls:
        with pytest.raises(AuthenticationError) as raised:
            call()
        text = str(raised.value)
        assert text.startswith("Connection 'trigger_dev_default' to https://trigger.test: ")
        assert text.endswith("; check the password of the connection")
        assert text.count("'trigger_dev_default'") == 1
        assert (raised.value.message, raised.value.detail) == (text, "Invalid API key")


def test_every_error_of_the_api_names_the_connection_and_says_what_to_do(
    hook, network: Network, answer
) -> None:
    network.fault("", answer(401, {"error": "Invalid API key"}), times=1000)
    assert_each_names_the_connection(
        lambda: hook.trigger_task("resize"),
        lambda: hook.get_run("run_1"),
        lambda: next(hook.list_runs()),
        lambda: hook.get_output("run_1"),
        lambda: hook.replay_run("run_1"),
        lambda: hook.reschedule_run("run_1", "1h"),
    )


def test_so_does_every_error_of_a_cancel(connect_as, wire, answer) -> None:
    wire.script = lambda _: answer(401, {"error": "Invalid API key"})
    hook = connect_as()
    assert_each_names_the_connection(
        lambda: hook.cancel_run("run_1"),
        lambda: hook.cancel_runs(["run_1"]),
        lambda: hook.cancel_runs(tags="a"),
    )


# Start


def test_a_task_is_triggered_with_payload_and_options(hook, server) -> None:
    options = {"delay": timedelta(hours=1), "tags": "a", "max_attempts": 2, "idempotency_key": "order-17"}
    run_id = hook.trigger_task("resize", {"n": 1}, options)
    run = server.runs[run_id]
    assert (run.status, run.payload, run.tags, run.idempotency_key) == (
        "DELAYED",
        {"n": 1},
        ("a",),
        "order-17",
    )
    assert run.options["maxAttempts"] == 2
    assert hook.trigger_task("resize", options={"idempotency_key": "order-17"}) == run_id


def test_all_tags_of_a_run_are_the_callers(hook, server) -> None:
    run_id = hook.trigger_task("resize", options={"tags": list("1234567890")})
    assert sorted(server.runs[run_id].tags) == sorted("1234567890")


def test_without_a_key_each_call_starts_a_run(hook, server) -> None:
    assert hook.trigger_task("resize") != hook.trigger_task("resize")
    assert [run.idempotency_key for run in server.runs.values()] == [None, None]


def test_a_canceled_run_with_the_same_key_is_replaced(hook, server, clock) -> None:
    options = {"idempotency_key": "order-17"}
    first = hook.trigger_task("resize", None, options)
    clock.sleep(5)
    server.runs[first].cancel()
    assert hook.trigger_task("resize", None, options) != first
    assert server.runs[first].terminated


@pytest.mark.parametrize(
    ("payload", "options", "text"),
    [
        ({"a": [object()]}, {}, r"trigger_task: payload\['a'\]\[0\] must be JSON"),
        (None, {"delay": "soon"}, "trigger_task: delay must be "),
        (None, {"ttl": 0}, "trigger_task: ttl must be "),
        (None, {"queu": "q"}, "trigger_task: there is no option 'queu'"),
        (None, {"idempotency_key": "auto"}, "trigger_task: idempotency_key must be one of your own"),
    ],
)
def test_an_invalid_argument_is_an_error_and_nothing_is_sent(
    hook, network: Network, payload, options: dict[str, Any], text: str
) -> None:
    with pytest.raises(ValueError, match=f"^{text}"):
        hook.trigger_task("resize", payload, options)
    assert network.requests == []


@pytest.mark.parametrize("given", [None, ["run_a"], 5, "", " ", ".."])
def test_what_cannot_be_an_id_is_a_value_error_and_nothing_is_sent(given: Any, hook, server) -> None:
    for name in ("get_run", "get_output", "wait_for_run", "replay_run", "trigger_task"):
        with pytest.raises(ValueError, match=f"{re.escape(repr(given))} cannot be the id of a (run|task)"):
            getattr(hook, name)(given)
    with pytest.raises(ValueError, match="cannot be the id of a run"):
        hook.reschedule_run(given, "1h")
    assert server.requests == []


def test_the_options_of_the_caller_are_left_as_they_are(hook) -> None:
    options = {"delay": "1h", "tags": ["a"]}
    hook.trigger_task("resize", options=options)
    assert options == {"delay": "1h", "tags": ["a"]}


def test_a_lost_answer_without_a_key_says_that_a_run_may_exist_and_names_the_connection(
    hook, network: Network, answer
) -> None:
    network.fault("/trigger", answer(502, "bad gateway"), arrives=True)
    with pytest.raises(ResponseError) as raised:
        hook.trigger_task("resize")
    text = str(raised.value)
    assert text.startswith(
        "Connection 'trigger_dev_default' to https://trigger.test: POST /api/v1/tasks/resize/"
    )
    assert "a run may exist" in text
    assert len(network.requests) == 1


# Wait


def test_a_run_is_waited_for(hook, server, clock) -> None:
    run = hook.wait_for_run(hook.trigger_task("resize"))
    assert (run.status, run.output) == ("COMPLETED", {"n": 1})
    assert 1020 <= clock.now < 1024


def test_whatever_its_status_the_run_is_returned(hook, server) -> None:
    server.on_task("broken", error="boom")
    run = hook.wait_for_run(hook.trigger_task("broken"))
    assert (run.status, run.error.message) == ("FAILED", "boom")


def test_an_outage_is_waited_out(hook, network: Network) -> None:
    run_id = hook.trigger_task("resize")
    network.fault("GET", requests.ConnectionError(), times=8)
    assert hook.wait_for_run(run_id).status == "COMPLETED"


def test_a_run_that_takes_too_long_is_left_alone(hook, server, clock) -> None:
    server.on_task("endless", after=None)
    run_id = hook.trigger_task("endless")
    with pytest.raises(TimeoutError) as raised:
        hook.wait_for_run(run_id, timeout=60)
    assert str(raised.value) == (
        f"Run {run_id} of Trigger.dev task 'endless' did not end within its time limit (timeout=60 s). "
        f"It was not canceled, and is EXECUTING. https://trigger.test/runs/{run_id}"
    )
    assert clock.now == pytest.approx(1060)
    assert server.runs[run_id].cancel_requests == 0


def test_a_fixed_interval_is_kept(hook, server, network: Network) -> None:
    server.on_task("slow", start_after=0, after=95)
    run_id = hook.trigger_task("slow")
    hook.wait_for_run(run_id, poll_interval=10)
    assert len(network.sent("GET")) == 11


def test_a_run_without_a_version_is_an_error_that_says_so(hook, server, clock) -> None:
    server.unknown_task("resize")
    run_id = hook.trigger_task("resize")
    missing = r"no deployed version in this environment has the Trigger\.dev task 'resize'"
    with pytest.raises(TimeoutError, match=missing):
        hook.wait_for_run(run_id, pending_version_timeout=30)
    assert server.runs[run_id].status == "PENDING_VERSION"


def test_with_a_development_key_it_says_that_trigger_dev_must_run(hook, connect_as, server) -> None:
    key = server.add_environment("dev", secret_key="tr_dev_x").secret_key
    server.unknown_task("resize")
    run_id = connect_as(password=key).trigger_task("resize")
    with pytest.raises(TimeoutError, match=r"no running `trigger dev` has the Trigger\.dev task 'resize'"):
        connect_as(password=key).wait_for_run(run_id, pending_version_timeout=30)


def test_a_key_that_is_rejected_for_too_long_is_an_error(hook, network: Network, answer, clock) -> None:
    run_id = hook.trigger_task("resize")
    network.fault("GET", answer(401, {"error": "Invalid API key"}), times=1000)
    with pytest.raises(TriggerDevError) as raised:
        hook.wait_for_run(run_id)
    text = str(raised.value)
    assert text.startswith(
        f"Connection 'trigger_dev_default' to https://trigger.test: The server rejects the status checks of "
        f"run {run_id}"
    )
    assert "answered 401: Invalid API key" in text
    assert 1120 <= clock.now <= 1160  # the connection's retry_for


def test_a_run_whose_output_is_broken_is_an_error_and_no_empty_output(hook, server, network, answer) -> None:
    network.fault("GET /api/v3/", answer(500, {"error": "Something went wrong"}), times=1000)
    run = server.add_run("COMPLETED")
    text = rf"is COMPLETED, but its output cannot be fetched: .* 500.* https://trigger\.test/runs/{run.id}$"
    with pytest.raises(TriggerDevError, match=text):
        hook.wait_for_run(run.id)
    server.realtime = False
    with pytest.raises(TriggerDevError, match=r"cannot be checked, and may still be running: .* 500"):
        hook.wait_for_run(server.add_run("COMPLETED").id)


# List


def ids_of(listed: Iterator[ListedRun]) -> list[str]:
    return [run.id for run in listed]


def test_a_listed_run_shows_what_it_has_in_common_with_others(hook, server) -> None:
    run = server.add_run("EXECUTING", tags=["b", "a"], task_identifier="resize", idempotency_key="k")
    [listed] = hook.list_runs()
    assert (listed.id, listed.status, listed.task_identifier) == (run.id, "EXECUTING", "resize")
    assert (listed.tags, listed.idempotency_key, listed.is_final) == (["a", "b"], "k", False)
    assert listed.created_at == run.created_at
    assert listed.attributes["env"]["name"] == "prod"


def test_a_listed_run_has_all_tags(hook, server) -> None:
    both = server.add_run("EXECUTING", tags=["a", "b", "c"])
    for tags in (["a"], ["b"], ["A", "b"], []):
        server.add_run("EXECUTING", tags=tags)
    assert ids_of(hook.list_runs(tags=["a", "b"])) == [both.id]
    assert len(ids_of(hook.list_runs(tags="a"))) == 2


def test_statuses_and_tasks_are_any_of(hook, server) -> None:
    added = {
        (status, task): server.add_run(status, task_identifier=task).id
        for status in ("QUEUED", "EXECUTING", "FAILED")
        for task in ("resize", "crop", "cut")
    }
    found = hook.list_runs(statuses=["QUEUED", "FAILED"], task_identifiers=("crop", "cut"))
    kept = [run_id for (status, task), run_id in added.items() if status != "EXECUTING" and task != "resize"]
    assert sorted(ids_of(found)) == sorted(kept)
    assert ids_of(hook.list_runs(statuses=RunStatus.EXECUTING, task_identifiers="cut")) == [
        added["EXECUTING", "cut"]
    ]


def test_a_batch_is_sent_as_a_filter(hook, wire, answer) -> None:
    wire.script = lambda _: answer(200, {"data": [], "pagination": {}})
    assert ids_of(hook.list_runs(batch_id="batch_1")) == []
    assert "filter%5Bbatch%5D=batch_1" in wire.sent[0].url


def test_runs_of_all_times_are_listed_unless_a_time_is_given(hook, server, clock) -> None:
    old = server.add_run("COMPLETED")
    clock.sleep(30 * 86400)
    new = server.add_run("COMPLETED")
    assert ids_of(hook.list_runs()) == [new.id, old.id]
    assert ids_of(hook.list_runs(created_after=new.created_at - timedelta(seconds=1))) == [new.id]


def test_pages_are_read_as_they_are_needed(hook, server, network: Network, clock) -> None:
    runs = []
    for _ in range(250):
        clock.sleep(0.01)
        runs.append(server.add_run("QUEUED").id)
    listed = hook.list_runs()
    assert network.requests == []
    first = next(listed)
    assert (first.id, len(network.requests)) == (runs[-1], 1)
    assert ids_of(listed) == runs[-2::-1]
    assert len(network.requests) == 3
    assert ids_of(hook.list_runs(limit=100)) == runs[:-101:-1]
    assert len(network.requests) == 4


@pytest.mark.parametrize("ends", [lambda listed: listed.close(), list])
def test_the_client_of_a_list_is_closed_at_its_end(hook, server, monkeypatch, ends) -> None:
    closed: list[None] = []
    monkeypatch.setattr(TriggerDevClient, "close", lambda _: closed.append(None))
    server.add_run("QUEUED")
    server.add_run("QUEUED")
    listed = hook.list_runs()
    next(listed)
    assert closed == []
    ends(listed)
    assert len(closed) == 1


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"tags": []}, "[] from tags is not a valid tag: the list must have at least one tag"),
        ({"tags": ["a", "b,c"]}, "'b,c' from tags is not a valid tag: "),
        (
            {"statuses": ["QUEUED", "RUNNING"]},
            "'RUNNING' from statuses is not a valid status: it must be one of CANCELED, COMPLETED, CRASHED, "
            "DELAYED, DEQUEUED, EXECUTING, EXPIRED, FAILED, PENDING_VERSION, QUEUED, SYSTEM_FAILURE, ",
        ),
        ({"task_identifiers": [" "]}, "' ' from task_identifiers is not a valid task identifier: "),
        ({"batch_id": ""}, "'' from batch_id is not a valid batch id: "),
        ({"created_after": datetime(2026, 1, 1)}, "created_after must be a datetime with a zone, not "),
        ({"created_after": "2026-01-01"}, "created_after must be a datetime with a zone, not '2026-01-01'"),
        ({"limit": 0}, "limit must be a whole number of runs, 1 or more, not 0"),
    ],
)
def test_an_invalid_argument_of_a_list_is_an_error_before_it_is_read(
    hook, network: Network, arguments: dict[str, Any], text: str
) -> None:
    with pytest.raises(ValueError, match=f"^list_runs: {re.escape(text)}"):
        hook.list_runs(**arguments)
    assert network.requests == []


# Outputs


@pytest.mark.parametrize("output", [None, {"n": 1}, "text", {"text": "x" * 200_000}])
def test_the_whole_output_is_returned(hook, server, output) -> None:
    assert hook.get_output(server.add_run("COMPLETED", output=output).id) == output
    with pytest.raises(
        ValueError, match="only a COMPLETED run has an output, not one that is FAILED; let a task"
    ):
        server.add_run("FAILED", output=output)


def test_a_run_without_output_gives_none_and_the_log_says_what_it_can_mean(hook, server, keep_log) -> None:
    log = keep_log(TriggerDevHook)
    run = server.add_run("COMPLETED")
    run.output = UNSET
    assert hook.get_output(run.id) is None
    [line] = log.of("info")
    assert line.startswith(f"Run {run.id} has no output: its task returned nothing, or ")


@pytest.mark.parametrize("status", ["EXECUTING", "FAILED", "CANCELED"])
def test_only_a_completed_run_has_an_output(hook, server, status: str) -> None:
    run = server.add_run(status)
    with pytest.raises(ValueError, match=f"^Run {run.id} has no output: it is {status}$"):
        hook.get_output(run.id)


def test_an_unknown_run_has_none(hook) -> None:
    with pytest.raises(NotFoundError):
        hook.get_output("run_x")


# Replay and reschedule


def test_a_run_is_replayed(hook, server) -> None:
    run = server.add_run("FAILED", payload={"n": 1}, task_identifier="resize")
    replayed = server.runs[hook.replay_run(run.id)]
    assert (replayed.payload, replayed.status, run.status) == ({"n": 1}, "EXECUTING", "FAILED")


def test_a_replay_whose_answer_is_lost_says_that_a_run_may_exist(hook, server, network: Network) -> None:
    run = server.add_run("FAILED")
    network.fault("/replay", requests.ConnectionError(), arrives=True)
    with pytest.raises(TransportError, match="a run may exist"):
        hook.replay_run(run.id)


def test_a_delayed_run_is_rescheduled(hook, server, clock) -> None:
    run_id = hook.trigger_task("resize", options={"delay": "1h"})
    run = hook.reschedule_run(run_id, timedelta(minutes=1))
    assert (run.id, run.status) == (run_id, "DELAYED")
    clock.sleep(59)
    assert server.runs[run_id].status == "DELAYED"
    clock.sleep(2)
    assert server.runs[run_id].status == "EXECUTING"


def test_another_run_cannot_be_rescheduled(hook, server) -> None:
    with pytest.raises(ResponseError, match="Cannot reschedule a run that is not delayed"):
        hook.reschedule_run(server.add_run("QUEUED").id, "1h")


@pytest.mark.parametrize(
    ("delay", "shown"),
    [
        (None, "None"),
        ("", "''"),
        ("soon", "'soon'"),
        ("2020-01-01T00:00:00Z", "'2020-01-01T00:00:00Z'"),
        (timedelta(0), "datetime.timedelta(0)"),
        (5, "5"),
    ],
)
def test_an_invalid_delay_is_an_error_that_shows_it_and_nothing_is_sent(
    hook, network: Network, delay, shown: str
) -> None:
    with pytest.raises(ValueError, match=rf"^reschedule_run: delay must be .*, not {re.escape(shown)}$"):
        hook.reschedule_run("run_1", delay)
    assert network.requests == []


# Cancel


def runs(answer: Any) -> Any:
    """Script a server with one run that is canceled on demand, and no other."""

    def script(request: requests.PreparedRequest) -> Any:
        if "/run_1" not in str(request.url):
            return answer(404, {"error": "Not found"})
        return answer(200, {"id": "run_1", "status": "CANCELED", "taskIdentifier": "t"})

    return script


def test_runs_are_canceled_and_checked(connect_as, wire, answer) -> None:
    wire.script = runs(answer)
    hook = connect_as()
    assert hook.cancel_run("run_1").outcome.value == "canceled"
    outcomes = [result.outcome.value for result in hook.cancel_runs(["run_x", "run_1"])]
    assert outcomes == ["not_found", "canceled"]
    assert hook.get_run("run_1").task_identifier == "t"
    with pytest.raises(NotFoundError):
        hook.get_run("run_x")


def test_a_server_that_is_down_is_named_once_with_the_connection_and_what_to_do(connect_as, wire) -> None:
    wire.script = lambda _: requests.ConnectionError()
    hook = connect_as(extra={"retry_for": 0})
    with pytest.raises(TransportError) as raised:
        hook.get_run("run_1")
    assert str(raised.value) == (
        "Connection 'trigger_dev_default': GET /api/v3/runs/run_1 to trigger.test: ConnectionError; "
        "check host, port and 'proxy' of the connection, and whether the server runs"
    )
    assert hook.cancel_run("run_1").error == (
        "cancel failed: POST /api/v2/runs/run_1/cancel to trigger.test: ConnectionError; "
        "status check failed: ConnectionError; "
        "check host, port and 'proxy' of connection 'trigger_dev_default', and whether the server runs"
    )


def test_a_cancellation_has_a_client_of_its_own_that_is_closed_at_the_end(
    connect_as, wire, answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[None] = []
    monkeypatch.setattr(TriggerDevClient, "close", lambda _: closed.append(None))
    wire.script = runs(answer)
    with connect_as().cancellation(["run_1", "run_x", "run_1"], CancelSettings()) as cancellation:
        cancellation.run()
        assert not closed
    assert len(closed) == 1
    outcomes = [(result.run_id, result.outcome.value) for result in cancellation.results]
    assert outcomes == [("run_1", "canceled"), ("run_x", "not_found")]
    assert not cancellation.stopped


# Run ids as an author gives them


@pytest.mark.parametrize("given", ["run_1", ("run_1",), [{"id": "run_1"}], "['run_1']", {"run_id": "run_1"}])
def test_what_holds_run_ids_is_read_as_the_operator_reads_it(connect_as, wire, answer, given) -> None:
    wire.script = runs(answer)
    [result] = connect_as().cancel_runs(given)
    assert (result.run_id, result.outcome.value) == ("run_1", "canceled")


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (None, "run_ids is None"),
        ([None], "run_ids holds nothing but None"),
        ("None", "run_ids rendered to None"),
        (["run_1", None], r"run_ids\[1\] is None$"),
        (["run_1", 42], r"42 from run_ids\[1\] is not a valid run id: it must be a string, not int"),
        ([42, None], r"42 from .*; run_ids\[1\] is None$"),
        ([{"name": "run_1"}], "is not a valid run id: a dict must have 'id' or 'run_id'"),
        ("{{ ids }}", "a Jinja template that was not rendered"),
        ("", "'' from run_ids is not a valid run id: it is empty"),
    ],
)
def test_an_invalid_run_id_is_named_and_nothing_is_sent(connect_as, wire, given, named: str) -> None:
    for call in (connect_as().cancel_runs, connect_as().cancel_run):
        with pytest.raises(ValueError, match=named):
            call(given)
    assert not wire.sent


@pytest.mark.parametrize(
    ("given", "form", "count"),
    [([], list, 0), ("run_1,run_2", str, 2), (["run_1", "run_2"], list, 2), (["run_1", "run_2"], iter, 2)],
)
def test_one_run_is_one(connect_as, wire, given, form, count: int) -> None:
    with pytest.raises(ValueError, match=f"^run_id must contain exactly one run id, not {count}: "):
        connect_as().cancel_run(form(given))
    assert not wire.sent


def test_a_long_value_is_shortened(connect_as) -> None:
    with pytest.raises(ValueError, match="not 100: ") as raised:
        connect_as().cancel_run([f"run_{number}" for number in range(100)])
    assert len(str(raised.value)) < 140


@pytest.mark.parametrize("given", [[], (), iter([])])
def test_without_run_ids_nothing_is_sent(connect_as, wire, given) -> None:
    assert connect_as().cancel_runs(given) == []
    assert not wire.sent


def test_an_iterator_of_run_ids_is_read(connect_as, wire, answer) -> None:
    wire.script = runs(answer)
    results = connect_as().cancel_runs(run_id for run_id in ("run_1", "run_x"))
    assert [result.run_id for result in results] == ["run_1", "run_x"]


# By tags and batches; ``sources/test_search.py`` has which runs these are


def test_runs_are_canceled_by_tags_in_addition_to_those_that_are_named(hook, server) -> None:
    named, tagged, other = (server.add_run("QUEUED", tags=tags) for tags in ([], ["a", "b"], ["a"]))
    results = hook.cancel_runs([named.id], tags=["a", "b"])
    assert [(one.run_id, one.outcome.value) for one in results] == [
        (named.id, "canceled"),
        (tagged.id, "canceled"),
    ]
    assert other.status == "QUEUED"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [({"tags": "a", "max_runs": 1}, "max_runs=1"), ({"batch_ids": "batch_x", "tags": "a"}, "'batch_x' from")],
)
def test_those_that_are_named_are_canceled_where_the_search_finds_a_reason_to_cancel_no_other(
    hook, server, arguments, error: str
) -> None:
    named, *others = (server.add_run("QUEUED", tags=tags) for tags in ([], ["a"], ["a"]))
    with pytest.raises(ValueError, match=error):
        hook.cancel_runs([named.id], **arguments)
    assert [run.status for run in (named, *others)] == ["CANCELED", "QUEUED", "QUEUED"]


def test_runs_are_canceled_by_batch(hook, server) -> None:
    server.on_task("resize", start_after=None)
    with hook.get_client() as client:
        batch_id = client.call(trigger_batch([batch_item("resize", options={})] * 2))
    other = server.add_run("QUEUED")
    results = hook.cancel_runs(batch_ids=batch_id)
    assert [one.run_id for one in results] == [run_id for run_id in server.runs if run_id != other.id]
    assert other.status == "QUEUED"


def test_tags_without_runs_cancel_nothing(hook, server) -> None:
    server.add_run("QUEUED")
    assert hook.cancel_runs(tags="a") == []
    assert not any(run.cancel_requests for run in server.runs.values())


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"tags": []}, r"cancel_runs: \[\] from tags is not a valid tag: "),
        ({"tags": "a,b"}, "cancel_runs: 'a,b' from tags is not a valid tag: "),
        ({"batch_ids": [None]}, "cancel_runs: None from batch_ids is not a valid batch id: "),
        ({"tags": "a", "max_runs": 0}, "cancel_runs: max_runs must be a whole number of runs, 1 or "),
        ({"tags": "a", "run_ids": "no id!"}, "is not a valid run id"),
        ({}, "run_ids is None"),
        ({"tags": "a", "max_runs": 1}, "finds 2 runs that are alive, more than max_runs=1: none "),
        ({"batch_ids": ["batch_x"], "tags": "a"}, "cancel_runs: 'batch_x' from batch_ids is not a valid "),
        (
            {"batch_ids": ["batch_x", "batch_y"]},
            "^cancel_runs: 'batch_x' from batch_ids is not [^;]*; 'batch_y' from batch_ids is not [^;]*$",
        ),
    ],
)
def test_what_is_wrong_is_raised_before_the_first_cancel(hook, server, arguments, text: str) -> None:
    runs = [server.add_run("QUEUED", tags=["a"]) for _ in range(2)]
    with pytest.raises(ValueError, match=text):
        hook.cancel_runs(**arguments)
    assert [run.cancel_requests for run in runs] == [0, 0]
