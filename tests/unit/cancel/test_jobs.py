from __future__ import annotations

import math
from typing import Any

import pytest

from airflow_provider_trigger.cancel.jobs import Job, Jobs
from airflow_provider_trigger.cancel.record import Action, RunRecord

URGENT, LESS, LEAST = Action.CANCEL, Action.CHECK_BEFORE, Action.CHECK


def job(name: str, action: Action) -> Job:
    return Job(action, RunRecord(name))


def names(jobs: Jobs, now: float, *, count: int, before: float = math.inf) -> list[Any]:
    """Take so many jobs; return their runs."""
    taken = [jobs.take(now, before=before) for _ in range(count)]
    return [getattr(one.subject, "run_id", None) if one else None for one in taken]


@pytest.mark.parametrize(
    ("put", "taken"),
    [
        # The most urgent comes first, and of one urgency the one that was put first.
        ([("c", LESS, 0), ("a", URGENT, 0), ("d", LESS, 0), ("b", URGENT, 0)], "abcd"),
        # Once ready, it does not matter since when.
        ([("b", LESS, 20.0), ("c", LESS, 10.0), ("a", URGENT, 20.0), ("d", LESS, 0)], "abcd"),
        # What is not ready holds up nothing that is less urgent.
        ([("later", URGENT, 20.1), ("a", LEAST, 19.0)], "a"),
    ],
)
def test_urgency_and_order_decide_among_what_is_ready(
    put: list[tuple[str, Action, float]], taken: str
) -> None:
    jobs = Jobs()
    for name, action, at in put:
        jobs.put(job(name, action), at=at)
    assert names(jobs, 20.0, count=len(taken) + 1) == [*taken, None]


def test_the_next_time_is_the_earliest_of_what_is_not_ready() -> None:
    jobs = Jobs()
    assert jobs.next_at() == math.inf
    jobs.put(job("b", URGENT), at=20.0)
    jobs.put(job("a", LESS), at=10.0)
    assert (names(jobs, 9.9, count=1), jobs.next_at()) == ([None], 10.0)
    assert (names(jobs, 10.0, count=1), jobs.next_at()) == (["a"], 20.0)
    assert (names(jobs, 20.0, count=1), jobs.next_at()) == (["b"], math.inf)


def test_less_urgent_jobs_than_wanted_stay_and_one_can_precede_all() -> None:
    jobs = Jobs()
    jobs.put(job("b", URGENT))
    jobs.put(job("a", LEAST), is_first=True)
    assert names(jobs, 0.0, count=2, before=Action.BULK_CANCEL) == ["a", None]
    assert names(jobs, 0.0, count=1, before=LESS) == ["b"]
