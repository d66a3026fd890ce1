"""Start a run, or many, several requests at a time; on the local server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import requests as client_library

from airflow_provider_trigger.api.errors import (
    AuthenticationError,
    ResponseError,
    ServerError,
    TransportError,
    TriggerDevError,
    UnexpectedAnswerError,
)
from airflow_provider_trigger.run.guard import Guard
from airflow_provider_trigger.run.starts import Starts
from airflow_provider_trigger.run.stop import StoppedError
from airflow_provider_trigger.testing import TriggerDevServer

POST, TRIGGER = "POST /api/v2/tasks/batch", "/trigger"
MAY_EXIST = (
    ". The request is not repeated, as it has no idempotency key, and a run may exist: look for it in the "
    "dashboard before you start another one"
)


def add(server: TriggerDevServer, status: str = "EXECUTING", **fields: Any) -> Any:
    return server.add_run(status, task_identifier="resize", idempotency_key="k0", **fields)


@pytest.fixture
def start(client, guard: Guard, log, batch_time, request_for) -> Callable[[int], list[Any]]:
    """Start so many items; return the ids of their runs."""

    def act(count: int) -> list[Any]:
        guard.run_ids = guard.run_ids or [None] * count
        items = [request_for(f"k{index}", index) for index in range(count)]
        Starts(client, guard, log=log).start(items)
        return guard.run_ids

    return act


@pytest.fixture
def start_one(client, guard: Guard, log, clock, request_for) -> Callable[..., Any]:
    """Start a run; return its id, and how it was seen."""
    guard.sleep = clock.sleep  # type: ignore[method-assign]

    def act(key: str | None = "k0") -> tuple[Any, Any]:
        guard.run_ids = [None]
        seen = Starts(client, guard, log=log).start([request_for(key)])
        return guard.run_ids[0], seen.get(str(guard.run_ids[0]))

    return act


# A key that has a run


def test_a_canceled_run_whose_worker_still_executes_is_waited_for(
    server, start_one, network, clock, log
) -> None:
    run = add(server, "EXECUTING")
    run.cancel()
    resets: list[Any] = []
    network.before = lambda sent: resets.append(run.terminated) if "/reset" in sent else None
    run_id, seen = start_one()
    assert seen is None
    assert run_id != run.id
    assert resets == [True]  # never before its worker has stopped
    assert clock.now - 1000 == 10
    assert server.runs[run_id].idempotency_key == "k0"
    assert log.lines == [
        f"Run {run.id} is CANCELED; waiting until its worker has stopped",
        f"Run {run.id} is CANCELED: a new one is started in its place",
    ]


def test_a_run_that_ended_before_its_check_or_never_had_a_worker_is_replaced_at_once(
    server, start_one, network, clock
) -> None:
    run = add(server, "QUEUED")
    run.cancel()
    assert start_one()[0] not in (None, run.id)
    [_, second] = server.runs.values()
    network.before = lambda sent: setattr(second, "status", "FAILED") if sent.startswith("GET") else None
    third = server.runs[start_one()[0]]
    assert (third.idempotency_key, len(server.runs), clock.now) == ("k0", 3, 1000)


def test_a_key_that_someone_else_has_used_again_is_not_taken_from_the_new_run(
    server, start_one, network
) -> None:
    run = add(server, "QUEUED")
    run.cancel()
    others: list[Any] = []

    def start_another(sent: str) -> None:
        if sent.startswith("GET") and not others:
            server.reset_key("k0", "resize")
            others.append(add(server, "EXECUTING"))

    network.before = start_another
    assert start_one()[0] == others[0].id
    assert not network.sent("/reset")
    assert (others[0].idempotency_key, len(server.runs)) == ("k0", 2)


def test_where_someone_cancels_every_run_it_is_an_error_after_five(server, start_one, network) -> None:
    add(server, "QUEUED").cancel()

    def cancel_all(sent: str) -> None:
        if sent.endswith("/trigger"):
            server.keys.release(server.environment, "resize", "k0")
            add(server, "QUEUED").cancel()

    network.before = cancel_all
    text = "^5 times in a row runs were canceled right after their start "
    with pytest.raises(TriggerDevError, match=text):
        start_one()
    assert len(network.sent("/trigger")) == 5


# A lost answer


@pytest.mark.parametrize(
    ("reply", "kind"), [("lost", TransportError), (502, ServerError), (200, UnexpectedAnswerError)]
)
def test_without_a_key_a_lost_answer_says_that_a_run_may_exist(
    server, start_one, network, answer, lost, reply: Any, kind
) -> None:
    network.fault("/trigger", lost if reply == "lost" else answer(reply, b"<html>"), arrives=True)
    with pytest.raises(kind) as raised:
        start_one(None)
    assert str(raised.value).startswith("POST /api/v1/tasks/resize/trigger ")
    assert str(raised.value).endswith(MAY_EXIST)
    assert raised.value.may_have_effect is True
    assert len(network.requests) == len(server.runs) == 1


@pytest.mark.parametrize(("status", "kind"), [(401, AuthenticationError), (400, ResponseError)])
def test_without_a_key_a_rejected_request_has_made_no_run(
    start_one, network, answer, status: int, kind
) -> None:
    network.fault("/trigger", answer(status, {"error": "No"}), times=2)
    with pytest.raises(kind) as raised:
        start_one(None)
    assert "may exist" not in str(raised.value)
    assert raised.value.may_have_effect is False


@pytest.mark.parametrize("is_connected", [True, False])
def test_with_a_key_a_lost_answer_says_who_gets_the_run(start_one, network, lost, is_connected: bool) -> None:
    network.fault("/trigger", lost if is_connected else client_library.ConnectTimeout(), times=1000)
    with pytest.raises(TransportError) as raised:
        start_one()
    who = "a retry, or another request with its idempotency key, gets that run and starts no other one"
    assert str(raised.value).endswith(f". A run may exist: {who}") is is_connected
    assert raised.value.may_have_effect is False  # so the task's retries apply


# Many


def test_each_item_gets_its_run_and_the_ids_are_known_after_each_request(
    start, server, network, guard: Guard
) -> None:
    known: list[int] = []
    network.before = lambda request: known.append(len(guard.known_ids))
    run_ids = start(85)
    assert [server.runs[run_id].payload for run_id in run_ids] == list(range(85))
    assert len(network.sent(POST)) == 5
    assert known[-1] >= 20  # the fifth begins as the first of the others has ended


@pytest.mark.parametrize(
    ("count", "start_of_error", "who"),
    [
        (1, "POST ", "a retry, or another request with "),
        (2, "items 0 to 1 of the batch: POST ", "a retry gets them, and "),
        (21, "item 20 of the batch: POST ", "a retry, or another request with "),
    ],
)
def test_where_the_answer_is_lost_for_good_the_error_says_once_who_gets_the_runs(
    start, network, lost, count: int, start_of_error: str, who: str
) -> None:
    network.fault(POST if count == 2 else TRIGGER, lost, times=1000)
    with pytest.raises(TransportError, match=f"^{start_of_error}.* may exist: {who}") as raised:
        start(count)
    assert str(raised.value).count("may exist") == 1


def test_an_error_names_the_items(start, network, answer, guard: Guard) -> None:
    network.fault(POST, answer(422, {"error": "Not in region X."}))
    with pytest.raises(ResponseError, match=r"^items 0 to 2 of the batch: POST .* 422: Not in region X$"):
        start(3)
    assert not any(one.is_unanswered for one in guard.sendings), "no run may exist"


def test_stopped_meanwhile_it_sends_nothing_more(start, stops, network) -> None:
    network.before = lambda request: stops.append(1.0)
    for _ in range(2):
        with pytest.raises(StoppedError):
            start(100)
    assert 1 <= len(network.sent("POST")) <= 4
