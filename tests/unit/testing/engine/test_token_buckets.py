"""The token bucket, by a clock that the test sets."""

from __future__ import annotations

from fake_clock import START, Clock

from airflow_provider_trigger.testing.engine.environments import RateLimiter
from airflow_provider_trigger.testing.engine.server_time import ServerTime
from airflow_provider_trigger.testing.engine.settings import Settings


def limiter(clock: Clock, *, limit: int = 5, refill: int = 2, interval: float = 10) -> RateLimiter:
    return RateLimiter(
        Settings(rate_limit=limit, refill=refill, refill_interval=interval), time=ServerTime(clock=clock.time)
    )


def test_tokens_come_back_in_steps_not_in_a_drip(clock: Clock) -> None:
    bucket = limiter(clock)
    for _ in range(5):
        bucket.take("key")
    clock.now += 10
    assert [bucket.take("key").remaining for _ in range(3)] == [1, 0, -1]
    clock.now += 25
    after = bucket.take("key")
    assert after.remaining == 3
    assert after.reset == (START + 40) * 1000


def test_a_bucket_that_filled_up_starts_again(clock: Clock) -> None:
    bucket = limiter(clock)
    bucket.take("key")
    clock.now += 13
    assert bucket.take("key").reset == (START + 23) * 1000


def test_reading_takes_nothing(clock: Clock) -> None:
    bucket = limiter(clock)
    bucket.take("key")
    assert (bucket.left("key"), bucket.left("key"), bucket.left("other")) == (4, 4, 5)
