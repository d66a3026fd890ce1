"""One request that starts runs: what it has, and until when the ids of its runs are not known."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_trigger.api.deadline import Deadline
from airflow_provider_trigger.api.errors import ResponseError, TransportError, TriggerDevError
from airflow_provider_trigger.api.http import encode_json
from airflow_provider_trigger.run.drive import StoppedError
from airflow_provider_trigger.run.guard import Guard
from airflow_provider_trigger.run.request import TaskRequest
from airflow_provider_trigger.run.sending import (
    Part,
    Sending,
    divide,
    find_by_key,
    send_batch,
    send_one,
)

POST, GET = "POST /api/v2/tasks/batch", "GET /api/v2/batches/"


@pytest.fixture
def guard(client, virtual_time, log_stop, monkeypatch: pytest.MonkeyPatch) -> Guard:
    monkeypatch.setattr("airflow_provider_trigger.run.sending.time", virtual_time)
    return Guard(client, at_once=4, cancels=True, time_limit=4.0, log_stop=log_stop)


def new_sending(count: int = 3) -> Sending:
    [part] = divide(
        {
            index: TaskRequest(
                task_identifier="resize", payload=index, options={"idempotencyKey": f"k{index}"}
            )
            for index in range(count)
        }
    )
    return Sending(part=part)


@pytest.fixture
def send(client, guard: Guard) -> Callable[..., Sending]:
    def act(*, is_first: bool = False) -> Sending:
        sending = new_sending()
        send_batch(sending, client, guard, is_first=is_first)
        return sending

    return act


def test_ids_that_are_not_shown_yet_are_waited_for(send, network, answer, clock) -> None:
    body = {"id": "batch_1", "status": "PENDING", "runCount": 3, "runs": ["run_1"]}
    network.fault(GET, answer(404, {"error": "Not found"}, {"x-should-retry": "true"}), times=4)
    network.fault(POST, answer(202, {"id": "batch_1"}))
    network.fault(GET, answer(200, body), times=2)
    network.fault(GET, answer(200, body | {"runs": ["run_1", "run_2", "run_3"]}))
    assert send().run_ids == ("run_1", "run_2", "run_3")
    assert len(network.sent(POST)) == 1
    assert clock.now < 1010


@pytest.mark.parametrize("status", [404, 503])
def test_a_check_for_them_that_fails_is_soon_followed_by_the_next(
    status: int, send, network, answer, clock
) -> None:
    network.fault(GET, answer(status, {"error": "Not found"}))
    assert send().run_ids
    assert (clock.now - 1000, len(network.sent(GET))) == (pytest.approx(0.1), 2)


def test_a_check_for_them_without_an_answer_leaves_time_for_another(
    send, network, client, clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    reply_to = client.send

    def hang(step: Any) -> Any:
        reply = reply_to(step)
        if step.request.method == "POST":
            return reply
        clock.sleep(step.timeout)
        return TransportError("no answer")

    monkeypatch.setattr(client, "send", hang)
    with pytest.raises(TriggerDevError, match="did not show the ids of their runs"):
        send()
    assert len(network.sent(POST)) == 1
    assert 120 <= clock.now - 1000 <= 126
    assert len(network.sent(GET)) >= 20


def test_a_wait_for_the_rate_limit_takes_nothing_of_their_time(send, network, answer, clock) -> None:
    reset = str(int(clock.time() + 15))
    empty = {"x-ratelimit-limit": "100", "x-ratelimit-remaining": "0", "x-ratelimit-reset": reset}
    network.fault(POST, answer(202, {"id": "batch_1"}, empty))
    body = {"id": "batch_1", "status": "PENDING", "runCount": 3, "runs": []}
    network.fault(GET, answer(200, body))
    network.fault(GET, answer(200, body | {"runs": ["run_1", "run_2", "run_3"]}))
    assert send().run_ids == ("run_1", "run_2", "run_3")
    assert len(network.sent(POST)) == 1
    assert clock.now > 1010


def test_where_not_all_are_ever_shown_the_request_is_repeated_and_then_an_error(
    send, server, network, answer, clock
) -> None:
    body = {"id": "batch_1", "status": "PENDING", "runCount": 3, "runs": ["run_1"]}
    network.fault(POST, answer(202, {"id": "batch_1"}), times=3, arrives=True)
    network.fault(GET, answer(200, body), times=1000)
    with pytest.raises(TriggerDevError, match="did not show the ids of their runs within 10 s") as raised:
        send()
    assert raised.value.retryable
    assert (len(network.sent(POST)), len(server.runs)) == (3, 3)
    assert clock.now == pytest.approx(1030)


def test_a_server_that_has_accepted_them_knows_the_call(client, guard, network, answer) -> None:
    sending = new_sending()
    network.fault(POST, answer(202, {"id": "batch_1"}))
    body = {"id": "batch_1", "status": "PENDING", "runCount": 3, "runs": []}
    network.fault(GET, answer(200, body), times=1000)
    network.fault(POST, answer(404, {"error": "No"}), times=1000)
    with pytest.raises(ResponseError, match="404") as raised:
        send_batch(sending, client, guard, is_first=True)
    sending.error = raised.value
    assert (sending.is_unknown, sending.is_unanswered) == (False, True)


def test_a_rejected_check_for_the_ids_is_an_error_after_which_runs_may_exist(
    client, guard, network, answer
) -> None:
    sending = new_sending()
    network.fault(GET, answer(403, {"error": "No"}), times=1000)
    with pytest.raises(ResponseError, match="403") as raised:
        send_batch(sending, client, guard, is_first=False)
    sending.error = raised.value
    assert (sending.was_accepted, sending.is_unanswered) == (True, True)


# The first request


@pytest.mark.parametrize(("status", "body"), [(404, b"<html>"), (405, {"error": "Method"}), (404, {})])
def test_a_server_without_the_call_is_known_by_the_first_request(
    status: int, body: Any, send, network, answer
) -> None:
    network.fault(POST, answer(status, body))
    sending = send(is_first=True)
    assert (sending.is_unknown, sending.is_unanswered, len(network.requests)) == (True, False, 1)


@pytest.mark.parametrize("status", [403, 404])
@pytest.mark.parametrize("is_first", [True, False])
def test_a_request_that_is_rejected_after_a_lost_answer_may_have_started_runs(
    is_first: bool, status: int, client, guard, server, network, answer, lost
) -> None:
    sending = new_sending()
    network.fault(POST, lost, arrives=True)
    network.fault(POST, answer(status, {"error": "No"}))
    with pytest.raises(ResponseError, match=str(status)) as raised:
        send_batch(sending, client, guard, is_first=is_first)
    sending.error = raised.value
    assert (sending.is_unanswered, len(server.runs)) == (True, 3)


# A task that was stopped


def test_before_the_request_nothing_is_sent(client, guard: Guard, network) -> None:
    sending = new_sending()
    guard.is_stopped = True
    with pytest.raises(StoppedError):
        send_batch(sending, client, guard, is_first=False)
    assert (network.requests, sending.was_sent, sending.is_unanswered) == ([], False, False)


@pytest.mark.parametrize("is_first", [True, False])
def test_a_request_that_failed_is_not_repeated(is_first: bool, client, guard: Guard, network, lost) -> None:
    sending = new_sending()
    network.fault(POST, lost, times=1000)
    network.before = lambda request: setattr(guard, "is_stopped", True)
    with pytest.raises(StoppedError):
        send_batch(sending, client, guard, is_first=is_first)
    assert len(network.requests) == 1
    assert sending.is_unanswered


def test_ids_are_waited_for_all_the_same(client, guard: Guard, network) -> None:
    sending = new_sending()
    network.before = lambda request: setattr(guard, "is_stopped", True)
    send_batch(sending, client, guard, is_first=False)
    assert len(sending.run_ids or ()) == 3


# How items are divided into requests


def of_sizes(*sizes: int) -> dict[int, TaskRequest]:
    return {
        index: TaskRequest(task_identifier="t", payload="x" * size, options={})
        for index, size in enumerate(sizes)
    }


def indexes(*sizes: int) -> list[tuple[int, ...]]:
    return [part.indexes for part in divide(of_sizes(*sizes))]


def test_a_request_has_20_items_and_500_kb_at_most() -> None:
    assert indexes() == []
    assert indexes(*[1] * 20) == [tuple(range(20))]
    assert indexes(*[1] * 41) == [tuple(range(20)), tuple(range(20, 40)), (40,)]
    assert indexes(200_000, 200_000, 200_000, 1) == [(0, 1), (2, 3)]


def of_size(*sizes: int) -> list[Part]:
    """Divide items of so many bytes of JSON, each with the comma after it."""
    [empty] = divide(of_sizes(0))
    return list(divide(of_sizes(*(size - len(encode_json(empty.items[0])) - 1 for size in sizes))))


@pytest.mark.parametrize(
    ("sizes", "divided"),
    [
        ([250_000, 250_000], [(0, 1)]),
        ([250_000, 250_001], [(0,), (1,)]),
        ([250_000] * 4, [(0, 1), (2, 3)]),
    ],
)
def test_a_request_is_filled_to_its_last_byte(sizes: list[int], divided: list[tuple[int, ...]]) -> None:
    assert [part.indexes for part in of_size(*sizes)] == divided


@pytest.mark.parametrize(("size", "is_alone"), [(500_000, False), (500_001, True)])
def test_an_item_of_a_whole_request_is_not_too_large_yet(size: int, is_alone: bool) -> None:
    [part] = of_size(size)
    assert part.is_alone == is_alone


@given(st.lists(st.sampled_from([0, 10, 30_000, 240_000, 499_900, 600_000]), max_size=60))
def test_each_item_is_in_one_part(sizes: list[int]) -> None:
    parts = list(divide(of_sizes(*sizes)))
    assert sorted(index for part in parts for index in part.indexes) == list(range(len(sizes)))
    for part in parts:
        assert len(part.items) == len(part.indexes) <= 20
        size = len(encode_json({"items": part.items}))
        assert part.is_alone == (size > 500_100)
        assert not part.is_alone or len(part.items) == 1


def test_a_part_is_named_by_its_items() -> None:
    [part] = divide(of_sizes(1, 1, 1))
    assert str(part) == "items 0 to 2"
    assert str(Part(indexes=(7,), requests=(next(iter(of_sizes(1).values())),))) == "item 7"
    assert part.items[0] == {"task": "t", "payload": "x", "options": {}}
    [without] = divide({0: TaskRequest(task_identifier="t", payload=None, options={})})
    assert without.items == [{"task": "t", "options": {}}]


# A single run


def single(**fields: Any) -> TaskRequest:
    options = {"idempotencyKey": "k"}
    return TaskRequest(**{"task_identifier": "resize", "payload": None, "options": options} | fields)


def test_without_a_payload_none_is_sent(connect, answer) -> None:
    client, wire = connect(answer(200, {"id": "run_1", "isCached": False}))
    send_one(client, single())
    send_one(client, single(payload=0))
    bodies = [json.loads(sent.body) for sent in wire.sent]
    assert [body.get("payload", "none") for body in bodies] == ["none", 0]


def test_a_run_whose_id_is_not_known_is_found_by_its_key(server, client) -> None:
    run = server.add_run("EXECUTING", task_identifier="resize", idempotency_key="k")
    assert find_by_key(client, single(), deadline=Deadline()) == run.id


def test_where_the_request_did_not_arrive_a_run_is_made_that_does_not_begin_before_its_cancel(
    server, client, clock
) -> None:
    run_id = find_by_key(client, single(payload={"n": 1}), deadline=Deadline())
    clock.sleep(60)
    [run] = server.runs.values()
    assert (run.id, run.status, run.payload) == (run_id, "DELAYED", {"n": 1})
    run.cancel()
    # The request that was late finds the canceled run, so that no other one begins.
    assert server.trigger("resize", options={"idempotencyKey": "k"}) == (run, True)
