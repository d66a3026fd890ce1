"""Requests that the rate limit does not count, as to an object store: what their calls share with others."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest

from airflow_provider_trigger.api import errors
from airflow_provider_trigger.api.deadline import Deadline
from airflow_provider_trigger.api.endpoints.outputs import fetch_output
from airflow_provider_trigger.api.endpoints.realtime import snapshot_run
from airflow_provider_trigger.api.endpoints.runs import retrieve_run
from airflow_provider_trigger.api.exchange import Exchange, Reply, Send, Step, Wait
from airflow_provider_trigger.api.http import Call, Response
from airflow_provider_trigger.api.masking import Masking
from airflow_provider_trigger.api.rate_limit import RateLimit

KEY = "tr_prod_marker/of+the=test"
FETCH = fetch_output("https://store.test/packets/1.json?X-Amz-Signature=s")
SNAPSHOT = snapshot_run("run_1")
CHECK = retrieve_run("run_1")
NO_HEADERS: Mapping[str, str] = {}
LOST = errors.TransportError("lost")


def answer(
    status: int = 200, body: bytes = b'{"json": 1}', headers: Mapping[str, str] = NO_HEADERS
) -> Response:
    return Response(status=status, headers={"content-type": "application/super+json", **headers}, body=body)


@pytest.fixture
def exchange(clock) -> Exchange:
    return Exchange(
        masking=Masking(KEY),
        rate_limit=RateLimit(),
        timeout=30.0,
        retry_for=120.0,
        monotonic=clock.monotonic,
        wall=clock.time,
    )


@pytest.fixture
def make(exchange: Exchange, clock):
    """Make a call; each request gets the next of the replies, the last of them for ever; return the steps."""

    def make(call: Call[Any], *replies: Reply, **options: Any) -> tuple[Any, list[Step]]:
        queue, steps, reply = list(replies), exchange.steps(call, **options), None
        made: list[Step] = []
        while len(made) < 10_000:
            try:
                step = steps.send(reply)
            except StopIteration as end:
                return end.value, made
            except errors.TriggerDevError as error:
                return error, made
            made.append(step)
            if isinstance(step, Wait):
                clock.now += step.seconds
                reply = None
            else:
                reply = queue.pop(0) if len(queue) > 1 else queue[0]
        raise AssertionError("the steps do not end")

    return make


def requests(steps: list[Step]) -> int:
    return sum(isinstance(step, Send) for step in steps)


def test_an_output_is_fetched(make) -> None:
    value, steps = make(FETCH, answer())
    assert value == 1
    assert steps == [Send(FETCH.request, 30.0)]


def test_it_waits_for_no_turn_and_takes_none(make, clock) -> None:
    reset = str(round((clock.time() + 50) * 1000))
    used_up = {"x-ratelimit-limit": "100", "x-ratelimit-remaining": "0", "x-ratelimit-reset": reset}
    make(CHECK, answer(body=b'{"id": "run_1", "status": "QUEUED"}', headers=used_up))
    value, steps = make(FETCH, answer())
    assert (value, len(steps)) == (1, 1)
    _, steps = make(CHECK, answer(body=b'{"id": "run_1", "status": "QUEUED"}'))
    assert len(steps) > 100  # it had to wait for its own turn all the same


def test_its_answer_says_nothing_of_the_rate_limit(make, clock) -> None:
    reset = str(round((clock.time() + 50) * 1000))
    foreign = {"x-ratelimit-limit": "100", "x-ratelimit-remaining": "0", "x-ratelimit-reset": reset}
    make(FETCH, answer(headers=foreign))
    make(FETCH, answer(429), patience=0)
    _, steps = make(CHECK, answer(body=b'{"id": "run_1", "status": "QUEUED"}'))
    assert len(steps) == 1


def test_a_snapshot_says_nothing_of_the_rate_limit_and_does_not_wait_for_it(make, clock) -> None:
    # Other successes without these headers mean that there is no rate limit.
    reset = str(round((clock.time() + 50) * 1000))
    used_up = {"x-ratelimit-limit": "100", "x-ratelimit-remaining": "0", "x-ratelimit-reset": reset}
    make(CHECK, answer(body=b'{"id": "run_1", "status": "QUEUED"}', headers=used_up))
    row = b'[{"value": {"friendlyId": "run_1", "status": "EXECUTING"}}]'
    run, steps = make(SNAPSHOT, answer(body=row))
    assert (run.status, steps) == ("EXECUTING", [Send(SNAPSHOT.request, 30.0)])
    _, steps = make(CHECK, answer(body=b'{"id": "run_1", "status": "QUEUED"}'))
    assert len(steps) > 100


@pytest.mark.parametrize("reply", [LOST, answer(503), answer(body=b"<html>")])
@pytest.mark.parametrize("call", [FETCH, SNAPSHOT])
def test_its_failures_do_not_open_the_circuit_breaker(
    make, exchange: Exchange, call: Call[Any], reply: Reply
) -> None:
    for _ in range(20):
        make(call, reply, patience=0)
    assert not exchange.breaker.is_open
    assert exchange.breaker.last_error is None


def test_its_success_does_not_close_the_circuit_breaker(make, exchange: Exchange) -> None:
    for _ in range(10):
        make(CHECK, LOST, patience=0)
    assert exchange.breaker.is_open
    value, steps = make(FETCH, answer())
    assert (value, len(steps)) == (1, 1)
    assert exchange.breaker.is_open
    assert not exchange.breaker.has_worked


@pytest.mark.parametrize(
    ("reply", "sent"),
    [(answer(403), 1), (answer(404), 1), (answer(301), 1), (answer(500), 6), (answer(body=b"<html>"), 6)],
)
@pytest.mark.parametrize("has_worked", [False, True])
def test_how_often_it_is_sent_does_not_depend_on_trigger_dev(
    make, reply: Reply, sent: int, has_worked: bool
) -> None:
    if has_worked:
        make(CHECK, answer(body=b'{"id": "run_1", "status": "QUEUED"}'))
    error, steps = make(FETCH, reply, patience=math.inf)
    assert isinstance(error, errors.TriggerDevError)
    assert requests(steps) == sent


def test_a_lost_connection_and_a_busy_store_are_tried_again(make) -> None:
    value, steps = make(FETCH, LOST, answer(503), answer(429), LOST, answer())
    assert (value, requests(steps)) == (1, 5)


def test_its_deadline_counts(make, clock) -> None:
    error, steps = make(FETCH, LOST, deadline=Deadline(clock.now))
    assert (str(error), steps) == ("the time limit was reached", [])
    error, steps = make(FETCH, LOST, deadline=Deadline.after(12, now=clock.now), patience=0)
    assert (str(error), steps[0].timeout) == ("lost", 4.0)


def test_the_key_is_masked_in_its_answer(make) -> None:
    value, _ = make(FETCH, answer(body=b'{"json": "' + KEY.encode() + b'"}'))
    assert value == "***"
