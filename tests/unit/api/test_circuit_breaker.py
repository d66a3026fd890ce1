from __future__ import annotations

import math

import pytest

from airflow_provider_trigger.api.circuit_breaker import FAILURES_TO_OPEN, PROBE_INTERVAL, CircuitBreaker
from airflow_provider_trigger.api.errors import TransportError

LOST = TransportError("connection lost")


def breaker_after(failures: int, *, at: float = 100.0, is_permanent: bool = False) -> CircuitBreaker:
    breaker = CircuitBreaker()
    for number in range(failures):
        breaker.sent(monotonic=at)
        breaker.failed(TransportError(f"failure {number}"), is_permanent=is_permanent, sent_at=at)
    return breaker


def test_its_limits() -> None:
    assert (FAILURES_TO_OPEN, PROBE_INTERVAL) == (10, 1.0)


def test_a_new_one_holds_nothing_up_and_knows_nothing() -> None:
    breaker = CircuitBreaker()
    assert not breaker.is_open
    assert not breaker.has_worked
    assert breaker.last_error is None
    assert breaker.delay(monotonic=0.0) == 0
    assert not breaker.has_failed_too_long(0, monotonic=1e9)


@pytest.mark.parametrize(("failures", "is_open"), [(9, False), (10, True), (11, True)])
def test_it_opens_after_ten_failures_in_a_row(failures: int, is_open: bool) -> None:
    breaker = breaker_after(failures)
    assert breaker.is_open is is_open
    assert breaker.delay(monotonic=100.0) == (1.0 if is_open else 0.0)
    assert breaker.has_failed_too_long(5, monotonic=200.0) is is_open


def test_it_does_not_wait_for_a_request_that_was_never_sent() -> None:
    breaker = CircuitBreaker()
    for _ in range(10):
        breaker.failed(LOST, is_permanent=False, sent_at=100.0)
    assert breaker.delay(monotonic=100.0) == 0


def test_while_open_one_request_goes_out_each_second() -> None:
    breaker = breaker_after(10)
    assert breaker.delay(monotonic=100.25) == 0.75
    assert breaker.delay(monotonic=101.0) == 0
    assert breaker.delay(monotonic=150.0) == 0
    breaker.sent(monotonic=150.0)
    assert breaker.delay(monotonic=150.0) == 1


def test_one_answer_closes_it() -> None:
    breaker = breaker_after(30)
    breaker.succeeded(monotonic=101.0)
    assert not breaker.is_open
    assert breaker.delay(monotonic=101.0) == 0
    assert (breaker.has_worked, breaker.last_error) == (True, None)
    assert not breaker.has_failed_too_long(0, monotonic=1e9)


def test_an_answer_between_failures_starts_the_count_again() -> None:
    breaker = breaker_after(9)
    breaker.succeeded(monotonic=101.0)
    for _ in range(9):
        breaker.failed(LOST, is_permanent=False, sent_at=102.0)
    assert not breaker.is_open
    breaker.failed(LOST, is_permanent=False, sent_at=102.0)
    assert breaker.is_open


def test_the_last_error_is_kept() -> None:
    assert str(breaker_after(3).last_error) == "failure 2"


@pytest.mark.parametrize(("monotonic", "failed_too_long"), [(104.9, False), (105.0, True), (105.1, True)])
def test_the_server_has_failed_too_long_when_the_failures_have_lasted(
    monotonic: float, failed_too_long: bool
) -> None:
    assert breaker_after(10).has_failed_too_long(5, monotonic=monotonic) is failed_too_long


def test_without_a_limit_it_has_never_failed_too_long() -> None:
    assert not breaker_after(10).has_failed_too_long(math.inf, monotonic=1e12)


def test_the_failures_have_lasted_since_the_first_request_of_them_was_sent() -> None:
    breaker = CircuitBreaker()
    for sent_at in (103.0, 101.0, *[104.0] * 8):
        breaker.failed(LOST, is_permanent=False, sent_at=sent_at)
    assert not breaker.has_failed_too_long(5, monotonic=105.9)
    assert breaker.has_failed_too_long(5, monotonic=106.0)


def test_they_have_not_lasted_since_before_the_last_answer() -> None:
    """A request that hangs is sent before another one's answer, and fails after it."""
    breaker = CircuitBreaker()
    breaker.succeeded(monotonic=110.0)
    for _ in range(10):
        breaker.failed(LOST, is_permanent=False, sent_at=100.0)
    assert not breaker.has_failed_too_long(5, monotonic=114.9)
    assert breaker.has_failed_too_long(5, monotonic=115.0)


def test_after_an_answer_the_time_starts_again() -> None:
    breaker = breaker_after(10, at=100.0)
    breaker.succeeded(monotonic=110.0)
    for _ in range(10):
        breaker.failed(LOST, is_permanent=False, sent_at=120.0)
    assert not breaker.has_failed_too_long(5, monotonic=124.9)
    assert breaker.has_failed_too_long(5, monotonic=125.0)


def test_a_server_that_never_worked_and_fails_for_good_has_failed_too_long_at_once() -> None:
    assert not breaker_after(9, is_permanent=True).has_failed_too_long(math.inf, monotonic=100.0)
    assert breaker_after(10, is_permanent=True).has_failed_too_long(math.inf, monotonic=100.0)
    assert not breaker_after(9, is_permanent=True).is_permanent
    assert breaker_after(10, is_permanent=True).is_permanent
    assert not breaker_after(10, is_permanent=False).is_permanent


@pytest.mark.parametrize("position", [0, 5, 9])
def test_one_failure_that_may_pass_is_a_reason_to_go_on(position: int) -> None:
    breaker = CircuitBreaker()
    for number in range(10):
        breaker.failed(LOST, is_permanent=number != position, sent_at=100.0)
    assert not breaker.has_failed_too_long(5, monotonic=100.0)
    assert breaker.has_failed_too_long(5, monotonic=105.0)


def test_a_server_that_has_worked_has_not_failed_too_long_at_once() -> None:
    breaker = CircuitBreaker()
    breaker.succeeded(monotonic=99.0)
    for _ in range(10):
        breaker.failed(LOST, is_permanent=True, sent_at=100.0)
    assert not breaker.has_failed_too_long(5, monotonic=104.9)
    assert breaker.has_failed_too_long(5, monotonic=105.0)
