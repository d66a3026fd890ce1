"""One request that starts runs: what it has, and until when the ids of its runs are not known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_trigger.api.errors import TriggerDevError
from airflow_provider_trigger.run.guard import Guard
from airflow_provider_trigger.run.request import TaskRequest
from airflow_provider_trigger.run.sending import Sending, divide, send_batch
from airflow_provider_trigger.run.stop import StoppedError

POST, GET = "POST /api/v2/tasks/batch", "GET /api/v2/batches/"
RUN_IDS = ("run_1", "run_2", "run_3")


@pytest.fixture
def sending(request_for) -> Sending:
    return Sending({index: request_for(f"k{index}", index) for index in range(3)})


@pytest.fixture
def send(
    sending: Sending, client, guard: Guard, clock, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """Start three items; return the error with which that ends, None for none."""
    monkeypatch.setattr("airflow_provider_trigger.run.sending.time", clock)

    def act() -> BaseException | None:
        try:
            send_batch(client, sending, sleep=guard.sleep)
        except (TriggerDevError, StoppedError) as error:
            return error
        return None

    return act


@pytest.fixture
def shows(network, answer) -> Callable[..., None]:
    """Answer the next checks for the ids of the runs with these ones."""

    def act(*run_ids: str, times: int = 1) -> None:
        body = {"id": "batch_1", "status": "PENDING", "runCount": 3, "runs": run_ids}
        network.fault(GET, answer(200, body), times=times)

    return act


def test_ids_that_are_not_shown_yet_are_waited_for(send, sending, shows, network, answer, clock) -> None:
    network.fault(POST, answer(202, {"id": "batch_1"}))
    network.fault(GET, answer(404, {"error": "Not found"}, {"x-should-retry": "true"}), times=4)
    network.fault(GET, answer(503, {"error": "Down"}))
    shows("run_1", times=2)
    shows(*RUN_IDS)
    assert send() is None
    assert (sending.run_ids, len(network.sent(POST)), len(network.sent(GET))) == (RUN_IDS, 1, 8)
    assert clock.now < 1010


def test_a_wait_for_the_rate_limit_takes_nothing_of_their_time(
    send, sending, shows, network, answer, clock
) -> None:
    reset = str(int(clock.time() + 15))
    empty = {"x-ratelimit-limit": "100", "x-ratelimit-remaining": "0", "x-ratelimit-reset": reset}
    network.fault(POST, answer(202, {"id": "batch_1"}, empty))
    shows()
    shows(*RUN_IDS)
    assert send() is None
    assert (sending.run_ids, len(network.sent(POST))) == (RUN_IDS, 1)
    assert clock.now > 1010


def test_where_not_all_are_ever_shown_it_is_an_error(send, sending, shows, server, network, answer) -> None:
    network.fault(POST, answer(202, {"id": "batch_1"}), arrives=True)
    shows("run_1", times=1000)
    error = send()
    assert "did not show the ids of their runs within 10 s" in str(error)
    assert error.retryable
    assert (len(network.sent(POST)), len(server.runs), sending.is_unanswered) == (1, 3, True)


# Whether runs may exist


@pytest.mark.parametrize("status", [404, 405])
def test_where_the_server_has_no_batches_the_error_says_so(
    status: int, send, sending, network, answer
) -> None:
    network.fault(POST, answer(status, {"error": "No"}))
    assert "The server may be too old to have batches: update it, or start each run by a " in str(send())
    assert not sending.is_unanswered


@pytest.mark.parametrize("status", [403, 404])
@pytest.mark.parametrize("arrives", [True, False])
def test_a_rejection_says_nothing_of_an_earlier_request_without_an_answer(
    arrives: bool, status: int, send, sending, network, answer, lost
) -> None:
    if arrives:
        network.fault(POST, lost, arrives=True)
    network.fault(POST, answer(status, {"error": "No"}))
    assert str(status) in str(send())
    assert sending.is_unanswered == arrives


def test_stopped_meanwhile_it_is_not_repeated(send, sending, stops, network, lost) -> None:
    network.fault(POST, lost, times=1000)
    network.before = lambda request: stops.append(1.0)
    assert isinstance(send(), StoppedError)
    assert (len(network.requests), sending.is_unanswered) == (1, True)


def test_stopped_meanwhile_its_ids_are_waited_for(send, sending, stops, network) -> None:
    network.before = lambda request: stops.append(1.0)
    assert send() is None
    assert len(sending.run_ids) == 3


# How items are divided into requests


@pytest.mark.parametrize(
    ("sizes", "divided"),
    [
        ([], []),
        ([50] * 41, [tuple(range(20)), tuple(range(20, 40)), (40,)]),
        ([250_000, 250_000], [(0, 1)]),
        ([250_000, 250_001], [(0,), (1,)]),
        ([250_000] * 4, [(0, 1), (2, 3)]),
        ([50, 600_000, 50, 50], [(0,), (1,), (2, 3)]),
    ],
)
def test_a_request_has_20_items_and_500_kb_at_most(sizes: list[int], divided: list[tuple[int, ...]]) -> None:
    empty = len('{"task":"t","payload":"","options":{}},')
    requests = {
        index: TaskRequest(task_identifier="t", payload="x" * (size - empty), options={})
        for index, size in enumerate(sizes)
    }
    assert [tuple(part) for part in divide(requests)] == divided
