from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_trigger import defaults
from airflow_provider_trigger.api.answers import MAX_WAIT
from airflow_provider_trigger.api.http import Response
from airflow_provider_trigger.api.limits import RateLimit

NOW = 1_795_600_000.0
START = 50.0  # on the monotonic clock, when it is NOW
MARGIN = 0.05


def bare(status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(status=status, headers=headers or {}, body=b"")


def shown(
    remaining: Any, *, limit: Any = 100, resets_at: float = 10.0, status: int = 200, **more: str
) -> Response:
    """Return an answer that shows the bucket; ``more`` has other headers."""
    headers = {
        "x-ratelimit-limit": str(limit),
        "x-ratelimit-remaining": str(remaining),
        "x-ratelimit-reset": str(int((NOW + resets_at) * 1000)),
    }
    return bare(status, headers | {name.replace("_", "-"): value for name, value in more.items()})


def answered(rate_limit: RateLimit, response: Response, *, at: float = 0.0) -> None:
    rate_limit.sent()
    rate_limit.ended(response, monotonic=START + at, now=NOW + at)


def rejected(retry_after: int) -> Response:
    """Return a rejection that does not show the bucket, as a proxy's."""
    return bare(429, {"retry-after": str(retry_after)})


EMPTY = shown(5)  # but for the reserve
# After these answers, each at its time, the delay of a request at another time.
DELAYS: dict[str, tuple[list[tuple[float, Response]], float, float]] = {
    "nothing is known": ([], 0, 0),
    "more than the reserve": ([(0, shown(6))], 0, 0),
    "the reserve": ([(0, EMPTY)], 4, 6 + MARGIN),
    "the next filling": ([(0, EMPTY)], 10 + MARGIN, 0),
    "a whole token is reserved of a small bucket": ([(0, shown(1, limit=5))], 0, 10 + MARGIN),
    "a limit that changes": ([(0, shown(6)), (0, shown(6, limit=1000))], 0, 10 + MARGIN),
    "of one filling, the lowest counts": ([(0, shown(4)), (0, shown(50))], 0, 10 + MARGIN),
    "of two, the newer": ([(0, EMPTY), (0, shown(50, resets_at=20)), (0, EMPTY)], 0, 0),
    "a rejection": ([(0, shown(0, status=429, resets_at=3))], 1, 2 + MARGIN),
    "a rejection by another limit": ([(0, shown(50, status=429))], 0, 0),
    "a longer wait": ([(0, shown(0, status=429, resets_at=3, retry_after="7"))], 5, 2 + MARGIN),
    "a shorter wait": ([(0, shown(0, status=429, resets_at=9, retry_after="2"))], 3, 6 + MARGIN),
    "a rejection that gives no time": ([(0, bare(429))], 0, MARGIN),
    "a proxy's rejection fills no empty bucket": ([(0, EMPTY), (0, rejected(2))], 3, 7 + MARGIN),
    "an answer without limits lifts none": ([(0, EMPTY), (1, bare(404))], 2, 8 + MARGIN),
    "what is no number": ([(0, shown("many")), (0, shown(0, limit="nan"))], 0, 0),
    "a reset that has passed": ([(0, shown(0, resets_at=-3))], 0, MARGIN),
    "a reset minutes away": ([(0, shown(0, resets_at=600))], 0, MAX_WAIT + MARGIN),
    "a reset a day away, as of a proxy": ([(0, shown(0, resets_at=86_400))], 0, 0),
    "a proxy that shows no limit": ([(0, shown(0, limit=0))], 0, 0),
}


@pytest.mark.parametrize("case", DELAYS)
def test_how_long_a_request_waits_after_what_the_server_answered(case: str) -> None:
    rate_limit = RateLimit()
    answers, at, delay = DELAYS[case]
    for answered_at, response in answers:
        answered(rate_limit, response, at=answered_at)
    assert rate_limit.delay(monotonic=START + at) == pytest.approx(delay)


@pytest.mark.parametrize(("given_reserve", "least"), [({"reserve": 0}, 0), ({}, 1000 * 0.05)])
def test_the_reserve_is_left_to_the_application(given_reserve: dict[str, float], least: float) -> None:
    assert defaults.RATE_LIMIT_RESERVE == 0.05
    for remaining, waits in ((least + 1, False), (least, True)):
        rate_limit = RateLimit(**given_reserve)
        answered(rate_limit, shown(remaining, limit=1000))
        assert (rate_limit.delay(monotonic=START) > 0) is waits


def test_what_is_sent_counts_before_it_is_answered() -> None:
    rate_limit = RateLimit()
    answered(rate_limit, shown(7))
    for delay in (0, 10 + MARGIN):
        rate_limit.sent()
        assert rate_limit.delay(monotonic=START) == pytest.approx(delay)
    answered(rate_limit, shown(60, resets_at=20), at=10)
    for _ in range(53):
        assert rate_limit.delay(monotonic=START + 10) == 0
        rate_limit.sent()
    assert rate_limit.delay(monotonic=START + 10) > 0


def test_after_a_filling_a_few_requests_show_its_size_before_more_are_sent() -> None:
    rate_limit = RateLimit()
    answered(rate_limit, shown(5))
    for _ in range(10):
        assert rate_limit.delay(monotonic=START + 11) == 0
        rate_limit.sent()
    assert rate_limit.delay(monotonic=START + 11) > 0
    rate_limit.ended(shown(50, resets_at=20), monotonic=START + 11, now=NOW + 11)
    assert rate_limit.delay(monotonic=START + 11) == 0
