from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_trigger import defaults
from airflow_provider_trigger.api.http import Response
from airflow_provider_trigger.api.limits import PROBE_TIMEOUT, RateLimit, Ticket
from airflow_provider_trigger.api.server_advice import MAX_WAIT

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


class Traffic:
    """A rate limit, and requests that are sent and answered at the times that a test gives."""

    def __init__(self, *, reserve: float = 0.05) -> None:
        self.limit = RateLimit(reserve=reserve)

    def delay(self, *, at: float = 0.0) -> float:
        return self.limit.delay(monotonic=START + at)

    def send(self, count: int = 1, *, at: float = 0.0) -> Ticket:
        """Send requests, each of which may go out at once; return the last one's ticket."""
        for _ in range(count):
            assert self.delay(at=at) == 0
            ticket = self.limit.sent(monotonic=START + at)
        return ticket

    def answer(self, remaining: Any, ticket: Ticket | None = None, *, at: float = 0.0, **bucket: Any) -> None:
        """Answer a request, or one that is sent at this moment, with the bucket's headers."""
        self.answer_with(shown(remaining, **bucket), ticket, at=at)

    def answer_with(
        self, response: Response | None, ticket: Ticket | None = None, *, at: float = 0.0
    ) -> None:
        ticket = ticket or self.limit.sent(monotonic=START + at)
        self.limit.answered(ticket, response, monotonic=START + at, now=NOW + at)


@pytest.fixture
def traffic() -> Traffic:
    return Traffic()


def rejected(retry_after: int) -> Response:
    """Return a rejection that does not show the bucket, as a proxy's."""
    return bare(429, {"retry-after": str(retry_after)})


def lacking(name: str) -> Response:
    full = shown(0, status=404)
    return bare(404, {key: value for key, value in full.headers.items() if key != f"x-ratelimit-{name}"})


PAGE = bare(200, {"content-type": "text/html; charset=utf-8"})
EMPTY = shown(5)  # but for the reserve
# After these answers, each at its time, the delay of a request at another time.
DELAYS: dict[str, tuple[list[tuple[float, Response]], float, float]] = {
    "nothing is known": ([], 0, 0),
    "more than the reserve": ([(0, shown(6))], 0, 0),
    "the reserve": ([(0, EMPTY)], 0, 10 + MARGIN),
    "more than the whole token that is reserved of a small bucket": ([(0, shown(2, limit=5))], 0, 0),
    "a whole token is reserved of a small bucket": ([(0, shown(1, limit=5))], 0, 10 + MARGIN),
    "a limit that changes": ([(0, shown(6)), (0, shown(6, limit=1000))], 0, 10 + MARGIN),
    "of one filling, the lowest counts": ([(0, shown(4)), (0, shown(50))], 0, 10 + MARGIN),
    "a rejection": ([(0, shown(0, status=429, resets_at=3))], 0, 3 + MARGIN),
    "a rejection, at the refill": ([(0, shown(0, status=429, resets_at=3))], 3, MARGIN),
    "a rejection by another limit": ([(0, shown(50, status=429))], 0, 0),
    "a longer wait": ([(0, shown(0, status=429, resets_at=3, retry_after="7"))], 5, 2 + MARGIN),
    "a shorter wait": ([(0, shown(0, status=429, resets_at=9, retry_after="2"))], 0, 2 + MARGIN),
    "a shorter wait, over": ([(0, shown(0, status=429, resets_at=9, retry_after="2"))], 3, 6 + MARGIN),
    "an answer from before a rejection": (
        [(0, shown(0, status=429, resets_at=3)), (0, shown(60, resets_at=3))],
        0,
        3 + MARGIN,
    ),
    "a shorter rejection after a longer one": ([(0, rejected(20)), (0, rejected(2))], 0, 20 + MARGIN),
    "a rejection that gives no time": ([(0, bare(429))], 0, MARGIN),
    "a proxy's rejection": ([(0, shown(50)), (0, rejected(2))], 0, 2 + MARGIN),
    "a proxy's rejection fills no empty bucket": ([(0, EMPTY), (0, rejected(2))], 3, 7 + MARGIN),
    **{
        f"a {status} without limits shows that there are none": (
            [(0, EMPTY), (0, rejected(2)), (3, bare(status))],
            3,
            0,
        )
        for status in (200, 299)
    },
    **{
        f"a {status} without limits lifts none": ([(0, EMPTY), (1, bare(status))], 2, 8 + MARGIN)
        for status in (199, 300, 401, 429, 502)
    },
    "a page in front of the server lifts none": ([(0, EMPTY), (1, PAGE)], 2, 8 + MARGIN),
    "a success without limits while a rejection lasts": ([(0, rejected(9)), (0, bare())], 0, 9 + MARGIN),
    **{
        f"{value!r} is no number": ([(0, shown(value)), (0, shown(0, limit=value))], 0, 0)
        for value in ("", "many", "nan", "inf", "-inf")
    },
    "what is no number lifts nothing": (
        [(0, EMPTY), (0, shown("nan", status=404)), (0, shown("inf"))],
        0,
        10 + MARGIN,
    ),
    **{f"without the {name}": ([(0, lacking(name))], 0, 0) for name in ("limit", "remaining", "reset")},
    "a reset that has passed": ([(0, shown(0, resets_at=-3))], 0, MARGIN),
    "a reset a day away": ([(0, shown(0, resets_at=86_400))], 0, MAX_WAIT + MARGIN),
}


@pytest.mark.parametrize("case", DELAYS)
def test_how_long_a_request_waits_after_what_the_server_answered(traffic: Traffic, case: str) -> None:
    answers, at, delay = DELAYS[case]
    for answered_at, response in answers:
        traffic.answer_with(response, at=answered_at)
    assert traffic.delay(at=at) == pytest.approx(delay)


def test_the_reserve_can_be_set() -> None:
    traffic = Traffic(reserve=0)
    traffic.answer(1)
    assert traffic.delay() == 0
    traffic.answer(0)
    assert traffic.delay() > 0
    traffic.limit = RateLimit()
    traffic.answer(defaults.RATE_LIMIT_RESERVE * 1000 + 1, limit=1000)
    assert traffic.delay() == 0
    traffic.answer(defaults.RATE_LIMIT_RESERVE * 1000, limit=1000)
    assert traffic.delay() > 0


# Requests in flight


@pytest.mark.parametrize("status", [200, 404, 500, None])
def test_a_request_that_has_ended_is_in_flight_no_more(traffic: Traffic, status: int | None) -> None:
    traffic.answer(7)
    ticket = traffic.send()
    other = traffic.send()
    assert traffic.delay() > 0
    traffic.answer_with(None if status in (200, None) else bare(status), ticket)
    assert traffic.delay() == 0
    traffic.answer_with(None, other)
    traffic.send(2)
    assert traffic.delay() > 0


def test_requests_in_flight_from_before_the_refill_do_not_count(traffic: Traffic) -> None:
    traffic.answer(60)
    traffic.send(55)
    refill = traffic.delay()
    assert refill == pytest.approx(10 + MARGIN)
    assert traffic.delay(at=refill - 0.001) > 0
    # The 55 took their tokens from the last filling: as many again may go out now, without a probe.
    assert not traffic.send(55, at=refill).is_probe
    assert traffic.limit.sent(monotonic=START + refill).is_probe


def test_an_answer_of_the_new_filling_counts_only_what_was_sent_since_the_refill(traffic: Traffic) -> None:
    traffic.answer(40)
    traffic.send(30)
    probe = traffic.send(at=11)
    traffic.send(2, at=11)
    traffic.answer(8, probe, at=12, resets_at=20)
    # 30 in flight from before the refill at 10.05 s, and 2 sent since: one more leaves the reserve of 5.
    traffic.send(1, at=12)
    assert traffic.delay(at=12) == pytest.approx(8 + MARGIN)


@pytest.mark.parametrize(("before", "counts"), [(0, True), (0.5, True), (0.501, False)])
def test_what_was_sent_just_before_the_refill_may_take_its_token_after_it(
    traffic: Traffic, before: float, counts: bool
) -> None:
    traffic.answer(5)
    refill = traffic.delay()
    for _ in range(2):
        traffic.limit.sent(monotonic=START + (refill - before))
    probe = traffic.limit.sent(monotonic=START + refill)
    traffic.answer(7, probe, at=12, resets_at=20)
    assert (traffic.delay(at=12) > 0) is counts


def test_a_refill_that_comes_early_is_taken_as_of_now(traffic: Traffic) -> None:
    """The server's clock is ahead of ours, or it refills at another time than it said."""
    traffic.answer(40)
    early = traffic.send(20, at=3)
    traffic.answer(8, early, at=4, resets_at=14)
    traffic.send(3, at=4)
    assert traffic.delay(at=4) > 0


# The refill


def test_after_the_refill_one_request_goes_first_as_a_probe(traffic: Traffic) -> None:
    traffic.answer(5)
    assert traffic.delay(at=10) == pytest.approx(MARGIN)
    probe = traffic.send(at=11)
    assert probe.is_probe
    assert traffic.delay(at=11) == PROBE_TIMEOUT == 1
    traffic.answer(99, probe, at=11.5, resets_at=20)
    assert not traffic.send(at=11.5).is_probe
    traffic.send(93, at=11.5)  # to the reserve of 5
    assert traffic.delay(at=11.5) == pytest.approx(8.5 + MARGIN)


def test_a_probe_that_is_never_answered_holds_the_others_up_for_a_second_only(traffic: Traffic) -> None:
    traffic.answer(5)
    traffic.send(at=11)
    assert traffic.delay(at=11.25) == 0.75
    second = traffic.send(at=12)
    assert second.is_probe
    # Since the latest of them.
    assert traffic.delay(at=12.25) == 0.75
    traffic.answer(99, second, at=12.5, resets_at=20)
    traffic.send(93, at=12.5)  # one is still in flight
    assert traffic.delay(at=12.5) == pytest.approx(7.5 + MARGIN)


def test_a_probe_in_flight_holds_nothing_up_once_another_answer_shows_the_bucket(traffic: Traffic) -> None:
    traffic.answer(5)
    first = traffic.send(at=11)
    assert traffic.send(at=12).is_probe
    traffic.answer(99, first, at=12.25, resets_at=20)
    traffic.send(93, at=12.25)
    assert traffic.delay(at=12.25) > 1


def test_a_request_in_flight_that_is_no_probe_holds_nothing_up(traffic: Traffic) -> None:
    traffic.answer(6)
    assert not traffic.send(at=9).is_probe
    assert traffic.delay(at=9) == pytest.approx(1 + MARGIN)
    assert traffic.delay(at=10 + MARGIN) == 0


# Answers that overtake each other


def test_an_answer_of_the_last_filling_does_not_count_any_more(traffic: Traffic) -> None:
    traffic.answer(80, at=11, resets_at=20)
    traffic.answer(0, at=11, resets_at=10)
    traffic.send(75, at=11)
    assert traffic.delay(at=11) == pytest.approx(9 + MARGIN)


def test_a_late_rejection_of_the_last_filling_does_not_empty_the_new_one(traffic: Traffic) -> None:
    late = traffic.send()
    traffic.answer(80, at=11, resets_at=20)
    traffic.answer(0, late, status=429, at=11, resets_at=10)
    assert traffic.delay(at=11) == pytest.approx(MARGIN)
    probe = traffic.send(at=11.5)
    assert probe.is_probe
    traffic.answer(79, probe, at=12, resets_at=20)
    traffic.send(74, at=12)


# Rejections


@pytest.mark.parametrize(
    "rejection", [*(shown(it, status=429, resets_at=3) for it in (0, -7, "many")), bare(429), rejected(2)]
)
def test_after_a_rejection_one_request_goes_first_until_it_is_answered(
    traffic: Traffic, rejection: Response
) -> None:
    traffic.answer_with(rejection)
    probe = traffic.send(at=3.1)
    assert probe.is_probe
    assert traffic.delay(at=3.1) == 1
    traffic.answer_with(None, probe, at=3.2)
    assert traffic.send(at=3.2).is_probe


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


@given(st.lists(st.none() | ANSWERS))
def test_whatever_the_server_answers_one_request_may_go_out_within_a_minute_or_so(
    answers: list[Response | None],
) -> None:
    limit = RateLimit()
    limit.sent(monotonic=START)  # never answered
    for answered in answers:
        limit.answered(limit.sent(monotonic=START), answered, monotonic=START, now=NOW)
    assert 0 <= limit.delay(monotonic=START) <= MAX_WAIT + 2 * MARGIN
    assert limit.delay(monotonic=START + MAX_WAIT + 2 * MARGIN) == 0
