from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_trigger.api.endpoints import Response
from airflow_provider_trigger.api.rate_limit import RateLimit
from airflow_provider_trigger.api.retries import MAX_WAIT

NOW = 1_795_600_000.0
START = 50.0  # on the monotonic clock, when it is NOW
MARGIN = 0.05


class Traffic:
    """A rate limit, and requests that go and come at times that the test tells."""

    def __init__(self, response: Any, *, reserve: float = 0.05) -> None:
        self.limit = RateLimit(reserve=reserve)
        self._response = response

    def back(
        self, remaining: Any, *, status: int = 200, at: float = 0.0, resets_at: float = 10.0, limit: Any = 100
    ) -> None:
        headers = {
            "x-ratelimit-limit": str(limit),
            "x-ratelimit-remaining": str(remaining),
            "x-ratelimit-reset": str(int((NOW + resets_at) * 1000)),
        }
        self.answered(self._response(status, b"", headers), at=at)

    def answered(self, response: Response | None, *, at: float = 0.0) -> None:
        self.limit.sent()
        self.limit.answered(response, monotonic=START + at, now=NOW + at)

    def delay(self, *, at: float = 0.0) -> float:
        return self.limit.delay(monotonic=START + at)


@pytest.fixture
def traffic(response: Any) -> Traffic:
    return Traffic(response)


def test_nothing_is_held_back_while_nothing_is_known(traffic: Traffic) -> None:
    for _ in range(1000):
        assert traffic.delay() == 0
        traffic.limit.sent()


def test_the_last_tokens_are_left_to_the_application(traffic: Traffic) -> None:
    traffic.back(6)
    assert traffic.delay() == 0
    traffic.back(5)
    assert traffic.delay() == pytest.approx(10 + MARGIN)


def test_the_reserve_of_a_small_bucket_is_a_whole_token(traffic: Traffic) -> None:
    traffic.back(1, limit=5)
    assert traffic.delay() > 0


def test_without_a_reserve_the_last_token_may_be_spent(response: Any) -> None:
    traffic = Traffic(response, reserve=0)
    traffic.back(1)
    assert traffic.delay() == 0
    traffic.back(0)
    assert traffic.delay() > 0


def test_requests_on_their_way_count_as_spent(traffic: Traffic) -> None:
    traffic.back(8)
    for _ in range(3):
        assert traffic.delay() == 0
        traffic.limit.sent()
    assert traffic.delay() > 0


def test_after_the_reset_one_goes_ahead_and_brings_the_news(traffic: Traffic) -> None:
    traffic.back(5)
    assert traffic.delay(at=11) == 0
    traffic.limit.sent()
    assert traffic.delay(at=11) == math.inf
    traffic.limit.answered(None, monotonic=START + 11, now=NOW + 11)
    assert traffic.delay(at=11) == 0
    traffic.back(99, at=11, resets_at=20)
    traffic.limit.sent()
    assert traffic.delay(at=11) == 0


def test_of_answers_that_overtake_each_other_the_lowest_counts(traffic: Traffic) -> None:
    traffic.back(4)
    traffic.back(50)
    assert traffic.delay() > 0


def test_an_answer_from_before_the_filling_does_not_count_any_more(traffic: Traffic) -> None:
    traffic.back(80, at=11, resets_at=20)
    traffic.back(0, at=11, resets_at=10)
    assert traffic.delay(at=11) == 0


def test_after_a_refusal_nobody_asks_before_the_reset(traffic: Traffic) -> None:
    traffic.back(0, status=429, resets_at=3)
    assert traffic.delay(at=0) == pytest.approx(3 + MARGIN)
    assert traffic.delay(at=3) == pytest.approx(MARGIN)
    assert traffic.delay(at=3.1) == 0


def test_an_answer_from_before_the_refusal_does_not_lift_it(traffic: Traffic) -> None:
    traffic.back(0, status=429, resets_at=3)
    traffic.back(60, resets_at=3)
    assert traffic.delay() == pytest.approx(3 + MARGIN)


def test_a_shorter_refusal_does_not_lift_a_longer_one(traffic: Traffic, response: Any) -> None:
    traffic.answered(response(429, b"", {"retry-after": "20"}))
    traffic.answered(response(429, b"", {"retry-after": "2"}))
    assert traffic.delay() == pytest.approx(20 + MARGIN)


def test_a_proxys_refusal_says_nothing_of_the_bucket(traffic: Traffic, response: Any) -> None:
    traffic.back(50, resets_at=10)
    traffic.answered(response(429, b"", {"retry-after": "2"}))
    assert traffic.delay() == pytest.approx(2 + MARGIN)
    assert traffic.delay(at=2.1) == 0
    traffic.back(49, at=2.1, resets_at=10)
    for _ in range(44):
        assert traffic.delay(at=2.1) == 0
        traffic.limit.sent()
    assert traffic.delay(at=2.1) > 0


def test_a_proxys_refusal_fills_no_empty_bucket(traffic: Traffic, response: Any) -> None:
    traffic.back(5, resets_at=10)
    traffic.answered(response(429, b"", {"retry-after": "2"}))
    assert traffic.delay(at=3) == pytest.approx(7 + MARGIN)


def test_after_a_proxys_refusal_one_goes_ahead_and_brings_the_news(traffic: Traffic, response: Any) -> None:
    traffic.back(50)
    traffic.answered(response(429, b"", {"retry-after": "2"}))
    traffic.limit.sent()
    assert traffic.delay(at=3) == math.inf
    traffic.limit.answered(response(404), monotonic=START + 3, now=NOW + 3)
    traffic.limit.sent()
    assert traffic.delay(at=3) == 0


def test_a_refusal_that_says_nothing_lets_one_at_a_time_ask(traffic: Traffic, response: Any) -> None:
    traffic.answered(response(429))
    assert traffic.delay(at=0.1) == 0
    traffic.limit.sent()
    assert traffic.delay(at=0.1) == math.inf


def test_a_proxys_refusal_is_over_when_an_answer_without_limits_succeeds(
    traffic: Traffic, response: Any
) -> None:
    traffic.answered(response(429, b"", {"retry-after": "2"}))
    traffic.answered(response(200), at=3)
    traffic.limit.sent()
    assert traffic.delay(at=3) == 0


@pytest.mark.parametrize("status", [401, 502])
def test_a_failure_without_limits_does_not_lift_them(traffic: Traffic, response: Any, status: int) -> None:
    traffic.back(5)
    traffic.answered(response(status))
    assert traffic.delay() > 0


def test_a_success_without_limits_does_not_lift_a_refusal_that_lasts(traffic: Traffic, response: Any) -> None:
    traffic.answered(response(429, b"", {"retry-after": "9"}))
    traffic.answered(response(200))
    assert traffic.delay() == pytest.approx(9 + MARGIN)


@pytest.mark.parametrize("garbage", ["", "many", "nan", "inf", "-inf"])
def test_numbers_that_are_none_say_nothing(traffic: Traffic, garbage: str) -> None:
    traffic.back(garbage)
    traffic.back(0, limit=garbage)
    assert traffic.delay() == 0


def test_a_reset_a_day_away_is_waited_for_no_longer_than_any_other(traffic: Traffic) -> None:
    traffic.back(0, resets_at=86_400)
    assert traffic.delay() == pytest.approx(MAX_WAIT + MARGIN)


VALUES = st.sampled_from(["0", "5", "100", "-1", "1e308", "nan", "x", "1795600003000", "1795600003"])
ANSWERS = st.builds(
    Response,
    status=st.sampled_from([200, 404, 429, 500]),
    headers=st.dictionaries(
        st.sampled_from(
            [f"x-ratelimit-{name}" for name in ("limit", "remaining", "reset")] + ["retry-after"]
        ),
        VALUES,
    ),
    body=st.just(b""),
)


@given(st.lists(ANSWERS))
def test_whatever_the_server_says_somebody_may_ask_within_a_minute_or_so(answers: list[Response]) -> None:
    limit = RateLimit()
    for answered in answers:
        limit.sent()
        limit.answered(answered, monotonic=START, now=NOW)
    assert 0 <= limit.delay(monotonic=START) <= MAX_WAIT + 2 * MARGIN
    assert limit.delay(monotonic=START + MAX_WAIT + 2 * MARGIN) == 0
