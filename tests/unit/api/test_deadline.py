from __future__ import annotations

import math

import pytest

from airflow_provider_trigger.api.limits import NEVER, Deadline


def test_without_a_limit_there_is_always_time() -> None:
    assert Deadline() == NEVER == Deadline.after(None, now=5.0)
    assert NEVER.remaining(1e12) == math.inf


@pytest.mark.parametrize(("now", "remaining"), [(100.0, 10.0), (104.0, 6.0), (110.0, 0.0), (199.0, 0.0)])
def test_the_time_left_shrinks_to_nothing(now: float, remaining: float) -> None:
    assert Deadline.after(10, now=100.0).remaining(now) == remaining


def test_the_first_part_is_a_share_of_what_is_left() -> None:
    deadline = Deadline.after(10, now=100.0)
    assert deadline.before(0.25, now=102.0) == Deadline(104.0)
    assert deadline.before(1, now=102.0) == deadline
    assert deadline.before(0.5, now=150.0) == Deadline(150.0)
    assert Deadline.after(0, now=100.0).remaining(100.0) == 0
    assert NEVER.before(0, now=100.0) == NEVER
