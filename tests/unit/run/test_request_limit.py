"""How many requests may be made in a minute."""

from __future__ import annotations

import random

from airflow_provider_trigger.run.request_limit import RequestLimit


def test_no_minute_has_more_requests_than_allowed() -> None:
    chance, limit, now = random.Random(1), RequestLimit(most=28, others=4), 0.0
    made: list[tuple[float, bool]] = []
    while now < 3000:
        now += chance.choice([0.01, 0.5, 2.6])
        urgent = chance.random() < 0.5
        if limit.next_at(urgent=urgent) <= now:
            limit.made(now, urgent=urgent)
            made.append((now, urgent))
    for begin, _ in made:
        minute = [urgent for at, urgent in made if begin <= at < begin + 60]
        assert len(minute) <= 28
        assert minute.count(False) <= 4
    assert len(made) > 28 * 45


def test_polls_do_not_wait_for_others() -> None:
    limit = RequestLimit(most=28, others=4)
    for _ in range(4):
        limit.made(5.0, urgent=False)
    assert limit.next_at(urgent=False) == 65.0
    assert limit.next_at(urgent=True) <= 5.0
