"""Start a run, take up an earlier one, or put a new one in the place of a dead one; on the local server."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
import requests

from airflow_provider_trigger.api.deadline import Deadline
from airflow_provider_trigger.api.errors import (
    AuthenticationError,
    ResponseError,
    ServerError,
    TransportError,
    TriggerDevError,
    UnexpectedAnswerError,
)
from airflow_provider_trigger.run.identity import DagRunIdentity, RunKey, TaskInstanceIdentity
from airflow_provider_trigger.run.request import TaskRequest
from airflow_provider_trigger.run.start import find_by_key, replay, start_run
from airflow_provider_trigger.run.start_again import start_run_of
from airflow_provider_trigger.testing import TriggerDevServer

DAG_RUN = DagRunIdentity(dag_id="d", run_id="r", start_date=datetime(2026, 11, 1, tzinfo=UTC))
IDENTITY = TaskInstanceIdentity(dag_run=DAG_RUN, task_id="t")
RUN_KEY = RunKey(task_instance=IDENTITY, operator_id="t", max_tries=1, retries=0, try_number=2)
KEY = str(RUN_KEY)
MAY_EXIST = (
    ". The request is not repeated, as it has no idempotency key, and a run may exist: look for it in the "
    "dashboard before you start another one"
)


def request(key: str | None = KEY, payload: Any = None, **options: Any) -> TaskRequest:
    if key is not None:
        options["idempotencyKey"] = key
    return TaskRequest(task_identifier="resize", payload=payload, options=options)


@pytest.fixture
def start(client, clock, log):
    return lambda given=None: start_run(client, given or request(), log=log, sleep=clock.sleep)


def add(server: TriggerDevServer, status: str, *, key: str = KEY, tags: Any = None, **fields: Any) -> Any:
    tags = IDENTITY.tags if tags is None else tags
    return server.add_run(status, task_identifier="resize", idempotency_key=key, tags=tags, **fields)


# A new run


def test_without_a_payload_none_is_sent(connect, answer, log) -> None:
    client, wire = connect(answer(200, {"id": "run_1", "isCached": False}))
    start_run(client, request(), log=log)
    start_run(client, request(payload=0), log=log)
    bodies = [json.loads(sent.body) for sent in wire.sent]
    assert [body.get("payload", "none") for body in bodies] == ["none", 0]


# A key that has a run


@pytest.mark.parametrize("status", ["QUEUED", "DELAYED", "PENDING_VERSION", "EXECUTING", "WAITING"])
def test_a_run_that_is_alive_is_taken_up(server, start, log, status: str) -> None:
    run = add(server, status)
    started = start()
    assert (started.run_id, started.run.status) == (run.id, status)
    assert len(server.runs) == 1
    assert log.lines == [f"Run {run.id} was started before and is {status}: no new one is started"]


@pytest.mark.parametrize("status", ["FAILED", "CRASHED", "TIMED_OUT", "SYSTEM_FAILURE", "EXPIRED"])
def test_a_dead_run_frees_its_key_itself(server, start, network, status: str) -> None:
    run = add(server, status)
    started = start()
    assert started.run is None
    assert started.run_id != run.id
    assert not network.sent("/reset")


def test_a_canceled_run_whose_worker_still_executes_is_waited_for(server, start, network, clock, log) -> None:
    run = add(server, "EXECUTING")
    run.cancel()
    begun = clock.now
    resets: list[bool] = []
    network.before = lambda sent: resets.append(run.terminated) if sent.endswith("/reset") else None
    started = start()
    assert started.run is None
    assert started.run_id != run.id
    assert resets == [True]  # never before its worker has stopped
    assert clock.now - begun == 10
    assert server.runs[started.run_id].idempotency_key == KEY
    assert log.lines == [
        f"Run {run.id} is CANCELED; waiting until its worker has stopped",
        f"Run {run.id} is CANCELED: a new one is started in its place",
    ]


def test_a_worker_that_never_acknowledges_holds_a_new_run_up_until_the_server_has_forced_it(
    server, start, clock
) -> None:
    run = add(server, "EXECUTING", acknowledge_after=None)
    run.cancel()
    begun = clock.now
    assert start().run_id != run.id
    assert 60 <= clock.now - begun <= 62


def test_where_no_answer_has_a_date_a_canceled_run_is_waited_for_by_the_local_clock(
    server, start, network, clock, answer
) -> None:
    run = add(server, "WAITING", started=True)
    run.cancel()
    clock.sleep(3600)
    shown = {"id": run.id, "status": "CANCELED", "startedAt": "2026-01-01T06:00:00.000Z"}
    network.fault(f"GET /api/v3/runs/{run.id}", answer(200, shown), times=1000)
    begun = clock.now
    assert start().run_id != run.id
    assert 75 <= clock.now - begun <= 80


@pytest.mark.parametrize("status", ["QUEUED", "DELAYED", "PENDING_VERSION"])
def test_a_run_that_was_canceled_before_its_start_is_replaced_at_once(
    server, start, clock, status: str
) -> None:
    run = add(server, status)
    run.cancel()
    started = start()
    assert started.run_id != run.id
    assert clock.now == 1000
    assert len(server.runs) == 2


def test_an_expired_run_that_was_canceled_is_replaced(server, start) -> None:
    run = add(server, "EXPIRED")
    run.cancel()
    assert run.status == "CANCELED"
    assert start().run_id != run.id


def test_of_a_canceled_run_that_completes_after_all_the_output_counts(server, start, network, log) -> None:
    run = add(server, "EXECUTING", completes_despite_cancel=True)
    run.cancel()
    started = start()
    assert (started.run_id, started.run.status) == (run.id, "COMPLETED")
    assert len(server.runs) == 1
    assert not network.sent("/reset")
    assert log.lines[-1] == f"Run {run.id} was started before and is COMPLETED: no new one is started"


def test_a_run_that_ends_between_trigger_and_check_is_replaced(server, start, network) -> None:
    run = add(server, "EXECUTING")

    def end(sent: str) -> None:
        if sent.startswith("GET") and run.status == "EXECUTING":
            run.status = "FAILED"

    network.before = end
    started = start()
    assert started.run_id != run.id
    assert server.runs[started.run_id].idempotency_key == KEY


def test_a_reset_that_someone_else_was_faster_with_is_none_the_worse(server, start, network) -> None:
    run = add(server, "QUEUED")
    run.cancel()

    def reset_first(sent: str) -> None:
        if sent.endswith("/reset"):
            server.reset_key(KEY, "resize")

    network.before = reset_first
    assert start().run_id != run.id


def test_a_key_that_someone_else_has_used_again_is_not_taken_from_the_new_run(server, start, network) -> None:
    run = add(server, "QUEUED")
    run.cancel()
    others: list[Any] = []

    def start_another(sent: str) -> None:
        if sent.startswith("GET") and not others:
            server.reset_key(KEY, "resize")
            others.append(add(server, "EXECUTING"))

    network.before = start_another
    assert start().run_id == others[0].id
    assert not network.sent("/reset")
    assert (others[0].idempotency_key, len(server.runs)) == (KEY, 2)


def test_where_someone_cancels_every_run_it_is_an_error_after_five(server, start, network) -> None:
    add(server, "QUEUED").cancel()

    def cancel_all(sent: str) -> None:
        if sent.endswith("/trigger"):
            server.keys.release(server.environment, "resize", KEY)
            add(server, "QUEUED").cancel()

    network.before = cancel_all
    with pytest.raises(TriggerDevError) as raised:
        start()
    assert len(network.sent("/trigger")) == 5
    assert str(raised.value) == (
        "Trigger.dev task 'resize': 5 runs in a row were canceled right after their start: find out who "
        "cancels them"
    )


class StopError(Exception):
    """What the sleep of a task that was stopped raises."""


def is_stopped(_: float) -> None:
    raise StopError


@pytest.mark.parametrize(
    "start",
    [
        start_run,
        partial(start_run_of, RUN_KEY, cancels=True),
        partial(start_run_of, RUN_KEY, cancels=False),
    ],
)
def test_a_task_that_was_stopped_meanwhile_starts_no_other_run(server, client, network, log, start) -> None:
    add(server, "QUEUED").cancel()
    with pytest.raises(StopError):
        start(client, request(), log=log, sleep=is_stopped)
    assert not network.sent("/reset")
    assert len(server.runs) == 1


# A lost answer


@pytest.mark.parametrize("kind", [TransportError, ServerError, UnexpectedAnswerError])
def test_without_a_key_a_lost_answer_says_that_a_run_may_exist(
    server, start, network, answer, lost, kind
) -> None:
    replies = {
        TransportError: lost,
        ServerError: answer(502, "bad gateway"),
        UnexpectedAnswerError: answer(200, b"<html>"),
    }
    network.fault("/trigger", replies[kind], arrives=True)
    with pytest.raises(kind) as raised:
        start(request(None))
    assert str(raised.value).startswith("POST /api/v1/tasks/resize/trigger ")
    assert str(raised.value).endswith(MAY_EXIST)
    assert raised.value.may_have_effect is True
    assert len(network.requests) == len(server.runs) == 1


@pytest.mark.parametrize(("status", "kind"), [(401, AuthenticationError), (400, ResponseError)])
def test_without_a_key_a_rejected_request_has_made_no_run(start, network, answer, status: int, kind) -> None:
    network.fault("/trigger", answer(status, {"error": "No"}), times=2)
    with pytest.raises(kind) as raised:
        start(request(None))
    assert "may exist" not in str(raised.value)
    assert raised.value.may_have_effect is False


@pytest.mark.parametrize(("is_connected", "says_so"), [(True, True), (False, False)])
def test_with_a_key_a_lost_answer_says_who_gets_the_run(
    start, network, lost, is_connected: bool, says_so: bool
) -> None:
    network.fault("/trigger", lost if is_connected else requests.ConnectTimeout(), times=1000)
    with pytest.raises(TransportError) as raised:
        start()
    who = "a retry, or another request with its idempotency key, gets that run and starts no other one"
    assert str(raised.value).endswith(f". A run may exist: {who}") is says_so
    assert raised.value.may_have_effect is False  # so the task's retries apply


# Replays


def test_a_replay_of_an_unknown_run_is_an_error(client) -> None:
    with pytest.raises(ResponseError) as raised:
        replay(client, "run_x")
    assert raised.value.status == 404
    assert "may exist" not in str(raised.value)


# The run of a request whose answer has not come


def test_a_run_whose_id_is_not_known_is_found_by_its_key(server, client) -> None:
    run = add(server, "EXECUTING")
    assert find_by_key(client, request(), deadline=Deadline()) == run.id


def test_where_the_request_did_not_arrive_a_run_is_made_that_does_not_begin_before_its_cancel(
    server, client, clock
) -> None:
    run_id = find_by_key(client, request(payload={"n": 1}), deadline=Deadline())
    clock.sleep(60)
    [run] = server.runs.values()
    assert (run.id, run.status, run.payload) == (run_id, "DELAYED", {"n": 1})
    run.cancel()
    # The request that was late finds the canceled run, so that no other one begins.
    assert server.trigger("resize", options={"idempotencyKey": KEY}) == (run, True)
