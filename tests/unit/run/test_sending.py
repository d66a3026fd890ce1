"""One request that starts runs: what it has, and until when the ids of its runs are not known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_trigger.api.errors import ResponseError, TransportError, TriggerDevError
from airflow_provider_trigger.api.http import encode_json
from airflow_provider_trigger.run.drive import StoppedError
from airflow_provider_trigger.run.guard import Guard
from airflow_provider_trigger.run.request import TaskRequest
from airflow_provider_trigger.run.sending import Part, Sending, divide, send_batch

POST, GET = "POST /api/v2/tasks/batch", "GET /api/v2/batches/"
RUN_IDS = ("run_1", "run_2", "run_3")


@pytest.fixture
def sending(request_for) -> Sending:
    [part] = divide({index: request_for(f"k{index}", index) for index in range(3)})
    return Sending(part=part)


@pytest.fixture
def send(
    sending: Sending, client, guard: Guard, clock, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """Start three items; return the error with which that ends, None for none."""
    monkeypatch.setattr("airflow_provider_trigger.run.sending.time", clock)

    def act(*, is_first: bool = False) -> BaseException | None:
        try:
            send_batch(sending, client, guard, is_first=is_first)
        except (TriggerDevError, StoppedError) as error:
            sending.error = error
        return sending.error

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


def test_a_check_for_them_without_an_answer_leaves_time_for_another(
    send, network, client, clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    reply_to = client.send

    def hang(step: Any) -> Any:
        if step.request.method == "POST":
            return reply_to(step)
        network.requests.append(GET)
        clock.sleep(step.timeout)
        return TransportError("no answer")

    monkeypatch.setattr(client, "send", hang)
    assert "did not show the ids of their runs" in str(send())
    assert (len(network.sent(POST)), len(network.sent(GET)) >= 20) == (1, True)
    assert 120 <= clock.now - 1000 <= 126


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


def test_where_not_all_are_ever_shown_the_request_is_repeated_and_then_an_error(
    send, shows, server, network, answer, clock
) -> None:
    network.fault(POST, answer(202, {"id": "batch_1"}), times=3, arrives=True)
    shows("run_1", times=1000)
    error = send()
    assert "did not show the ids of their runs within 10 s" in str(error)
    assert error.retryable
    assert (len(network.sent(POST)), len(server.runs)) == (3, 3)
    assert clock.now == pytest.approx(1030)


# Whether runs may exist


@pytest.mark.parametrize(("status", "body"), [(404, b"<html>"), (405, {"error": "Method"}), (404, {})])
def test_a_server_without_the_call_is_known_by_the_first_request(
    status: int, body: Any, send, sending, network, answer
) -> None:
    network.fault(POST, answer(status, body))
    assert send(is_first=True) is None
    assert (sending.is_unknown, sending.is_unanswered, len(network.requests)) == (True, False, 1)


def test_a_server_that_has_accepted_them_knows_the_call(send, sending, shows, network, answer) -> None:
    network.fault(POST, answer(202, {"id": "batch_1"}))
    network.fault(POST, answer(404, {"error": "No"}), times=1000)
    shows(times=1000)
    assert isinstance(send(is_first=True), ResponseError)
    assert (sending.is_unknown, sending.is_unanswered) == (False, True)


@pytest.mark.parametrize("status", [403, 404])
@pytest.mark.parametrize("is_first", [True, False])
def test_a_request_that_is_rejected_after_a_lost_answer_may_have_started_runs(
    is_first: bool, status: int, send, sending, server, network, answer, lost
) -> None:
    network.fault(POST, lost, arrives=True)
    network.fault(POST, answer(status, {"error": "No"}))
    assert isinstance(send(is_first=is_first), ResponseError)
    assert (sending.is_unanswered, len(server.runs)) == (True, 3)


# A task that was stopped


@pytest.mark.parametrize("is_first", [True, False])
def test_a_request_that_failed_is_not_repeated(
    is_first: bool, send, sending, guard: Guard, network, lost
) -> None:
    network.fault(POST, lost, times=1000)
    network.before = lambda request: setattr(guard, "is_stopped", True)
    assert isinstance(send(is_first=is_first), StoppedError)
    assert (len(network.requests), sending.is_unanswered) == (1, True)


def test_ids_are_waited_for_all_the_same(send, sending, guard: Guard, network) -> None:
    network.before = lambda request: setattr(guard, "is_stopped", True)
    assert send() is None
    assert len(sending.run_ids) == 3


# How items are divided into requests


def of_sizes(*sizes: int) -> list[Part]:
    """Divide items of so many bytes of JSON, each with the comma after it."""
    empty = len('{"task":"t","payload":"","options":{}},')
    return list(
        divide(
            {
                index: TaskRequest(task_identifier="t", payload="x" * (size - empty), options={})
                for index, size in enumerate(sizes)
            }
        )
    )


@pytest.mark.parametrize(
    ("sizes", "divided"),
    [
        ([], []),
        ([50] * 41, [tuple(range(20)), tuple(range(20, 40)), (40,)]),
        ([250_000, 250_000], [(0, 1)]),
        ([250_000, 250_001], [(0,), (1,)]),
        ([250_000] * 4, [(0, 1), (2, 3)]),
    ],
)
def test_a_request_has_20_items_and_500_kb_at_most(sizes: list[int], divided: list[tuple[int, ...]]) -> None:
    assert [part.indexes for part in of_sizes(*sizes)] == divided


@pytest.mark.parametrize(("size", "is_alone"), [(500_000, False), (500_001, True)])
def test_an_item_of_a_whole_request_is_not_too_large_yet(size: int, is_alone: bool) -> None:
    [part] = of_sizes(size)
    assert part.is_alone == is_alone


@given(st.lists(st.sampled_from([50, 60, 30_000, 240_000, 499_900, 600_000]), max_size=60))
def test_each_item_is_in_one_part(sizes: list[int]) -> None:
    parts = of_sizes(*sizes)
    assert sorted(index for part in parts for index in part.indexes) == list(range(len(sizes)))
    for part in parts:
        assert len(part.items) == len(part.indexes) <= 20
        size = len(encode_json({"items": part.items}))
        assert part.is_alone == (size > 500_100)
        assert not part.is_alone or len(part.items) == 1
