from __future__ import annotations

import math
from typing import Any

import pytest

from airflow_provider_trigger.api.errors import TransportError
from airflow_provider_trigger.api.limits import CircuitBreaker


def fail(times: int, *, at: float = 100.0, **options: Any) -> CircuitBreaker:
    """Return a breaker after so many failures in a row."""
    breaker = CircuitBreaker()
    add_failures(breaker, times, at=at, **options)
    return breaker


def add_failures(breaker: CircuitBreaker, times: int, *, at: float, is_permanent: bool = False) -> None:
    for number in range(times):
        breaker.failed(TransportError(f"failure {number}"), is_permanent=is_permanent, monotonic=at)


@pytest.mark.parametrize(("failures", "is_open"), [(0, False), (9, False), (10, True), (11, True)])
def test_it_opens_after_ten_failures_in_a_row(failures: int, is_open: bool) -> None:
    breaker = fail(failures)
    breaker.sent(monotonic=100.0)
    assert breaker.is_open is is_open
    assert not breaker.has_worked
    assert breaker.delay(monotonic=100.0) == (1.0 if is_open else 0.0)
    assert breaker.has_failed_too_long(5, monotonic=200.0) is is_open
    assert str(breaker.last_error) == (f"failure {failures - 1}" if failures else "None")


def test_one_answer_closes_it_and_starts_the_count_and_the_time_again() -> None:
    breaker = fail(30)
    breaker.succeeded()
    assert not breaker.is_open
    assert breaker.delay(monotonic=101.0) == 0
    assert (breaker.has_worked, breaker.last_error) == (True, None)
    assert not breaker.has_failed_too_long(0, monotonic=1e9)
    add_failures(breaker, 9, at=102.0, is_permanent=True)
    assert not breaker.is_open
    add_failures(breaker, 1, at=104.0, is_permanent=True)
    assert breaker.is_open
    check_since(breaker, 102.0)


def test_it_is_permanent_only_if_no_failure_of_a_server_that_never_worked_may_pass() -> None:
    assert fail(10, is_permanent=True).has_failed_too_long(math.inf, monotonic=100.0)
    breaker = fail(9, is_permanent=True)
    add_failures(breaker, 1, at=101.0)
    check_since(breaker, 100.0)


def check_since(breaker: CircuitBreaker, since: float) -> None:
    """Check since when it fails; not permanently."""
    assert not breaker.has_failed_too_long(5, monotonic=since + 4.9)
    assert breaker.has_failed_too_long(5, monotonic=since + 5)
    assert not breaker.has_failed_too_long(math.inf, monotonic=1e12)
    assert not breaker.is_permanent
