"""The hook's methods, with the local server or a script in the place of Trigger.dev."""

from __future__ import annotations

import gzip
import json
import re
import tracemalloc
from datetime import datetime, timedelta
from typing import Any

import pytest
from trigger_dev import TriggerDev
from world import World

import airflow_provider_trigger
from airflow_provider_trigger._compat import BaseHook, airflow_version
from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook
from airflow_provider_trigger.testing import TriggerDevServer

KEY = "tr_prod_marker_of_the_test"


@pytest.fixture
def network(world: World) -> TriggerDev:
    """What is between the hook and the server."""
    return world.network


@pytest.fixture
def hook(server: TriggerDevServer) -> TriggerDevHook:
    server.on_task("resize", start_after=0, after=20, output={"n": 1})
    return TriggerDevHook()


# Connection and client


def test_the_names_that_airflow_and_users_know() -> None:
    assert issubclass(TriggerDevHook, BaseHook)
    assert (TriggerDevHook.conn_type, TriggerDevHook.hook_name) == ("trigger_dev", "Trigger.dev")
    assert TriggerDevHook.conn_name_attr == "trigger_dev_conn_id"
    assert TriggerDevHook.default_conn_name == TriggerDevHook().trigger_dev_conn_id == "trigger_dev_default"
    # Not fetched until it is used.
    assert TriggerDevHook(trigger_dev_conn_id="not there").trigger_dev_conn_id == "not there"


def test_a_request_has_the_values_of_the_connection(connect_as, wire, answer) -> None:
    wire.script = lambda _: answer(200, {"id": "run_1", "status": "CANCELED"})
    prefix = "http://trigger.test:3030/a/prefix"
    extra = {"timeout": 7, "branch": "feature/x", "verify": False, "proxy": "http://p.test:1"}
    hook = connect_as(host=prefix, extra=extra)
    hook.cancel_run("run_1")
    hook.reschedule_run("run_1", delay="1h")
    canceled, rescheduled, options = wire.sent[0], wire.sent[-1], wire.options[-1]
    provider = f"airflow-provider-trigger/{airflow_provider_trigger.__version__}"
    assert (canceled.method, canceled.url) == ("POST", f"{prefix}/api/v2/runs/run_1/cancel")
    assert canceled.headers == {
        "Accept": "application/json",
        "Accept-Encoding": "gzip",
        "Authorization": f"Bearer {KEY}",
        "Content-Length": "0",
        "User-Agent": f"{provider} apache-airflow/{airflow_version()}",
        "x-trigger-api-version": "2025-07-16",
        "x-trigger-branch": "feature/x",
    }
    assert rescheduled.headers["Content-Type"] == "application/json"
    assert json.loads(rescheduled.body) == {"delay": "1h"}
    assert (options["verify"], options["proxies"]["https"]) == (False, "http://p.test:1")
    assert options["timeout"] == (7, 7)
    with hook.get_conn() as client, hook.get_client(retry_for=0) as other:
        assert type(client) is type(other)


# Errors


@pytest.mark.parametrize("status", [200, 302, 404])
def test_an_answer_that_is_too_large_is_not_read_to_its_end(connect_as, wire, answer, status: int) -> None:
    wire.script = lambda _: answer(status, b" " * 40_000_000, {"location": "https://evil.test/"})
    with pytest.raises(Exception, match="run_1 answered more than 16 MB"):
        connect_as().get_run("run_1")
    assert wire.raw[0].tell() < 20_000_000
    assert len(wire.sent) == 1


def test_a_small_answer_that_unpacks_to_a_large_one_needs_little_memory(connect_as, wire, answer) -> None:
    bomb = gzip.compress(bytes(128 * 1024 * 1024))
    wire.script = lambda _: answer(200, bomb, {"content-encoding": "gzip"})
    tracemalloc.start()
    try:
        with pytest.raises(Exception, match="answered more than 16 MB"):
            connect_as().get_run("run_1")
        assert tracemalloc.get_traced_memory()[1] < 64 * 1024 * 1024
    finally:
        tracemalloc.stop()


CALLS: list[tuple[str, dict[str, Any]]] = [
    ("trigger_task", {"task_identifier": "resize"}),
    ("list_runs", {}),
    ("reschedule_run", {"run_id": "run_1", "delay": "1h"}),
    *((name, {"run_id": "run_1"}) for name in ("get_run", "get_output", "replay_run", "cancel_run")),
    ("cancel_runs", {"run_ids": ["run_1"]}),
    ("cancel_runs", {"tags": "a"}),
]


@pytest.mark.parametrize(("name", "arguments"), CALLS)
def test_every_error_of_the_api_names_the_connection_and_says_what_to_do(
    connect_as, wire, answer, world: World, name: str, arguments: dict[str, Any]
) -> None:
    wire.script = lambda _: answer(401, {"error": "Invalid API key"})
    with pytest.raises(Exception, match="Invalid API key") as raised:
        list(getattr(connect_as(), name)(**arguments))
    assert raised.typename == "AuthenticationError"
    error: Any = raised.value
    text = str(error)
    assert text.startswith("Connection 'trigger_dev_default' to https://trigger.test: ")
    more = ": it is wrong or expired, or restricted, as this call takes only a key without restrictions"
    more = more if name == "reschedule_run" else ""
    assert text.endswith(f"; check the password of the connection{more}")
    assert text.count("'trigger_dev_default'") == 1
    assert (error.message, error.detail) == (text, "Invalid API key")


# Invalid arguments

DURATION = "s or more: seconds, a timedelta, or a text such as '5m', not"
NO_ZONE = "created_after must be a datetime with a zone, not "
INVALID: list[tuple[str, dict[str, Any], str]] = [
    ("trigger_task", {"payload": {"a": [object()]}}, "payload['a'][0] must be JSON"),
    ("trigger_task", {"options": {"delay": "soon"}}, "delay must be "),
    ("trigger_task", {"options": "queue"}, "options must be a dict, not 'queue'"),
    ("trigger_task", {"options": {"queu": "q"}}, "there is no option 'queu'"),
    ("trigger_task", {"options": {"idempotency_key": "auto"}}, "idempotency_key must be one of your own"),
    ("wait_for_run", {"timeout": -0.5}, f"timeout must be a duration of 0 {DURATION} -0.5"),
    ("wait_for_run", {"poll_interval": 0.009}, f"poll_interval must be a duration of 0.01 {DURATION} 0.009"),
    ("wait_for_run", {"pending_version_timeout": timedelta(-1)}, "pending_version_timeout must be a durat"),
    ("wait_for_run", {"run_progress": None}, "run_progress must be True or False, not None"),
    ("wait_for_run", {"run_id": "batch_1"}, "'batch_1' is a batch's id, not a run's: give the batch's runs"),
    ("wait_for_run", {"run_id": ""}, "'' from run_id is not a valid run id: it is empty"),
    ("list_runs", {"tags": []}, "tags must be a string, or a list of at least one tag, not []"),
    ("list_runs", {"statuses": ["QUEUED", "RUNNING"]}, "statuses must be one of CANCELED, COMPLETED, "),
    ("list_runs", {"batch_id": "None"}, "batch_id must not be 'None': a template that finds nothing"),
    ("list_runs", {"batch_id": ""}, "batch_id must be a string that is not empty, without a comma, not ''"),
    ("list_runs", {"created_after": datetime(2026, 1, 1)}, f"{NO_ZONE}datetime."),
    ("list_runs", {"limit": 0}, "limit must be a whole number of runs, 1 or more, not 0"),
    *(("reschedule_run", {"delay": delay}, "delay must be ") for delay in ("soon", 5, None)),
    ("cancel_runs", {"tags": []}, "tags must be a string, or a list of at least one tag, not []"),
    ("cancel_runs", {"batch_ids": [None]}, "batch_ids must be a string that is not empty, "),
    ("cancel_runs", {"tags": "a", "max_runs": 0}, "max_runs must be a whole number of runs, 1 or more"),
]
REQUIRED = {
    "trigger_task": {"task_identifier": "resize"},
    "wait_for_run": {"run_id": "run_1"},
    "reschedule_run": {"run_id": "run_1"},
}


@pytest.mark.parametrize(("name", "arguments", "text"), INVALID)
def test_an_invalid_argument_is_an_error_that_names_it_and_nothing_is_sent(
    hook, network: TriggerDev, name: str, arguments: dict[str, Any], text: str
) -> None:
    with pytest.raises(ValueError, match=f"^{name}: {re.escape(text)}"):
        getattr(hook, name)(**REQUIRED.get(name, {}) | arguments)
    assert network.requests() == []


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (None, "run_ids is None"),
        (["run_1", None], "a value of run_ids is None"),
        (["run_1", 42], "42 from run_ids is not a valid run id: it must be an id (run_…), a list of ids"),
    ],
)
def test_an_invalid_run_id_is_named_and_nothing_is_sent(hook, network: TriggerDev, given, named: str) -> None:
    for call, argument in (
        (hook.cancel_runs, "run_ids"),
        (hook.cancel_run, "run_id"),
        (hook.wait_for_run, "run_id"),
    ):
        with pytest.raises(ValueError, match=re.escape(named.replace("run_ids", argument))):
            call(given)
    assert network.requests() == []


@pytest.mark.parametrize(
    ("given", "shown"),
    [(None, "a NoneType"), ({"url": "/callback/0a"}, "a dict"), (" ", "' '"), ("..", "'..'")],
)
def test_what_cannot_be_an_id_is_shown(given: Any, shown: str, hook, network: TriggerDev) -> None:
    for name in ("get_run", "get_output", "replay_run", "trigger_task", "reschedule_run"):
        more = ["1h"] * (name == "reschedule_run")
        with pytest.raises(ValueError, match=f"{re.escape(shown)} cannot be the id of a (run|task)"):
            getattr(hook, name)(given, *more)
    assert network.requests() == []


# Start


def test_a_task_is_triggered_with_payload_and_options(hook, server) -> None:
    tags = list("1234567890")  # as many as a run can have
    options = {"delay": timedelta(hours=1), "tags": tags, "max_attempts": 2, "idempotency_key": "order-17"}
    given = options | {"tags": [*tags]}
    run_id = hook.trigger_task("resize", {"n": 1}, given)
    run = server.runs[run_id]
    assert (run.status, run.payload, run.idempotency_key) == ("DELAYED", {"n": 1}, "order-17")
    assert (sorted(run.tags), run.options["maxAttempts"]) == (sorted(tags), 2)
    assert given == options, "those of the caller are left as they are"
    assert hook.trigger_task("resize", options={"idempotency_key": "order-17"}) == run_id


def test_without_a_key_each_call_starts_a_run(hook, server) -> None:
    assert hook.trigger_task("resize") != hook.trigger_task("resize")
    assert [run.idempotency_key for run in server.runs.values()] == [None, None]


# Wait


@pytest.mark.parametrize(
    ("more", "status"), [({"output": {"n": 1}}, "COMPLETED"), ({"error": "boom"}, "FAILED")]
)
def test_a_run_is_waited_for_and_returned(hook, server, clock, more: dict[str, Any], status: str) -> None:
    server.on_task("resize", start_after=0, after=20, **more)
    run = hook.wait_for_run(hook.trigger_task("resize"), timeout=timedelta(seconds=30))
    assert (run.status, run.output) == (status, more.get("output"))
    assert 1020 <= clock.now < 1024


def test_a_run_that_takes_too_long_is_only_checked(hook, server, network: TriggerDev, clock) -> None:
    server.on_task("endless", after=None)
    run_id = hook.trigger_task("endless")
    with pytest.raises(TimeoutError) as raised:
        hook.wait_for_run(run_id, timeout="1m", poll_interval=10)
    assert str(raised.value) == (
        f"Run {run_id} of Trigger.dev task 'endless' did not end within its time limit (timeout=60 s). "
        f"It was not canceled, and is EXECUTING. https://trigger.test/runs/{run_id}"
    )
    assert clock.now == pytest.approx(1060, abs=0.3)
    assert (len(network.requests("GET")), server.runs[run_id].cancel_requests) == (7, 0)


# List


def ids_of(listed: Any) -> list[str]:
    return [run.id for run in listed]


def test_a_batch_is_sent_as_a_filter(hook, wire, answer) -> None:
    wire.script = lambda _: answer(200, {"data": [], "pagination": {}})
    assert ids_of(hook.list_runs(batch_id="batch_1")) == []
    assert "filter%5Bbatch%5D=batch_1" in wire.sent[0].url


def test_pages_are_read_as_they_are_needed(hook, server, network: TriggerDev, clock) -> None:
    runs = []
    for _ in range(250):
        clock.sleep(0.01)
        runs.append(server.add_run("QUEUED").id)
    listed = hook.list_runs()
    assert network.requests() == []
    first = next(listed)
    assert (first.id, len(network.requests())) == (runs[-1], 1)
    assert ids_of(listed) == runs[-2::-1]
    assert len(network.requests()) == 3
    assert ids_of(hook.list_runs(limit="100")) == runs[:-101:-1]
    assert len(network.requests()) == 4


# Outputs


@pytest.mark.parametrize("output", [None, {"text": "x" * 200_000}])
def test_the_whole_output_is_returned(hook, server, output) -> None:
    assert hook.get_output(server.add_run("COMPLETED", output=output).id) == output


def test_only_a_completed_run_has_an_output(hook, server) -> None:
    for status in ("EXECUTING", "FAILED", "CANCELED"):
        run = server.add_run(status)
        with pytest.raises(ValueError, match=f"^Run {run.id} has no output: it is {status}$"):
            hook.get_output(run.id)
    with pytest.raises(Exception, match=" answered 404"):
        hook.get_output("run_x")


# Replay and reschedule


def test_a_run_is_replayed(hook, server) -> None:
    run = server.add_run("FAILED", payload={"n": 1}, task_identifier="resize")
    replayed = server.runs[hook.replay_run(run.id)]
    assert (replayed.payload, replayed.status, run.status) == ({"n": 1}, "EXECUTING", "FAILED")


def test_a_delayed_run_is_rescheduled(hook, server, clock) -> None:
    run_id = hook.trigger_task("resize", options={"delay": "1h"})
    run = hook.reschedule_run(run_id, timedelta(minutes=1))
    assert (run.id, run.status) == (run_id, "DELAYED")
    clock.sleep(59)
    assert server.runs[run_id].status == "DELAYED"
    clock.sleep(2)
    assert server.runs[run_id].status == "EXECUTING"


# Cancel


def test_runs_are_canceled_and_checked(hook, server, network: TriggerDev) -> None:
    one, other = server.add_run("QUEUED"), server.add_run("EXECUTING")
    assert hook.cancel_run(one.id).outcome.value == "canceled"
    outcomes = [result.outcome.value for result in hook.cancel_runs(iter(["run_x", other.id, "run_x"]))]
    assert outcomes == ["not_found", "canceled"]
    assert (one.status, other.status) == ("CANCELED", "CANCELED")
    before = len(network.requests())
    assert hook.cancel_runs([]) == hook.cancel_runs(iter(())) == []
    assert len(network.requests()) == before


# By tags and batches; ``tests/world/test_list.py`` has which runs these are


def test_runs_are_canceled_by_tags_in_addition_to_those_that_are_named(hook, server) -> None:
    named, tagged, other = (server.add_run("QUEUED", tags=tags) for tags in ([], ["a", "b"], ["a"]))
    results = hook.cancel_runs([named.id], tags=["a", "b"])
    assert [(one.run_id, one.outcome) for one in results] == [(named.id, "canceled"), (tagged.id, "canceled")]
    assert hook.cancel_runs(tags="c") == []
    assert other.cancel_requests == 0


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"tags": "a", "max_runs": 1}, "finds more than max_runs=1 runs that are alive: none "),
        ({"batch_ids": ["batch_x"], "tags": "a"}, "^cancel_runs: 'batch_x' from batch_ids is not a valid "),
        (
            {"batch_ids": ["batch_x", "batch_y"]},
            "^cancel_runs: 'batch_x' from batch_ids is not [^;]*; 'batch_y' from batch_ids is not [^;]*$",
        ),
    ],
)
def test_named_runs_are_canceled_where_the_search_fails(hook, server, arguments, error: str) -> None:
    named, *others = (server.add_run("QUEUED", tags=tags) for tags in ([], ["a"], ["a"]))
    with pytest.raises(ValueError, match=error):
        hook.cancel_runs([named.id], **arguments)
    assert [run.status for run in (named, *others)] == ["CANCELED", "QUEUED", "QUEUED"]
    with pytest.raises(ValueError, match=error):
        hook.cancel_runs(**arguments)
    assert [run.cancel_requests for run in others] == [0, 0]
