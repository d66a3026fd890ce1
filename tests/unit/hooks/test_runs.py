"""Start runs, wait for them, list them, get their outputs, replay and reschedule them, with the hook."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
from in_process import Network

from airflow_provider_trigger.api.client import TriggerDevClient
from airflow_provider_trigger.api.errors import (
    AuthenticationError,
    NotFoundError,
    ResponseError,
    TransportError,
    TriggerDevError,
)
from airflow_provider_trigger.api.models.runs import ListedRun
from airflow_provider_trigger.api.models.statuses import RunStatus
from airflow_provider_trigger.hooks import run_arguments
from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook
from airflow_provider_trigger.run import start, wait
from airflow_provider_trigger.testing import UNSET, TriggerDevServer


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
    monkeypatch.setattr(start, "start_run", partial(start.start_run, sleep=clock.sleep))
    monkeypatch.setattr(wait, "wait_for_runs", partial(wait.wait_for_runs, now=clock.time))
    made: TriggerDevHook = connect_as(password=server.secret_key)
    return made


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
    import requests

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


def test_filters_that_the_server_ignores_count_all_the_same(hook, wire, answer) -> None:
    runs = [
        {"id": "run_1", "status": "QUEUED", "taskIdentifier": "resize", "tags": ["a", "b"]},
        {"id": "run_2", "status": "COMPLETED", "taskIdentifier": "resize", "tags": ["a"]},
        {"id": "run_3", "status": "QUEUED", "taskIdentifier": "crop"},
    ]
    wire.script = lambda _: answer(200, {"data": runs, "pagination": {}})
    assert ids_of(hook.list_runs(tags=["b"])) == ["run_1"]
    assert ids_of(hook.list_runs(statuses=["QUEUED"])) == ["run_1", "run_3"]
    assert ids_of(hook.list_runs(task_identifiers=["crop"])) == ["run_3"]


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


def test_a_list_that_fails_names_the_connection(hook, network: Network, answer) -> None:
    network.fault("GET", answer(401, {"error": "Invalid API key"}), times=1000)
    listed = hook.list_runs()
    with pytest.raises(AuthenticationError, match=r"^Connection 'trigger_dev_default' to https"):
        next(listed)


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
    import requests

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


def test_every_error_of_the_api_names_the_connection(hook, network: Network, answer) -> None:
    network.fault("", answer(401, json.dumps({"error": "Invalid API key"}).encode()), times=1000)
    for call in (
        lambda: hook.trigger_task("resize"),
        lambda: hook.get_output("run_1"),
        lambda: hook.replay_run("run_1"),
        lambda: hook.reschedule_run("run_1", "1h"),
    ):
        with pytest.raises(AuthenticationError) as raised:
            call()
        assert str(raised.value).startswith("Connection 'trigger_dev_default' to https://trigger.test: ")
        assert str(raised.value).endswith("; check the password of the connection")
