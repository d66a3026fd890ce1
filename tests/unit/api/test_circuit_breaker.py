from __future__ import annotations

import math

import pytest

from airflow_provider_trigger.api.circuit_breaker import CircuitBreaker
from airflow_provider_trigger.api.errors import TransportError

LOST = TransportError("connection lost")


def fail(breaker: CircuitBreaker, *sent_at: float, is_permanent: bool = False) -> CircuitBreaker:
    for at in sent_at:
        breaker.failed(LOST, is_permanent=is_permanent, sent_at=at)
    return breaker


def succeeded(breaker: CircuitBreaker, *, at: float) -> CircuitBreaker:
    breaker.succeeded(monotonic=at)
    return breaker


@pytest.mark.parametrize(("failures", "is_open"), [(0, False), (9, False), (10, True), (11, True)])
def test_it_opens_after_ten_failures_in_a_row(failures: int, is_open: bool) -> None:
    breaker = CircuitBreaker()
    breaker.sent(monotonic=100.0)
    for number in range(failures):
        breaker.failed(TransportError(f"failure {number}"), is_permanent=False, sent_at=100.0)
    assert breaker.is_open is is_open
    assert not breaker.has_worked
    assert breaker.delay(monotonic=100.0) == (1.0 if is_open else 0.0)
    assert breaker.has_failed_too_long(5, monotonic=200.0) is is_open
    assert str(breaker.last_error) == (f"failure {failures - 1}" if failures else "None")


def test_one_answer_closes_it_and_starts_the_count_again() -> None:
    breaker = succeeded(fail(CircuitBreaker(), *[100.0] * 30), at=101.0)
    assert not breaker.is_open
    assert breaker.delay(monotonic=101.0) == 0
    assert (breaker.has_worked, breaker.last_error) == (True, None)
    assert not breaker.has_failed_too_long(0, monotonic=1e9)
    assert not fail(breaker, *[102.0] * 9).is_open
    assert fail(breaker, 102.0).is_open


# Since when it fails: since the first request of the failures was sent, but after the last answer.
FAILING_SINCE = {
    "the first one": (fail(CircuitBreaker(), *[100.0] * 10), 100.0),
    "the one that was sent first": (fail(CircuitBreaker(), 103.0, 101.0, *[104.0] * 8), 101.0),
    "an answer that came after those were sent": (
        fail(succeeded(CircuitBreaker(), at=110.0), *[100.0] * 10),
        110.0,
    ),
    "after an answer the time starts again": (
        fail(succeeded(fail(CircuitBreaker(), *[100.0] * 10), at=110.0), *[120.0] * 10),
        120.0,
    ),
    "a server that has worked and fails for good": (
        fail(succeeded(CircuitBreaker(), at=99.0), *[100.0] * 10, is_permanent=True),
        100.0,
    ),
    "one failure of them may pass": (
        fail(fail(CircuitBreaker(), 100.0), *[100.0] * 9, is_permanent=True),
        100.0,
    ),
    "the last failure of them may pass": (
        fail(fail(CircuitBreaker(), *[100.0] * 9, is_permanent=True), 100.0),
        100.0,
    ),
}


@pytest.mark.parametrize("case", FAILING_SINCE)
def test_the_server_has_failed_too_long_when_the_failures_have_lasted(case: str) -> None:
    breaker, since = FAILING_SINCE[case]
    assert not breaker.has_failed_too_long(5, monotonic=since + 4.9)
    assert breaker.has_failed_too_long(5, monotonic=since + 5)
    assert not breaker.has_failed_too_long(math.inf, monotonic=1e12)
    assert not breaker.is_permanent
