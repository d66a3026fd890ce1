"""The policy of retries: each strategy is called with a state, and does no I/O."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
from tenacity import Retrying

from airflow_provider_trigger.api import errors
from airflow_provider_trigger.api.deadline import NEVER, Deadline
from airflow_provider_trigger.api.endpoints.runs import retrieve_run
from airflow_provider_trigger.api.failures import Failure
from airflow_provider_trigger.api.retry import CallState, stop, wait

GET = retrieve_run("run_1").request
LOST = errors.TransportError("lost")


def answered(status: int) -> errors.ResponseError:
    kinds = {401: errors.AuthenticationError, 403: errors.PermissionDeniedError}
    return kinds.get(status, errors.ServerError)(
        method="GET", path="/", status=status, detail="no", request_id=None, retryable=status >= 500
    )


def state(
    *failed: errors.TriggerDevError,
    elapsed: float = 0.0,
    sleep: float = 0.0,
    deadline: Deadline = NEVER,
    patience: float = math.inf,
    **said: Any,
) -> CallState:
    """Return the state of a call that began at 100 s, and whose tries ended so, ``elapsed`` seconds later."""
    made = CallState(Retrying(), now=100.0, deadline=deadline, patience=patience)
    for error in failed:
        if made.outcome is not None:
            made.prepare_for_next_attempt()
        made.failed(Failure(request=GET, error=error, **said), now=100.0 + elapsed)
    made.upcoming_sleep = sleep
    return made


# When to stop


@pytest.mark.parametrize(("status", "tries"), [(401, 2), (403, 1), (500, 6), (503, math.inf)])
def test_each_kind_of_failure_has_its_own_number_of_tries(status: int, tries: float) -> None:
    for count in range(1, 10):
        assert stop(state(*[answered(status)] * count)) is (count >= tries)


def test_the_tries_of_one_kind_are_not_used_up_by_another() -> None:
    before = [LOST, answered(500), answered(500), answered(503)] * 2
    assert not stop(state(*before, answered(401)))
    assert stop(state(*before, answered(401), LOST, answered(401)))
    assert not stop(state(*before, answered(500)))
    assert stop(state(*before, answered(500), answered(500)))


@pytest.mark.parametrize(("status", "tries"), [(401, 4), (403, 4), (500, 6)])
def test_advice_of_the_server_gives_at_least_four_tries(status: int, tries: int) -> None:
    assert not stop(state(*[answered(status)] * (tries - 1), should_retry=True))
    assert stop(state(*[answered(status)] * tries, should_retry=True))


@pytest.mark.parametrize(("sleep", "stops"), [(6.9, False), (7.0, True), (7.1, True)])
def test_no_try_comes_after_the_deadline(sleep: float, stops: bool) -> None:
    assert stop(state(LOST, elapsed=3, sleep=sleep, deadline=Deadline(110.0))) is stops
    assert not stop(state(LOST, elapsed=3, sleep=sleep))


@pytest.mark.parametrize(("sleep", "stops"), [(6.9, False), (7.0, False), (7.1, True)])
def test_no_try_comes_after_the_patience(sleep: float, stops: bool) -> None:
    assert stop(state(LOST, elapsed=3, sleep=sleep, patience=10)) is stops


def test_what_holds_a_call_up_uses_up_no_patience() -> None:
    held_up = state(LOST, elapsed=63, sleep=7, patience=10)
    assert stop(held_up)
    held_up.postpone(60)
    assert not stop(held_up)


def test_a_401_is_tried_once_more_whatever_the_patience_but_not_after_the_deadline() -> None:
    rejected = answered(401)
    assert stop(state(rejected, LOST, sleep=0.5, patience=0))
    assert not stop(state(rejected, sleep=0.5, patience=0))
    assert stop(state(rejected, rejected, sleep=0.5, patience=0))
    assert stop(state(rejected, sleep=0.5, deadline=Deadline(100.4)))
    assert stop(state(LOST, sleep=0.5, patience=0))


# How long to wait


@pytest.mark.parametrize(
    ("attempt", "longest"),
    [(1, 0.5), (2, 1), (3, 2), (4, 4), (5, 8), (6, 16), (7, 30), (8, 30), (99, 30), (10**6, 30)],
)
def test_waits_double_up_to_half_a_minute(
    attempt: int, longest: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = state(LOST)
    made.attempt_number = attempt
    for jitter in (0, 0.5, 1):
        uniform = lambda least, most, jitter=jitter: least + (most - least) * jitter  # noqa: E731
        monkeypatch.setattr("tenacity.wait.random", SimpleNamespace(uniform=uniform))
        assert wait(made) == longest * (0.5 + 0.5 * jitter)


@pytest.mark.parametrize("server_wait", [None, 0.2, 60.0])
def test_a_401_is_tried_again_within_a_second(server_wait: float | None) -> None:
    made = state(answered(401), server_wait=server_wait)
    made.attempt_number = 9
    assert wait(made) == (0.2 if server_wait == 0.2 else 1)


def test_the_time_that_the_server_gives_is_waited_one_of_our_own_is_a_third_of_what_is_left() -> None:
    assert wait(state(LOST, server_wait=17.0)) == 17
    assert wait(state(LOST, server_wait=17.0, deadline=Deadline(101.0))) == 17
    made = state(LOST, elapsed=1, deadline=Deadline(104.0))
    made.attempt_number = 9
    assert wait(made) == 1
