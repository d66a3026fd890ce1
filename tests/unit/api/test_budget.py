from __future__ import annotations

import math
import threading
from typing import Any

import pytest

from airflow_provider_trigger.api.budget import Budget
from airflow_provider_trigger.api.errors import NotSentError


def test_without_a_limit_there_is_always_time() -> None:
    budget = Budget()
    assert budget.remaining() == math.inf
    budget.check()


def test_time_passes(clock: Any) -> None:
    budget = Budget(seconds=10)
    clock.now += 4
    assert budget.remaining() == 6
    budget.check()


def test_a_budget_that_is_used_up_says_so(clock: Any) -> None:
    budget = Budget(seconds=2.5)
    clock.now += 99
    assert budget.remaining() == 0
    assert not budget.stopped
    with pytest.raises(NotSentError, match=r"the time limit of 2\.5 s was reached") as raised:
        budget.check()
    assert raised.value.retryable


def test_a_budget_of_nothing_is_used_up_from_the_start() -> None:
    with pytest.raises(NotSentError, match="the time limit of 0 s"):
        Budget(seconds=0).check()


@pytest.mark.parametrize("seconds", [None, 10])
def test_what_was_stopped_has_no_time_left(seconds: float | None) -> None:
    budget = Budget(seconds=seconds)
    budget.stop()
    assert budget.stopped
    assert budget.remaining() == 0
    with pytest.raises(NotSentError, match="the work was stopped") as raised:
        budget.check()
    assert raised.value.retryable


def test_a_stop_in_the_midst_of_a_check_is_told_as_a_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    budget = Budget()
    looks = iter([False])
    monkeypatch.setattr(budget._stopped, "is_set", lambda: next(looks, True))
    budget.check()  # the stop came a moment later
    with pytest.raises(NotSentError, match="the work was stopped"):
        budget.check()


def test_a_sleep_takes_as_long_as_it_is_told(clock: Any) -> None:
    Budget(seconds=10).sleep(3)
    assert clock.slept == [3]


def test_a_sleep_ends_with_the_time(clock: Any) -> None:
    with pytest.raises(NotSentError, match="the time limit of 2 s"):
        Budget(seconds=2).sleep(3)
    assert clock.slept == [2]


def test_a_stop_wakes_whoever_sleeps() -> None:
    budget = Budget()
    threading.Timer(0.01, budget.stop).start()
    with pytest.raises(NotSentError, match="the work was stopped"):
        budget.sleep(60)
