"""Start the items of a batch, several requests at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from airflow_provider_trigger.api.errors import ResponseError, TransportError
from airflow_provider_trigger.run.batch.guard import BatchGuard
from airflow_provider_trigger.run.batch.start import BatchStart
from airflow_provider_trigger.run.drive import StoppedError
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
def guard(client, batch_time, log) -> Iterator[BatchGuard]:
    made = BatchGuard(client, cancels=True, time_limit=4.0, log=log)
    yield made
    made.threads.close()


@pytest.fixture
def pushed() -> list[list[str | None]]:
    return []


@pytest.fixture
def start(client, guard: BatchGuard, log, pushed) -> Callable[[dict[int, TaskRequest]], list[Any]]:
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


def test_a_second_start_repeats_what_is_given(start, server, guard: BatchGuard) -> None:
    run_ids = list(start(requests(3)))
    server.runs[run_ids[1]].status = "FAILED"
    again = start({1: requests(3)[1]})
    assert again[0] == run_ids[0]
    assert again[1] not in run_ids
    assert guard.run_ids is again


def test_a_server_without_batches_gets_each_item_alone(start, server, network, log) -> None:
    server.batch = False
    run_ids = start(requests(25))
    assert [server.runs[run_id].payload for run_id in run_ids] == list(range(25))
    assert (len(network.sent(POST)), len(network.sent(TRIGGER))) == (1, 25)
    assert log.of("info") == ["The server has no call for batches: each run is started by itself"]


def test_so_does_an_item_that_is_too_large(start, server, network) -> None:
    todo = requests(1, "x" * 500_000) | {1: requests(2)[1]}
    run_ids = start(todo)
    assert [server.runs[run_id].options["idempotencyKey"] for run_id in run_ids] == ["k0", "k1"]
    assert (len(network.sent(POST)), len(network.sent(TRIGGER))) == (1, 1)


def test_an_error_names_the_items(start, network, answer, guard: BatchGuard) -> None:
    network.fault(POST, answer(422, {"error": "No."}))
    with pytest.raises(ResponseError, match=r"^items 0 to 2 of the batch: POST .* answered 422: No$"):
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


def test_any_other_error_is_raised_as_it_is(start, client, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(client, "call", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        start(requests(1))


# A task that was stopped


def test_a_task_that_was_stopped_sends_nothing(start, guard: BatchGuard, network) -> None:
    guard.is_stopped = True
    with pytest.raises(StoppedError):
        start(requests(3))
    assert network.requests == []


@pytest.mark.parametrize("has_batches", [True, False])
def test_stopped_meanwhile_it_sends_nothing_more(
    has_batches: bool, start, guard: BatchGuard, server, network
) -> None:
    server.batch = has_batches

    def stop(request: str) -> None:
        guard.is_stopped = guard.is_stopped or request.startswith(POST) or TRIGGER in request

    network.before = stop
    with pytest.raises(StoppedError):
        start(requests(100))
    assert len([one for one in network.requests if one.startswith("POST")]) == 1
