"""Start a run, or many, several requests at a time; on the local server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests as client_library
from waiting import until

from airflow_provider_trigger.api.errors import (
    AuthenticationError,
    ResponseError,
    ServerError,
    TransportError,
    TriggerDevError,
    UnexpectedAnswerError,
)
from airflow_provider_trigger.run.drive import StoppedError
from airflow_provider_trigger.run.guard import Guard
from airflow_provider_trigger.run.request import TaskRequest
from airflow_provider_trigger.run.starts import Starts, start_run
from airflow_provider_trigger.testing import TriggerDevServer

POST = "POST /api/v2/tasks/batch"
TRIGGER = "/trigger"
KEY = "k0"
MAY_EXIST = (
    ". The request is not repeated, as it has no idempotency key, and a run may exist: look for it in the "
    "dashboard before you start another one"
)


def one_request(key: str | None = KEY, payload: Any = None) -> TaskRequest:
    options = {} if key is None else {"idempotencyKey": key}
    return TaskRequest(task_identifier="resize", payload=payload, options=options)


def requests(count: int) -> dict[int, TaskRequest]:
    return {index: one_request(f"k{index}", index) for index in range(count)}


def add(server: TriggerDevServer, status: str = "EXECUTING", **fields: Any) -> Any:
    return server.add_run(status, task_identifier="resize", idempotency_key=KEY, **fields)


@pytest.fixture
def start_one(client, clock, log):
    return lambda given=None: start_run(client, given or one_request(), log=log, sleep=clock.sleep)


@pytest.fixture
def guard(client, batch_time, log_stop) -> Iterator[Guard]:
    made = Guard(client, at_once=4, cancels=True, time_limit=4.0, log_stop=log_stop)
    yield made
    made.threads.close()


@pytest.fixture
def pushed() -> list[list[str | None]]:
    return []


@pytest.fixture
def start(client, guard: Guard, log, pushed) -> Callable[[dict[int, TaskRequest]], list[Any]]:
    made = Starts(client, guard, log=log, on_ids=lambda: pushed.append(list(guard.run_ids)))

    def act(todo: dict[int, TaskRequest]) -> list[Any]:
        guard.run_ids = guard.run_ids or [None] * len(todo)
        made.start(todo)
        return guard.run_ids

    return act


# A key that has a run


def test_a_run_that_is_alive_is_taken_up(server, start_one, log) -> None:
    run = add(server, "DELAYED")
    started = start_one()
    assert (started.run_id, started.run.status) == (run.id, "DELAYED")
    assert len(server.runs) == 1
    assert log.lines == [f"Run {run.id} was started before and is DELAYED: no new one is started"]


def test_a_canceled_run_whose_worker_still_executes_is_waited_for(
    server, start_one, network, clock, log
) -> None:
    run = add(server, "EXECUTING")
    run.cancel()
    begun = clock.now
    resets: list[bool] = []
    network.before = lambda sent: resets.append(run.terminated) if sent.endswith("/reset") else None
    started = start_one()
    assert started.run is None
    assert started.run_id != run.id
    assert resets == [True]  # never before its worker has stopped
    assert clock.now - begun == 10
    assert server.runs[started.run_id].idempotency_key == KEY
    assert log.lines == [
        f"Run {run.id} is CANCELED; waiting until its worker has stopped",
        f"Run {run.id} is CANCELED: a new one is started in its place",
    ]


def test_where_no_answer_has_a_date_a_canceled_run_is_waited_for_by_the_local_clock(
    server, start_one, network, clock, answer
) -> None:
    run = add(server, "WAITING", started=True)
    run.cancel()
    clock.sleep(3600)
    shown = {"id": run.id, "status": "CANCELED", "startedAt": "2026-01-01T06:00:00.000Z"}
    network.fault(f"GET /api/v3/runs/{run.id}", answer(200, shown), times=1000)
    begun = clock.now
    assert start_one().run_id != run.id
    assert 75 <= clock.now - begun <= 80


@pytest.mark.parametrize("status", ["QUEUED", "EXPIRED"])
def test_a_run_that_was_canceled_before_its_start_is_replaced_at_once(
    server, start_one, clock, status: str
) -> None:
    run = add(server, status)
    run.cancel()
    started = start_one()
    assert started.run_id != run.id
    assert clock.now == 1000
    assert len(server.runs) == 2


def test_a_run_that_ends_between_trigger_and_check_is_replaced(server, start_one, network) -> None:
    run = add(server, "EXECUTING")

    def end(sent: str) -> None:
        if sent.startswith("GET") and run.status == "EXECUTING":
            run.status = "FAILED"

    network.before = end
    started = start_one()
    assert started.run_id != run.id
    assert server.runs[started.run_id].idempotency_key == KEY


def test_a_reset_that_someone_else_was_faster_with_is_none_the_worse(server, start_one, network) -> None:
    run = add(server, "QUEUED")
    run.cancel()

    def reset_first(sent: str) -> None:
        if sent.endswith("/reset"):
            server.reset_key(KEY, "resize")

    network.before = reset_first
    assert start_one().run_id != run.id


def test_a_key_that_someone_else_has_used_again_is_not_taken_from_the_new_run(
    server, start_one, network
) -> None:
    run = add(server, "QUEUED")
    run.cancel()
    others: list[Any] = []

    def start_another(sent: str) -> None:
        if sent.startswith("GET") and not others:
            server.reset_key(KEY, "resize")
            others.append(add(server, "EXECUTING"))

    network.before = start_another
    assert start_one().run_id == others[0].id
    assert not network.sent("/reset")
    assert (others[0].idempotency_key, len(server.runs)) == (KEY, 2)


def test_where_someone_cancels_every_run_it_is_an_error_after_five(server, start_one, network) -> None:
    add(server, "QUEUED").cancel()

    def cancel_all(sent: str) -> None:
        if sent.endswith("/trigger"):
            server.keys.release(server.environment, "resize", KEY)
            add(server, "QUEUED").cancel()

    network.before = cancel_all
    with pytest.raises(TriggerDevError) as raised:
        start_one()
    assert len(network.sent("/trigger")) == 5
    assert str(raised.value) == (
        "Trigger.dev task 'resize': 5 runs in a row were canceled right after their start: find out who "
        "cancels them"
    )


# A lost answer


@pytest.mark.parametrize("kind", [TransportError, ServerError, UnexpectedAnswerError])
def test_without_a_key_a_lost_answer_says_that_a_run_may_exist(
    server, start_one, network, answer, lost, kind
) -> None:
    replies = {
        TransportError: lost,
        ServerError: answer(502, "bad gateway"),
        UnexpectedAnswerError: answer(200, b"<html>"),
    }
    network.fault("/trigger", replies[kind], arrives=True)
    with pytest.raises(kind) as raised:
        start_one(one_request(None))
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
        start_one(one_request(None))
    assert "may exist" not in str(raised.value)
    assert raised.value.may_have_effect is False


@pytest.mark.parametrize(("is_connected", "says_so"), [(True, True), (False, False)])
def test_with_a_key_a_lost_answer_says_who_gets_the_run(
    start_one, network, lost, is_connected: bool, says_so: bool
) -> None:
    network.fault("/trigger", lost if is_connected else client_library.ConnectTimeout(), times=1000)
    with pytest.raises(TransportError) as raised:
        start_one()
    who = "a retry, or another request with its idempotency key, gets that run and starts no other one"
    assert str(raised.value).endswith(f". A run may exist: {who}") is says_so
    assert raised.value.may_have_effect is False  # so the task's retries apply


# Many


def test_each_item_gets_its_run(start, server, network, pushed) -> None:
    run_ids = start(requests(45))
    assert [server.runs[run_id].payload for run_id in run_ids] == list(range(45))
    assert len(network.sent(POST)) == 3
    # After each request; the last two end in any order.
    known = [sum(one is not None for one in ids) for ids in pushed]
    assert known in ([20, 40, 45], [20, 25, 45])
    assert pushed[0][20:] == [None] * 25


def test_the_first_request_goes_alone(start, network) -> None:
    start(requests(100))
    first = network.requests.index(POST)
    assert network.requests[first + 1].startswith("GET /api/v2/batches/")


def test_after_it_four_are_in_flight_at_a_time(start, server, network) -> None:
    waiting, counts = [], []

    def wait_for_the_others(request: str) -> None:
        if request.startswith(POST) and server.runs:
            waiting.append(request)
            counts.append(len(waiting))
            until(lambda: max(counts) >= 4, "four are in flight")
            waiting.remove(request)

    network.before = wait_for_the_others
    assert None not in start(requests(20 * 6))
    assert (len(counts), max(counts)) == (5, 4)


def test_a_server_without_batches_gets_each_item_alone(start, server, network, log) -> None:
    server.batch = False
    run_ids = list(start(requests(25)))
    assert [server.runs[run_id].payload for run_id in run_ids] == list(range(25))
    assert (len(network.sent(POST)), len(network.sent(TRIGGER))) == (1, 25)
    assert log.of("info") == ["The server has no call for batches: each run is started by itself"]
    again = start(requests(25))
    assert (again, len(network.sent(POST)), len(network.sent(TRIGGER))) == (run_ids, 1, 50)


def test_an_item_alone_whose_run_was_canceled_starts_anew_once_its_worker_has_stopped(
    start, server, clock
) -> None:
    server.batch = False
    canceled = add(server)
    canceled.cancel()
    begun = clock.now
    assert start(requests(1)) not in ([None], [canceled.id])
    assert 10 <= clock.now - begun < 14  # the worker acknowledges after 10 s


def test_an_error_names_the_items(start, network, answer, guard: Guard) -> None:
    network.fault(POST, answer(422, {"error": "Not in region X."}))
    with pytest.raises(ResponseError, match=r"^items 0 to 2 of the batch: POST .* 422: Not in region X$"):
        start(requests(3))
    assert [sending.is_done for sending in guard.sendings] == [True]


def test_where_the_answer_is_lost_for_good_the_error_says_who_gets_the_runs(start, network, lost) -> None:
    network.fault(POST, lost, times=1000)
    with pytest.raises(TransportError, match=r"^item 0 of the batch: .* may exist: a retry gets them, and "):
        start(requests(1))


def test_the_error_of_a_single_start_says_so_itself(start, server, network, lost) -> None:
    server.batch = False
    network.fault(TRIGGER, lost, times=1000)
    with pytest.raises(TransportError, match=r"^item 0 of the batch: POST ") as raised:
        start(requests(1))
    assert str(raised.value).count("may exist") == 1


def test_of_a_single_start_that_fails_after_it_was_accepted_the_run_is_known(
    start, server, network, answer, guard: Guard
) -> None:
    server.batch = False
    run = add(server)
    network.fault("GET /api/v3/runs/", answer(403, {"error": "No"}))
    with pytest.raises(ResponseError, match=r"403: No$"):
        start(requests(1))
    assert (guard.collect_ids(), guard.known_ids) == ([], [run.id])


def test_any_other_error_is_raised_as_it_is(start, client, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(client, "call", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        start(requests(1))


# A task that was stopped


def test_a_task_that_was_stopped_sends_nothing(start, guard: Guard, network) -> None:
    guard.is_stopped = True
    with pytest.raises(StoppedError):
        start(requests(3))
    assert network.requests == []


@pytest.mark.parametrize("has_batches", [True, False])
def test_stopped_meanwhile_it_sends_nothing_more(
    has_batches: bool, start, guard: Guard, server, network
) -> None:
    server.batch = has_batches

    def stop(request: str) -> None:
        guard.is_stopped = guard.is_stopped or request.startswith(POST) or TRIGGER in request

    network.before = stop
    with pytest.raises(StoppedError):
        start(requests(100))
    assert len([one for one in network.requests if one.startswith("POST")]) == 1


def test_stopped_meanwhile_a_single_start_is_not_repeated_and_may_have_a_run(
    start, guard: Guard, server, network, lost
) -> None:
    server.batch = False
    network.fault(TRIGGER, lost, times=1000)

    def stop(request: str) -> None:
        guard.is_stopped = TRIGGER in request

    network.before = stop
    with pytest.raises(StoppedError):
        start(requests(1))
    sending = guard.sendings[-1]
    until(lambda: sending.is_done, "the request is done")
    assert len(network.sent(TRIGGER)) == 1
    assert sending.is_unanswered


def test_a_stop_does_not_wait_for_the_requests_in_flight(
    start, guard: Guard, network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_trigger.run.starts._CHECK_INTERVAL", 0.001)
    may_continue, has_waited_longer = threading.Event(), []

    def hold_back(request: str) -> None:
        if request.startswith(POST):
            threading.Timer(0.01, setattr, (guard, "is_stopped", True)).start()
            has_waited_longer.append(not may_continue.wait(timeout=60))

    network.before = hold_back
    with pytest.raises(StoppedError):
        start(requests(3))
    may_continue.set()
    until(lambda: guard.sendings[0].is_done, "the request is done")
    assert has_waited_longer == [False]
