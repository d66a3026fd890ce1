"""Start the items of a batch, several requests at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from waiting import until

from airflow_provider_trigger.api.errors import ResponseError, TransportError
from airflow_provider_trigger.run.batch.start import BatchStart
from airflow_provider_trigger.run.drive import StoppedError
from airflow_provider_trigger.run.guard import Guard
from airflow_provider_trigger.run.request import TaskRequest

POST = "POST /api/v2/tasks/batch"
TRIGGER = "/trigger"


def requests(count: int, payload: Any = None) -> dict[int, TaskRequest]:
    return {
        index: TaskRequest(
            task_identifier="resize",
            payload=index if payload is None else payload,
            options={"idempotencyKey": f"k{index}"},
        )
        for index in range(count)
    }


@pytest.fixture
def guard(client, batch_time, tell) -> Iterator[Guard]:
    made = Guard(client, at_once=4, cancels=True, time_limit=4.0, tell=tell)
    yield made
    made.threads.close()


@pytest.fixture
def pushed() -> list[list[str | None]]:
    return []


@pytest.fixture
def start(client, guard: Guard, log, pushed) -> Callable[[dict[int, TaskRequest]], list[Any]]:
    made = BatchStart(client, guard, log=log, on_ids=lambda: pushed.append(list(guard.run_ids)))

    def act(todo: dict[int, TaskRequest]) -> list[Any]:
        guard.run_ids = guard.run_ids or [None] * len(todo)
        made.start(todo)
        return guard.run_ids

    return act


def test_each_item_gets_its_run(start, server, network, pushed) -> None:
    run_ids = start(requests(45))
    assert [server.runs[run_id].payload for run_id in run_ids] == list(range(45))
    assert len(network.sent(POST)) == 3
    # After each request; the last two end in any order.
    known = [sum(one is not None for one in ids) for ids in pushed]
    assert known in ([20, 40, 45], [20, 25, 45])
    assert pushed[0][20:] == [None] * 25


def test_nothing_to_start_is_nothing_to_send(start, network) -> None:
    assert start({}) == []
    assert network.requests == []


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


def test_a_second_start_repeats_what_is_given(start, server, guard: Guard) -> None:
    run_ids = list(start(requests(3)))
    server.runs[run_ids[1]].status = "FAILED"
    again = start({1: requests(3)[1]})
    assert again[0] == run_ids[0]
    assert again[1] not in run_ids
    assert guard.run_ids is again


def test_a_server_without_batches_gets_each_item_alone(start, server, network, log) -> None:
    server.batch = False
    run_ids = list(start(requests(25)))
    assert [server.runs[run_id].payload for run_id in run_ids] == list(range(25))
    assert (len(network.sent(POST)), len(network.sent(TRIGGER))) == (1, 25)
    assert log.of("info") == ["The server has no call for batches: each run is started by itself"]
    again = start(requests(25))
    assert (again, len(network.sent(POST)), len(network.sent(TRIGGER))) == (run_ids, 1, 50)


def test_an_item_alone_gets_the_run_that_its_key_has(start, server, log) -> None:
    server.batch = False
    run = server.add_run("EXECUTING", task_identifier="resize", idempotency_key="k0")
    assert start(requests(1)) == [run.id]
    line = f"Run {run.id} was started before and is EXECUTING: no new one is started"
    assert log.of("info")[-1] == line


def test_an_item_alone_whose_run_was_canceled_starts_anew_once_its_worker_has_stopped(
    start, server, clock
) -> None:
    server.batch = False
    canceled = server.add_run("EXECUTING", task_identifier="resize", idempotency_key="k0")
    canceled.cancel()
    begun = clock.now
    assert start(requests(1)) not in ([None], [canceled.id])
    assert 10 <= clock.now - begun < 14  # the worker acknowledges after 10 s


def test_so_does_an_item_that_is_too_large(start, server, network) -> None:
    todo = requests(1, "x" * 500_000) | {1: requests(2)[1]}
    run_ids = start(todo)
    assert [server.runs[run_id].options["idempotencyKey"] for run_id in run_ids] == ["k0", "k1"]
    assert (len(network.sent(POST)), len(network.sent(TRIGGER))) == (1, 1)


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
    run = server.add_run("EXECUTING", task_identifier="resize", idempotency_key="k0")
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
    monkeypatch.setattr("airflow_provider_trigger.run.batch.start._CHECK_INTERVAL", 0.001)
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
