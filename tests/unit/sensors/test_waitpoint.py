"""Waiting for the answer of whoever completes a waitpoint token."""

from __future__ import annotations

import json
import threading
from datetime import datetime, timedelta
from typing import Any

import pytest
from airflow_names import IS_AIRFLOW_2, TaskDeferred
from event_loop import run
from fake_airflow import TaskInstance, context_of
from hub import START, Hub

from airflow_provider_trigger import _compat
from airflow_provider_trigger._compat import (
    AirflowException,
    AirflowFailException,
    AirflowSkipException,
)
from airflow_provider_trigger.sensors.waitpoint import WaitpointTokenSensor
from airflow_provider_trigger.testing import UNSET
from airflow_provider_trigger.triggers.waitpoint import WaitpointTokenTrigger

MODES: list[dict[str, Any]] = [{}, {"mode": "reschedule"}, {"deferrable": True}]
HASH = "0123456789abcdef" * 4


def sensor(token: Any, **arguments: Any) -> WaitpointTokenSensor:
    given = {"task_id": "wait", "token_id": getattr(token, "id", token), "deferrable": False}
    return WaitpointTokenSensor(**given | {"poke_interval": 0.02} | arguments)


@pytest.fixture
def log(keep_log):
    return keep_log(WaitpointTokenSensor)


@pytest.fixture
def context(connection: str, monkeypatch: pytest.MonkeyPatch):
    return rescheduled(monkeypatch, first=None)


def rescheduled(monkeypatch: pytest.MonkeyPatch, *, first: datetime | None) -> Any:
    """Return the context of a task that poked first at some time; None for now."""
    ti = TaskInstance("wait", dag_id="a_dag", run_id="manual_1")
    if IS_AIRFLOW_2:
        monkeypatch.setattr("airflow.sensors.base._orig_start_date", lambda **_: first)
    else:
        monkeypatch.setattr(ti, "get_first_reschedule_date", lambda context: first, raising=False)
    return context_of(ti)


# Its end


@pytest.mark.parametrize("options", MODES)
@pytest.mark.parametrize("data", [{"ok": True, "by": ["a", None]}, [], False, UNSET, "", '{"a": 1}', "é\n"])
def test_it_returns_the_data_of_the_token(options: dict[str, Any], data: Any, server, context) -> None:
    token = server.create_token()[0]
    server.complete_token(token.id, data)
    expected = None if data in ("", UNSET) else data  # as the server keeps it
    assert sensor(token.url, **options).execute(context) == expected


def test_data_that_xcom_cannot_store_is_corrected_or_fails_it_for_good(server, context, log) -> None:
    half, reserved = server.create_token()[0], server.create_token()[0]
    server.complete_token(half.id, ["half \ud83d"])
    assert sensor(half).execute(context) == ["half \ufffd"]
    assert log.of("warning")[0].startswith(f"The data of Waitpoint token {half.id} ")
    server.complete_token(reserved.id, {"a": {"__classname__": "builtins.tuple", "__version__": 1}})
    with pytest.raises(AirflowFailException, match="has the key '__classname__', which Airflow's serializer"):
        sensor(reserved).execute(context)


def test_a_token_that_has_timed_out_fails_it_at_once_and_for_good(server, context) -> None:
    token = server.create_token(timeout="1s")[0]
    token.timeout_at = token.created
    text = f"{token.id} of connection 'trigger_dev_default' has timed out before anybody completed it"
    with pytest.raises(AirflowFailException, match=text):
        sensor(token).execute(context)


def test_data_of_an_unknown_type_fail_it_for_good(context, wire, answer) -> None:
    kind = {"output": "waitpoints/waitpoint_1/token.json", "outputType": "application/store"}
    wire.script = lambda _: answer(200, {"id": "waitpoint_1", "status": "COMPLETED"} | kind)
    with pytest.raises(AirflowFailException, match=r"is COMPLETED, but .* of the type 'application/store'"):
        sensor("waitpoint_1").execute(context)


# Which token is meant


@pytest.mark.parametrize(
    "value", [None, "", "None", [], ["waitpoint_1", "waitpoint_2"], f"https://trigger.test/callback/{HASH}"]
)
def test_what_is_not_exactly_one_token_is_an_error_without_its_secret(value, server, context, log) -> None:
    with pytest.raises(ValueError, match=r"WaitpointTokenSensor 'wait': .*token") as parsed:
        sensor(value)
    made = sensor("{{ rendered }}")
    made.token_id = value
    with pytest.raises(AirflowFailException, match=r"WaitpointTokenSensor 'wait': .*token") as raised:
        made.execute(context)
    assert HASH[:8] not in f"{raised.value} {parsed.value} {log.lines}"
    assert server.requests == []


# Other failures


REJECTED = r"Connection 'trigger_dev_default'.*waitpoint_.* answered [34]0[123]"


@pytest.mark.parametrize("options", MODES)
@pytest.mark.parametrize("status", [401, 403, 302])
def test_what_cannot_pass_fails_it_at_once(status: int, options: dict[str, Any], server, context) -> None:
    if status == 302:
        server.redirect_next(None)
    else:
        server.fail_next(None, status)
    with pytest.raises(Exception, match=REJECTED):
        sensor(server.create_token()[0], **options).execute(context)


@pytest.mark.parametrize("options", MODES[:2])
def test_a_replica_that_does_not_show_it_yet_is_survived_without_any_time_for_retries(
    options: dict[str, Any], server, context, connection_to, clock: Hub
) -> None:
    connection_to(server, "trigger_dev_default", retry_for=0)
    made = sensor(server.create_token()[0], **options)
    server.fail_next(None, path="/waitpoints/")
    begun = clock.now
    if made.mode == "poke":  # else it is checked again within one poke
        for seconds in (29, 1):
            assert not made.poke(context).is_done
            clock.sleep(seconds)
    with pytest.raises(AirflowFailException, match="was not shown by any check for 30 s"):
        made.poke(context)
    assert 30 <= clock.now - begun < 31


# Deferred


def deferred(made: WaitpointTokenSensor, act: Any) -> tuple[dict[str, Any], Any]:
    """Let a sensor defer; return its trigger's arguments, and what Airflow got."""
    with pytest.raises(TaskDeferred) as raised:
        act()
    path, arguments = raised.value.trigger.serialize()
    assert path == f"{WaitpointTokenTrigger.__module__}.WaitpointTokenTrigger"
    assert json.loads(json.dumps(arguments)) == arguments
    return arguments, raised.value


def test_its_trigger_gets_no_address(server, context, clock: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_compat, "scheduler_knows_resumed_tasks", lambda: False)
    token = server.create_token()[0]
    made = sensor({"id": token.id, "url": token.url}, deferrable=True, timeout=60)
    arguments, deferral = deferred(made, lambda: made.execute(context))
    held_until = arguments.pop("not_before")
    assert held_until > START
    assert arguments == {
        "token_id": token.id,
        "begun_at": pytest.approx(START),
        "trigger_dev_conn_id": "trigger_dev_default",
        "was_shown": True,
    }
    assert deferral.method_name == "execute_complete"
    assert timedelta(seconds=59) < deferral.timeout <= timedelta(seconds=60)
    short = sensor(token, deferrable=True, timeout=1)
    _, deferral = deferred(short, lambda: short.execute(context))
    assert deferral.timeout > timedelta(seconds=held_until - START), "longer than its event is held back"


def test_its_trigger_may_lack_a_thread(server, connection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    token, start = server.create_token()[0], threading.Thread.start
    server.complete_token(token.id)

    def fail_once(thread: threading.Thread) -> None:
        if thread.name != "trigger-dev-call":
            return start(thread)
        monkeypatch.setattr(threading.Thread, "start", start)
        raise RuntimeError("can't start new thread")

    async def main() -> Any:
        async for found in WaitpointTokenTrigger(token_id=token.id, begun_at=START).run():
            return found.payload

    monkeypatch.setattr(threading.Thread, "start", fail_once)
    monkeypatch.setattr("airflow_provider_trigger.triggers.watch.check_interval", lambda age: 0.01)
    assert run(main()) == event()


def event(error: str = "", *, is_final: bool = False) -> dict[str, Any]:
    return {"error": error, "is_final": is_final, "begun_at": START}


def test_a_resumed_sensor_fetches_the_data(server, context) -> None:
    token = server.create_token()[0]
    server.complete_token(token.id, {"approved": False})
    server.redirect_next(1)  # a page in place of the server, for a moment
    resumed = sensor(token).resume_execution("execute_complete", {"event": event()}, context)
    assert resumed == {"approved": False}


def test_a_resumed_sensor_that_cannot_fetch_it_is_deferred_again_for_the_time_that_is_left(
    server, context, clock: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_compat, "scheduler_knows_resumed_tasks", lambda: True)
    token = server.create_token()[0]
    server.complete_token(token.id, "yes")
    server.fail_next(None, 503)
    made = sensor(token, deferrable=True, timeout=600)
    clock.sleep(100)
    arguments, deferral = deferred(made, lambda: made.execute_complete(context, event()))
    assert arguments["begun_at"] == START
    assert timedelta(seconds=495) < deferral.timeout < timedelta(seconds=500)
    assert len(server.requests) > 1, "it has tried for retry_for"


@pytest.mark.parametrize("is_final", [True, False])
def test_a_resumed_sensor_says_why_it_got_no_answer(is_final: bool, context) -> None:
    with pytest.raises(AirflowException, match=r"^why$") as raised:
        sensor("waitpoint_1").execute_complete(context, event("why", is_final=is_final))
    assert isinstance(raised.value, AirflowFailException) is is_final


def test_where_it_fails_softly_the_log_says_why_it_is_skipped(context, log) -> None:
    resume = {"event": event("why", is_final=True)}
    with pytest.raises(AirflowSkipException):
        sensor("waitpoint_1", soft_fail=True).resume_execution("execute_complete", resume, context)
    assert log.of("warning") == ["Skipped in place of failed: why"]


@pytest.mark.parametrize("given", [None, {}, "done", {"error": ""}])
def test_what_is_not_an_event_of_its_trigger_is_an_error(given: Any, context) -> None:
    with pytest.raises(AirflowException, match="the trigger's event is not valid; do all workers"):
        sensor("waitpoint_1").execute_complete(context, given)
