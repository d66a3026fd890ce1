"""The steps of calls, driven by hand: no sockets, no threads, and a clock that only moves with the steps."""

from __future__ import annotations

import logging
import math
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import formatdate
from itertools import count
from traceback import walk_tb
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest
from fake_clock import Clock

from airflow_provider_trigger.api import errors, server_advice
from airflow_provider_trigger.api.deadline import NEVER, Deadline
from airflow_provider_trigger.api.endpoints.query import QUERY_TIMEOUT, query_descendants, query_runs
from airflow_provider_trigger.api.endpoints.runs import cancel_run, list_newest_runs, retrieve_run
from airflow_provider_trigger.api.exchange import TURN_INTERVAL, Exchange, Reply, Send, Step, Steps, Wait
from airflow_provider_trigger.api.http import Call, Request, Response
from airflow_provider_trigger.api.masking import Masking
from airflow_provider_trigger.api.models.runs import Run
from airflow_provider_trigger.api.rate_limit import RateLimit

T = TypeVar("T")

KEY = "tr_prod_marker/of+the=test"
RUN = {"id": "run_1", "status": "QUEUED"}
CHECK = retrieve_run("run_1")
ONCE: Call[None] = Call(
    request=Request(method="POST", path="/api/v1/tasks/t/trigger", repeatable=False),
    read=cancel_run("run_1").read,
)


@dataclass(frozen=True)
class After:
    """A reply that comes some seconds after the request."""

    seconds: float
    reply: Reply


class Driver:
    """Makes calls one after the other, and keeps what was sent and how long was waited."""

    def __init__(self, clock: Clock, *, key: str = KEY, rate_limit: RateLimit | None = None, **settings: Any):
        self.clock = clock
        self.exchange = Exchange(
            **{"timeout": 30.0, "retry_for": 120.0} | settings,
            masking=Masking(key),
            rate_limit=rate_limit or RateLimit(),
            monotonic=clock.monotonic,
            wall=clock.time,
        )
        self.sent: list[Send] = []
        self.sent_at: list[float] = []
        self.waits: list[Wait] = []

    def make(self, call: Call[T], *replies: Reply | After, **options: Any) -> T:
        """Make a call; each request gets the next of these replies, and the last of them for ever."""
        return self.finish(self.exchange.steps(call, **options), *replies)

    def finish(self, steps: Steps[T], *replies: Reply | After) -> T:
        queue, reply = list(replies), None
        while len(self.sent) + len(self.waits) < 10_000:
            try:
                step = steps.send(reply)
            except StopIteration as end:
                result: T = end.value
                return result
            reply = self._do(step, queue)
        raise AssertionError("the steps do not end")

    def _do(self, step: Step, queue: list[Reply | After]) -> Reply:
        if isinstance(step, Wait):
            assert step.seconds > 0
            self.waits.append(step)
            self.clock.now += step.seconds
            return None
        self.sent.append(step)
        self.sent_at.append(self.clock.now)
        reply = queue.pop(0) if len(queue) > 1 else queue[0]
        if isinstance(reply, After):
            self.clock.now += reply.seconds
            reply = reply.reply
        return reply

    def fail(self, call: Call[Any], *replies: Reply | After, **options: Any) -> errors.TriggerDevError:
        """Make a call that fails, and return its error."""
        return self.fail_rest(self.exchange.steps(call, **options), *replies)

    def fail_rest(self, steps: Steps[Any], *replies: Reply | After) -> errors.TriggerDevError:
        """Make the rest of a call that fails, and return its error."""
        with pytest.raises(errors.TriggerDevError) as raised:
            self.finish(steps, *replies)
        return raised.value

    def let_work(self) -> None:
        """Let the server answer once as Trigger.dev does, and forget that call."""
        self.make(CHECK, Response(status=200, headers={}, body=b'{"id": "run_1", "status": "QUEUED"}'))
        self.sent.clear()

    def open_breaker(self, reply: Reply | After) -> None:
        """Let ten calls fail, and forget them."""
        for _ in range(10):
            self.fail(CHECK, reply, patience=0.0)
        assert self.exchange.breaker.is_open
        self.sent.clear()
        self.sent_at.clear()
        self.waits.clear()

    @property
    def retry_waits(self) -> list[float]:
        return [wait.seconds for wait in self.waits if not wait.for_turn]

    @property
    def turn_waits(self) -> list[float]:
        return [wait.seconds for wait in self.waits if wait.for_turn]


@pytest.fixture
def driver(clock) -> Driver:
    return Driver(clock)


@pytest.fixture(autouse=True)
def jitter(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What stands in for tenacity's random numbers; without any jitter taken off."""
    jitter = SimpleNamespace(random=lambda: 1.0)
    jitter.uniform = lambda least, most: least + (most - least) * jitter.random()
    monkeypatch.setattr("tenacity.wait.random", jitter)
    return jitter


@pytest.fixture
def run(response) -> Response:
    answered: Response = response(200, RUN)
    return answered


@pytest.fixture
def busy(response) -> Response:
    answered: Response = response(503, {"error": "busy"})
    return answered


def lost() -> errors.TransportError:
    return errors.TransportError("GET /api/v3/runs/run_1 to trigger.test: the connection was lost")


# One request


def test_a_call_that_succeeds_is_one_request(driver: Driver, run: Response) -> None:
    result: Run = driver.make(CHECK, run)
    assert (result.id, result.status) == ("run_1", "QUEUED")
    assert driver.sent == [Send(CHECK.request, timeout=30)]
    assert driver.waits == []


@pytest.mark.parametrize(
    ("time_limit", "timeout"),
    [
        (None, 30),
        (300, 30),
        (90, 30),
        (89.25, 29.75),
        (30, 10),
        (3, 1),
        (2.5, 1),
        (2, 1),
        (1.5, 1),
        (1, 1),
        (0.5, 0.5),
    ],
)
def test_the_first_request_takes_a_third_of_the_time_left_or_a_second_as_long_as_there_is_one(
    driver: Driver, run: Response, time_limit: float | None, timeout: float
) -> None:
    driver.make(CHECK, run, deadline=Deadline.after(time_limit, now=driver.clock.now))
    assert driver.sent[0].timeout == pytest.approx(timeout)


@pytest.mark.parametrize(("time_limit", "timeout"), [(30.5, 10), (3.5, 1), (2.5, 1), (2, 0.75), (1.5, 0.5)])
def test_a_retry_takes_no_more_than_half_of_the_time_left(
    driver: Driver, run: Response, time_limit: float, timeout: float
) -> None:
    """So that a check can follow, which shows whether a cancel had its effect."""
    driver.make(CHECK, lost(), run, deadline=Deadline.after(time_limit, now=driver.clock.now))
    assert driver.waits == [Wait(0.5, for_turn=False)]
    assert driver.sent[1].timeout == pytest.approx(timeout)


def test_no_request_takes_longer_than_a_short_timeout(clock, run: Response) -> None:
    driver = Driver(clock, timeout=0.5)
    driver.make(CHECK, run, deadline=Deadline.after(10, now=clock.now))
    assert driver.sent[0].timeout == 0.5


@pytest.mark.parametrize(("timeout", "of_query"), [(30.0, QUERY_TIMEOUT), (2.0, 2.0)])
@pytest.mark.parametrize("query", [query_runs, query_descendants])
def test_a_query_takes_little_time(clock, response, query, timeout: float, of_query: float) -> None:
    driver = Driver(clock, timeout=timeout)
    driver.make(query(["run_1"]), response(200, {"results": []}))
    assert driver.sent[0].timeout == of_query


# Retries


def test_a_server_that_recovers_is_waited_for(driver: Driver, response, run: Response) -> None:
    assert driver.make(CHECK, response(500, {"error": "no"}), lost(), lost(), run).status == "QUEUED"
    assert len(driver.sent) == 4
    assert driver.waits == [Wait(0.5, for_turn=False), Wait(1, for_turn=False), Wait(2, for_turn=False)]


@pytest.mark.parametrize(("number", "wait"), [(0.0, 0.25), (0.5, 0.375), (1.0, 0.5)])
def test_waits_are_random(
    driver: Driver, jitter: SimpleNamespace, run: Response, number: float, wait: float
) -> None:
    jitter.random = lambda: number
    driver.make(CHECK, lost(), run)
    assert driver.retry_waits == [wait]


def test_the_time_that_the_server_gives_is_waited(driver: Driver, response, run: Response) -> None:
    driver.make(CHECK, response(503, {"error": "busy"}, {"retry-after": "17"}), run)
    assert driver.retry_waits == [17]


def test_a_date_that_the_server_gives_is_compared_with_the_wall_clock(
    driver: Driver, response, run: Response
) -> None:
    date = "Wed, 25 Nov 2026 09:46:47 GMT"  # 7 s after the clock's time
    driver.make(CHECK, response(503, b"", {"retry-after": date}), run)
    assert driver.retry_waits == [7]


def test_what_is_not_worth_repeating_fails_at_once(driver: Driver, response) -> None:
    error = driver.fail(CHECK, response(403, {"error": "no"}, {"x-request-id": "req_7"}))
    assert type(error) is errors.PermissionDeniedError
    assert str(error) == "GET /api/v3/runs/run_1 answered 403: no (request req_7)"
    assert (len(driver.sent), driver.waits) == (1, [])


def test_an_error_that_came_instead_of_a_response_is_raised_itself(driver: Driver) -> None:
    failure = errors.TLSError("not accepted", retryable=False)
    assert driver.fail(CHECK, failure) is failure
    assert len(driver.sent) == 1


@pytest.mark.parametrize(("call", "run_id"), [(CHECK, "run_1"), (list_newest_runs(), None)])
def test_an_error_has_the_run_that_the_call_is_about(
    driver: Driver, busy: Response, call: Call[Any], run_id: str | None
) -> None:
    for reply in (lost(), busy):
        assert driver.fail(call, reply, patience=0.0).run_id == run_id


def test_a_wait_before_another_try_says_what_the_last_one_ended_with(
    driver: Driver, response, run: Response
) -> None:
    first, rejection = lost(), bucket(0, driver.clock, resets_in=1)
    driver.make(CHECK, first, response(429, {"error": "too many"}, rejection), run)
    assert driver.waits[0].error is first
    assert isinstance(driver.waits[1].error, errors.RateLimitError)
    assert [wait.error for wait in driver.waits if wait.for_turn] == [None]


def test_tries_are_bounded_and_the_last_error_is_raised(driver: Driver, response) -> None:
    replies = [response(500, {"error": f"try {number}"}) for number in range(1, 99)]
    error = driver.fail(CHECK, *replies)
    assert "try 6" in str(error)
    assert len(driver.sent) == error.tries == 6


def test_failures_that_only_time_bounds_do_not_use_up_the_tries_of_others(driver: Driver, response) -> None:
    broken = response(500, {"error": "broken"})
    error = driver.fail(CHECK, *[lost()] * 5, broken, lost(), *[broken] * 99, patience=math.inf)
    assert "broken" in str(error)
    assert len(driver.sent) == 5 + 1 + 1 + 5


def test_a_run_with_a_should_retry_of_the_server_is_not_found_after_four_tries(
    driver: Driver, response
) -> None:
    not_found = response(404, {"error": "Not found"}, {"x-should-retry": "true"})
    assert type(driver.fail(CHECK, not_found)) is errors.NotFoundError
    assert len(driver.sent) == 4


def test_a_call_that_must_not_be_sent_twice_is_not(driver: Driver, busy: Response) -> None:
    assert type(driver.fail(ONCE, busy)) is errors.ServerError
    assert len(driver.sent) == 1


def test_a_call_that_was_rejected_with_429_is_repeated_whatever_it_is(driver: Driver, response) -> None:
    driver.make(ONCE, response(429, {"error": "no"}), response(200, {"id": "run_1"}))
    assert len(driver.sent) == 2


def test_a_401_is_tried_once_more(driver: Driver, response, run: Response) -> None:
    rejected = response(401, {"error": "Invalid API key"})
    assert driver.make(CHECK, rejected, run).id == "run_1"
    assert len(driver.sent) == 2
    assert type(driver.fail(CHECK, rejected)) is errors.AuthenticationError
    assert len(driver.sent) == 4


def test_a_rejected_key_costs_one_request_more(driver: Driver, response, run: Response) -> None:
    """It is known then, until an answer shows that it works."""
    rejected = response(401, {"error": "Invalid API key"})
    for _ in range(5):
        assert type(driver.fail(CHECK, rejected)) is errors.AuthenticationError
    assert len(driver.sent) == 6
    driver.make(CHECK, run)
    driver.make(CHECK, rejected, run)
    assert len(driver.sent) == 9


def test_other_failures_do_not_use_up_the_second_try_of_a_401(
    driver: Driver, response, run: Response
) -> None:
    rejected, broken = response(401, {"error": "from a gateway"}), response(500, {"error": "broken"})
    assert driver.make(CHECK, broken, lost(), broken, rejected, run).id == "run_1"
    assert type(driver.fail(CHECK, rejected, broken, rejected)) is errors.AuthenticationError
    assert len(driver.sent) == 5 + 3


def test_calls_that_were_rejected_at_a_time_cost_one_request_more(driver: Driver, response) -> None:
    rejected = response(401, {"error": "Invalid API key"})
    all_steps = [driver.exchange.steps(CHECK) for _ in range(5)]
    for steps in all_steps:
        assert isinstance(next(steps), Send)
    for steps in all_steps:
        assert isinstance(steps.send(rejected), Wait)
    driver.clock.now += 1
    first, *others = all_steps
    assert isinstance(next(first), Send)
    with pytest.raises(errors.AuthenticationError):
        first.send(rejected)
    for steps in others:
        with pytest.raises(errors.AuthenticationError):
            next(steps)


@pytest.mark.parametrize(("answered_after", "waited"), [(0.7, 0.7), (0.2, 0.5), (99.0, 1.0)])
def test_a_401_is_tried_again_when_the_requests_in_flight_are_answered_or_after_a_second(
    driver: Driver, response, run: Response, answered_after: float, waited: float
) -> None:
    """Their answers show whether the key is rejected, or a gateway rejected one request."""
    others = [driver.exchange.steps(CHECK) for _ in range(2)]
    for other in others:
        assert isinstance(next(other), Send)
    steps = driver.exchange.steps(CHECK)
    assert isinstance(next(steps), Send)
    rejected_at = driver.clock.now
    step = steps.send(response(401, {"error": "from a gateway"}))
    while isinstance(step, Wait):
        driver.clock.now += step.seconds
        if others and driver.clock.now - rejected_at >= answered_after - 0.001:
            for other in others:
                with pytest.raises(StopIteration):
                    other.send(run)
            others = []
        step = next(steps)
    assert driver.clock.now - rejected_at == pytest.approx(waited, abs=0.11)
    with pytest.raises(StopIteration) as end:
        steps.send(run)
    assert end.value.value.id == "run_1"


@pytest.mark.parametrize(("later", "is_sent"), [(0.5, False), (0.999, False), (1.0, True)])
def test_the_requests_in_flight_are_waited_for_until_a_second_after_the_401(
    driver: Driver, response, later: float, is_sent: bool
) -> None:
    other = driver.exchange.steps(CHECK)
    assert isinstance(next(other), Send)
    steps = driver.exchange.steps(CHECK)
    assert isinstance(next(steps), Send)
    assert isinstance(steps.send(response(401, {"error": "from a gateway"})), Wait)
    driver.clock.now += later
    assert isinstance(next(steps), Send) is is_sent


def test_a_request_that_was_sent_after_a_401_does_not_hold_up_the_next_try(driver: Driver, response) -> None:
    steps, other = driver.exchange.steps(CHECK), driver.exchange.steps(CHECK)
    assert isinstance(next(steps), Send)
    step = steps.send(response(401, {"error": "from a gateway"}))
    assert isinstance(step, Wait)
    driver.clock.now += step.seconds
    assert isinstance(next(other), Send)
    assert isinstance(next(steps), Send)


def test_once_the_key_is_rejected_for_certain_a_401_ends_a_call_at_once(
    driver: Driver, response, run: Response
) -> None:
    rejected = response(401, {"error": "Invalid API key"})
    driver.fail(CHECK, rejected)
    driver.waits.clear()
    assert type(driver.fail(CHECK, rejected)) is errors.AuthenticationError
    assert driver.waits == []
    driver.make(CHECK, run)
    driver.fail(CHECK, rejected)
    assert len(driver.waits) == 1


@pytest.mark.parametrize(
    ("status", "body", "kind", "tries"),
    [
        (200, b"<html>", errors.UnexpectedAnswerError, 6),
        (302, b"", errors.RedirectError, 1),
        (404, b"<html>", errors.NotTriggerDevError, 1),
    ],
)
def test_an_answer_that_is_not_trigger_devs_is_repeated_like_an_outage_after_the_server_has_worked(
    driver: Driver,
    response,
    run: Response,
    status: int,
    body: bytes,
    kind: type[errors.TriggerDevError],
    tries: int,
) -> None:
    page = response(status, body)
    assert type(driver.fail(CHECK, page)) is kind
    assert len(driver.sent) == tries
    driver.let_work()
    assert driver.make(CHECK, *[page] * 9, run, patience=math.inf).id == "run_1"
    assert len(driver.sent) == 10


def test_an_answer_that_is_too_large_is_not_repeated(driver: Driver) -> None:
    driver.let_work()
    too_large = errors.UnexpectedAnswerError("more than 16 MB", retryable=False)
    assert driver.fail(CHECK, too_large) is too_large
    assert len(driver.sent) == 1


# How long to go on


@pytest.mark.parametrize(("patience", "tries"), [(0.0, 1), (24.9, 1), (25.0, 2), (49.9, 2), (50.0, 3)])
def test_a_call_is_repeated_for_as_long_as_its_patience_lasts(
    driver: Driver, response, patience: float, tries: int
) -> None:
    busy = response(503, {"error": "busy"}, {"retry-after": "25"})
    assert "busy" in str(driver.fail(CHECK, busy, patience=patience))
    assert len(driver.sent) == tries


def test_the_clients_patience_is_the_default(clock, response) -> None:
    busy = response(503, {"error": "busy"}, {"retry-after": "25"})
    driver = Driver(clock, retry_for=60)
    driver.fail(CHECK, busy)
    assert len(driver.sent) == 3
    driver = Driver(clock, retry_for=0)
    driver.fail(CHECK, busy)
    assert len(driver.sent) == 1


def test_patience_counts_from_the_first_request(driver: Driver, response, run: Response) -> None:
    """Waiting for a turn is not a try; the time that a request takes counts."""
    driver.make(CHECK, response(200, RUN, bucket(5, driver.clock, resets_in=50)))
    started_at = driver.clock.now
    driver.make(CHECK, lost(), run, patience=0.5)
    assert driver.sent_at[1] - started_at > 50
    assert len(driver.sent) == 3
    driver.fail(CHECK, After(0.2, lost()), run, patience=0.6)
    assert len(driver.sent) == 4


@pytest.mark.parametrize(("patience", "tries"), [(1.4, 2), (1.6, 3)])
def test_a_retry_that_waits_for_its_turn_uses_up_no_patience(
    driver: Driver, response, run: Response, patience: float, tries: int
) -> None:
    """It fails 0.5 s after the first try, but for the minute's pause: the next wait takes 1 s."""
    steps = driver.exchange.steps(CHECK, patience=patience)
    assert isinstance(next(steps), Send)
    driver.make(CHECK, response(200, RUN, bucket(5, driver.clock, resets_in=60)))
    driver.sent.clear()
    step = steps.send(lost())
    assert step == Wait(0.5, for_turn=False)
    driver.clock.now += 0.5
    if tries == 2:
        assert type(driver.fail_rest(steps, lost(), run)) is errors.TransportError
    else:
        assert driver.finish(steps, lost(), run).id == "run_1"
    assert sum(driver.turn_waits) == pytest.approx(59.55)
    assert len(driver.sent) == tries - 1


@pytest.mark.parametrize("late", [0.0, 10.0])
def test_a_retry_that_is_resumed_late_uses_up_no_patience(driver: Driver, late: float) -> None:
    """Where all threads are busy, a wait takes longer than it should."""
    steps = driver.exchange.steps(CHECK, patience=1.5)
    assert isinstance(next(steps), Send)
    assert steps.send(lost()) == Wait(0.5, for_turn=False)
    driver.clock.now += 0.5 + late
    assert isinstance(next(steps), Send)
    assert steps.send(lost()) == Wait(1, for_turn=False)


def test_a_retry_that_is_resumed_early_gains_no_patience(driver: Driver) -> None:
    steps = driver.exchange.steps(CHECK, patience=1.2)
    assert isinstance(next(steps), Send)
    assert steps.send(lost()) == Wait(0.5, for_turn=False)
    driver.clock.now += 0.25
    assert isinstance(next(steps), Send)
    with pytest.raises(errors.TransportError):
        steps.send(lost())


def test_with_endless_patience_only_the_deadline_ends_it(driver: Driver, busy: Response) -> None:
    started_at = driver.clock.now
    error = driver.fail(CHECK, busy, patience=math.inf, deadline=Deadline.after(600, now=started_at))
    assert type(error) is errors.ServerError
    assert driver.clock.now - started_at > 570


# The deadline


@pytest.mark.parametrize("seconds", [0, -5])
def test_after_the_deadline_nothing_is_sent(driver: Driver, run: Response, seconds: float) -> None:
    error = driver.fail(CHECK, run, deadline=Deadline(driver.clock.now + seconds))
    assert type(error) is errors.NotSentError
    assert str(error) == "the time limit was reached"
    assert error.retryable
    assert (driver.sent, driver.waits) == ([], [])


@pytest.mark.parametrize(("remaining", "tries"), [(25.0, 1), (25.5, 2)])
def test_nobody_waits_for_a_try_that_would_come_after_the_deadline(
    driver: Driver, response, remaining: float, tries: int
) -> None:
    busy = response(503, {"error": "busy"}, {"retry-after": "25"})
    error = driver.fail(CHECK, busy, deadline=Deadline.after(remaining, now=driver.clock.now))
    assert type(error) is errors.ServerError
    assert len(driver.sent) == tries


def test_a_wait_of_our_own_choice_takes_at_most_a_third_of_the_time_left(
    driver: Driver, run: Response
) -> None:
    driver.make(CHECK, After(0.3, lost()), run, deadline=Deadline.after(1.2, now=driver.clock.now))
    assert driver.retry_waits == [pytest.approx(0.3)]


def test_a_call_that_was_sent_never_ends_as_one_that_was_not(driver: Driver, busy: Response) -> None:
    error = driver.fail(CHECK, After(10, busy), deadline=Deadline.after(10, now=driver.clock.now))
    assert type(error) is errors.ServerError
    # The deadline passes while it waits for its turn.
    limited = Response(status=429, headers=bucket(0, driver.clock, resets_in=1), body=b"{}")
    deadline = Deadline.after(1.04, now=driver.clock.now)
    assert type(driver.fail(CHECK, limited, deadline=deadline)) is errors.RateLimitError
    assert driver.clock.now == deadline.at


def test_a_wait_for_a_turn_ends_with_the_deadline(driver: Driver, response) -> None:
    driver.make(CHECK, response(200, RUN, bucket(5, driver.clock, resets_in=8)))
    deadline = Deadline.after(0.25, now=driver.clock.now)
    error = driver.fail(CHECK, response(200, RUN), deadline=deadline)
    assert str(error) == "the time limit was reached"
    assert driver.clock.now == deadline.at
    assert driver.turn_waits == [pytest.approx(0.1), pytest.approx(0.1), pytest.approx(0.05)]


# The rate limit


def bucket(remaining: int, clock: Clock, *, resets_in: float) -> dict[str, str]:
    return {
        "x-ratelimit-limit": "100",
        "x-ratelimit-remaining": str(remaining),
        "x-ratelimit-reset": str(round((clock.time() + resets_in) * 1000)),
    }


def test_after_a_rejection_the_call_waits_for_the_servers_reset(
    driver: Driver, response, run: Response
) -> None:
    rejected = response(429, {"error": "Rate limit exceeded"}, bucket(0, driver.clock, resets_in=8))
    assert driver.make(CHECK, rejected, run).status == "QUEUED"
    assert driver.sent_at[1] - driver.sent_at[0] == pytest.approx(8.05)
    assert driver.retry_waits == [8]
    assert driver.turn_waits == [pytest.approx(0.05)]


def test_all_calls_slow_down_before_the_bucket_is_empty(driver: Driver, response) -> None:
    driver.make(CHECK, response(200, RUN, bucket(5, driver.clock, resets_in=8)))
    driver.make(CHECK, response(200, RUN, bucket(99, driver.clock, resets_in=18)))
    driver.make(CHECK, response(200, RUN))
    start, second, third = driver.sent_at
    assert second - start == pytest.approx(8.05)
    assert third == second
    assert driver.retry_waits == []
    assert max(driver.turn_waits) == TURN_INTERVAL == 0.1


def test_no_turn_is_waited_for_longer_than_it_takes(driver: Driver, response, run: Response) -> None:
    driver.make(CHECK, response(200, RUN, bucket(5, driver.clock, resets_in=0.02)))
    driver.make(CHECK, run)
    assert driver.turn_waits == [pytest.approx(0.07)]


def test_clients_that_share_a_rate_limit_share_its_pace(clock, response, run: Response) -> None:
    rate_limit = RateLimit()
    first, second = (Driver(clock, rate_limit=rate_limit) for _ in range(2))
    first.make(CHECK, response(200, RUN, bucket(5, clock, resets_in=8)))
    second.make(CHECK, run)
    assert sum(second.turn_waits) == pytest.approx(8.05)


def test_clients_that_share_a_rate_limit_use_it_one_at_a_time(clock) -> None:
    class Watched(RateLimit):
        inside = most = 0

        def delay(self, *, monotonic: float) -> float:
            self.inside += 1
            self.most = max(self.most, self.inside)
            time.sleep(0.002)
            return super().delay(monotonic=monotonic)

        def sent(self, *, monotonic: float) -> Any:
            self.inside -= 1
            return super().sent(monotonic=monotonic)

    rate_limit, start = Watched(), threading.Barrier(4)
    drivers = [Driver(clock, rate_limit=rate_limit) for _ in range(4)]

    def make_first_step(driver: Driver) -> None:
        start.wait()
        next(driver.exchange.steps(CHECK))

    threads = [threading.Thread(target=make_first_step, args=(driver,)) for driver in drivers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert rate_limit.most == 1


class Kill(BaseException):
    """What Airflow raises in a task at its end, in the middle of a request."""


@pytest.mark.parametrize("bug", [ValueError("a bug"), Kill()])
def test_a_request_that_raised_is_in_flight_no_more(
    driver: Driver, response, run: Response, bug: BaseException
) -> None:
    driver.make(CHECK, response(200, RUN, bucket(6, driver.clock, resets_in=8)))
    steps = driver.exchange.steps(CHECK)
    assert isinstance(next(steps), Send)
    with pytest.raises(type(bug)):
        steps.throw(bug)
    driver.make(CHECK, run)
    assert driver.waits == []


def test_a_request_that_was_abandoned_is_in_flight_no_more(driver: Driver, response, run: Response) -> None:
    driver.make(CHECK, response(200, RUN, bucket(6, driver.clock, resets_in=8)))
    steps = driver.exchange.steps(CHECK)
    next(steps)
    assert isinstance(next(driver.exchange.steps(CHECK)), Wait)
    steps.close()
    driver.make(CHECK, run)
    assert driver.waits == []


# The circuit breaker


@pytest.mark.parametrize(
    ("reply", "works"),
    [
        ((200, RUN), True),
        ((400, {"error": "no"}), True),
        ((404, {"error": "Resource not found"}), True),
        ((409, {"error": "no"}), True),
        ((422, {"error": "no"}), True),
        ((499, {"error": "no"}), True),
        # A gateway may send these.
        ((401, {"error": "Invalid API key"}), None),
        ((403, {"error": "no"}), None),
        ((429, {"error": "too many"}), None),
        ((200, b"<html>"), False),
        ((302, b""), False),
        ((404, b"<html>"), False),
        ((408, {"error": "late"}), False),
        ((500, {"error": "no"}), False),
        ((503, {"error": "busy"}), False),
        (lost(), False),
        (errors.TLSError("not accepted", retryable=False), False),
    ],
)
def test_what_shows_that_the_server_works_or_does_not(
    driver: Driver, response, reply, works: bool | None
) -> None:
    reply = response(*reply) if isinstance(reply, tuple) else reply
    breaker = driver.exchange.breaker
    for _ in range(9):
        driver.fail(CHECK, lost(), patience=0.0)
    before, failure = breaker.last_error, None
    try:
        driver.make(CHECK, reply, patience=0.0)
    except errors.TriggerDevError as error:
        failure = error
    assert breaker.has_worked is bool(works)
    assert breaker.is_open is (works is False)
    assert breaker.last_error is {True: None, False: failure, None: before}[works]
    assert str(before) == str(lost())


def test_while_the_server_does_not_respond_one_call_a_second_goes_out(
    driver: Driver, busy: Response, run: Response
) -> None:
    driver.open_breaker(lost())
    first, second = driver.exchange.steps(CHECK), driver.exchange.steps(CHECK)
    driver.clock.now += 1
    assert isinstance(next(first), Send)
    assert next(second) == Wait(TURN_INTERVAL, for_turn=True)
    driver.finish(second, run)
    assert sum(driver.turn_waits) == pytest.approx(1)
    # The answer closed it.
    driver.make(CHECK, run)
    assert driver.sent_at[0] == driver.sent_at[1]


def test_a_retry_waits_for_its_turn_too(driver: Driver, run: Response) -> None:
    driver.open_breaker(lost())
    driver.make(CHECK, lost(), lost(), run)
    first, second, third = driver.sent_at
    assert second - first == pytest.approx(1)  # 0.5 s by its own count
    assert third - second == pytest.approx(1)


def test_a_call_is_not_sent_when_the_server_has_not_responded_for_its_patience(driver: Driver) -> None:
    driver.open_breaker(lost())
    driver.clock.now += 4.5
    next(driver.exchange.steps(CHECK))  # this second's request
    error = driver.fail(CHECK, lost(), patience=4.5)
    assert type(error) is errors.NotSentError
    assert str(error) == f"the server stopped responding; last error: {lost()}"
    assert error.retryable
    assert (driver.sent, driver.waits) == ([], [])


def test_a_call_waits_for_its_turn_for_as_long_as_its_patience_allows(driver: Driver, run: Response) -> None:
    driver.open_breaker(lost())
    driver.clock.now += 4.5
    next(driver.exchange.steps(CHECK))
    assert type(driver.fail(CHECK, lost(), patience=5.0)) is errors.NotSentError
    assert sum(driver.turn_waits) == pytest.approx(0.5)
    driver.make(CHECK, run, patience=6.0)
    assert sum(driver.turn_waits) == pytest.approx(1)


def test_how_long_the_server_has_not_responded_counts_from_the_first_request_of_those(driver: Driver) -> None:
    """Ten requests hang for 30 s: then nobody waits for 30 s again."""
    steps = [driver.exchange.steps(CHECK, patience=0.0) for _ in range(10)]
    for one in steps:
        next(one)
    driver.clock.now += 30
    for one in steps:
        with pytest.raises(errors.TransportError):
            one.send(lost())
    next(driver.exchange.steps(CHECK))
    assert type(driver.fail(CHECK, lost(), patience=30.0)) is errors.NotSentError
    assert isinstance(next(driver.exchange.steps(CHECK, patience=30.1)), Wait)


def test_with_a_deadline_that_decides_how_long_to_wait_for_the_server(driver: Driver, run: Response) -> None:
    driver.open_breaker(lost())
    driver.clock.now += 10
    next(driver.exchange.steps(CHECK))
    driver.make(CHECK, run, patience=1.0, deadline=Deadline.after(60, now=driver.clock.now))
    assert len(driver.sent) == 1
    driver.open_breaker(lost())
    driver.clock.now += 10
    next(driver.exchange.steps(CHECK))
    assert type(driver.fail(CHECK, run, patience=1.0, deadline=NEVER)) is errors.NotSentError


def test_a_call_that_was_sent_ends_with_its_own_error(driver: Driver, response) -> None:
    driver.open_breaker(lost())
    failing_since = driver.clock.now
    driver.clock.now += 1
    steps = driver.exchange.steps(CHECK, patience=10.0)
    assert isinstance(next(steps), Send)
    step = steps.send(response(503, {"error": "its own"}, {"retry-after": "2"}))
    assert step == Wait(2, for_turn=False)
    for second in range(3, 10):
        driver.clock.now = failing_since + second
        driver.exchange.breaker.sent(monotonic=driver.clock.now)  # another call's turn
        assert next(steps) == Wait(TURN_INTERVAL, for_turn=True)
    driver.clock.now = failing_since + 10
    driver.exchange.breaker.sent(monotonic=driver.clock.now)
    with pytest.raises(errors.ServerError, match="its own"):
        next(steps)


@pytest.mark.parametrize(
    "reply", [errors.TLSError("not accepted", retryable=False), Response(status=302, headers={}, body=b"")]
)
def test_a_server_that_never_worked_and_cannot_ends_each_call_at_once(driver: Driver, reply: Reply) -> None:
    driver.open_breaker(reply)
    for deadline in (NEVER, Deadline.after(60, now=driver.clock.now)):
        error = driver.fail(CHECK, reply, patience=math.inf, deadline=deadline)
        assert str(error).startswith("the server stopped responding; last error: ")
        assert isinstance(error, errors.NotSentError)
        assert error.last_error is driver.exchange.breaker.last_error
        assert not error.retryable  # a wrong host does not become right
    assert (driver.sent, driver.waits) == ([], [])


def test_a_server_that_worked_does_not_end_a_call_at_once(driver: Driver, run: Response) -> None:
    driver.let_work()
    driver.open_breaker(errors.TLSError("not accepted", retryable=False))
    driver.make(CHECK, run, patience=60.0)
    assert len(driver.sent) == 1


def test_the_last_error_does_not_show_the_key(driver: Driver, response) -> None:
    driver.open_breaker(response(503, {"error": f"busy {KEY}"}))
    assert str(driver.exchange.breaker.last_error) == "GET /api/v3/runs/run_1 answered 503: busy ***"


# The secret key


def test_a_result_does_not_show_a_key_that_the_server_echoes(driver: Driver, response) -> None:
    run = driver.make(CHECK, response(200, RUN | {"payload": f"Bearer {KEY}", "taskIdentifier": KEY}))
    assert (run.attributes["payload"], run.task_identifier) == ("Bearer ***", "***")


@pytest.mark.parametrize(
    "reply",
    [
        (401, {"error": f"no such key: {KEY}"}, {"x-request-id": KEY}),
        (302, b"", {"location": f"https://login.test/?key={KEY}"}),
        (200, f"<html>{KEY}".encode(), {"content-type": f"text/{KEY}"}),
        (200, {"id": KEY, "status": KEY}),
        (429, b"", {"x-ratelimit-reset": KEY, "retry-after": KEY, "date": KEY}),
        errors.TransportError(f"lost {KEY}"),
        errors.UnexpectedAnswerError(f"more than 16 MB {KEY}", retryable=False),
    ],
)
@pytest.mark.parametrize("call", [CHECK, cancel_run("run_1"), ONCE])
def test_nothing_that_an_error_leads_to_shows_the_key(
    driver: Driver, response, key_in, reply, call: Call[Any]
) -> None:
    error = driver.fail(call, response(*reply) if isinstance(reply, tuple) else reply, patience=0.0)
    assert key_in(error) == []
    assert (error.__cause__, error.__context__) == (None, None)


@pytest.mark.parametrize("key", ["abc", KEY])
def test_a_key_is_hidden_in_each_text_of_an_error(clock, response, key: str) -> None:
    reply = response(403, {"error": f"no such key: {key}"}, {"x-request-id": key})
    error = Driver(clock, key=key).fail(cancel_run(key), reply)
    assert isinstance(error, errors.PermissionDeniedError)
    assert (error.detail, error.request_id) == ("no such key: ***", "***")
    assert error.path == "/api/v2/runs/***/cancel"
    assert str(error) == f"POST {error.path} answered 403: no such key: *** (request ***)"


@pytest.mark.parametrize("key", ["d", "run", "id", "status", "20", "QUEUED"])
def test_a_key_too_short_to_be_one_garbles_no_answer(clock, response, key: str) -> None:
    headers = {"date": formatdate(clock.time(), usegmt=True)}
    driver = Driver(clock, key=key)
    run = driver.make(CHECK, response(200, RUN, headers))
    assert (run.id, run.status) == ("run_1", "QUEUED")
    assert run.seen_at is not None
    assert run.seen_at.year == 2026
    assert type(driver.fail(CHECK, response(404, {"error": "Not found"}))) is errors.NotFoundError


def test_an_error_leads_to_no_frame_of_what_read_the_answer(driver: Driver, response) -> None:
    error = driver.fail(CHECK, response(200, b"<html>"), patience=0.0)
    modules = [frame.f_globals["__name__"] for frame, _ in walk_tb(error.__traceback__)]
    assert modules[-1] == Exchange.__module__


# The log


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG, "airflow_provider_trigger")
    return caplog


def test_each_retry_is_logged(driver: Driver, log: pytest.LogCaptureFixture, run: Response) -> None:
    driver.make(CHECK, lost(), lost(), run)
    assert log.messages == [
        f"Attempt 1 failed, the next one follows in 0.5 s: {lost()}",
        f"Attempt 2 failed, the next one follows in 1.0 s: {lost()}",
    ]


def test_a_call_that_succeeds_or_is_not_repeated_logs_nothing(
    driver: Driver, log: pytest.LogCaptureFixture, response, run: Response
) -> None:
    driver.make(CHECK, run)
    driver.fail(CHECK, response(403, {"error": "no"}))
    driver.fail(CHECK, lost(), patience=0.0)
    assert log.messages == []


@pytest.mark.parametrize(("later", "level"), [(4.4, logging.DEBUG), (4.5, logging.INFO), (9, logging.INFO)])
def test_an_outage_does_not_flood_the_log(
    driver: Driver, log: pytest.LogCaptureFixture, run: Response, later: float, level: int
) -> None:
    driver.make(CHECK, lost(), run)
    driver.clock.now += later
    driver.make(CHECK, lost(), run)
    assert [record.levelno for record in log.records] == [logging.INFO, level]


def test_only_a_line_above_debug_level_starts_the_interval(
    driver: Driver, log: pytest.LogCaptureFixture, run: Response
) -> None:
    for _ in range(5):
        driver.make(CHECK, lost(), run)
        driver.clock.now += 2
    levels = [record.levelno for record in log.records]
    assert levels == [logging.INFO, logging.DEBUG, logging.INFO, logging.DEBUG, logging.INFO]


@pytest.mark.parametrize(
    ("resets_in", "messages"),
    [(8, ["Waiting 8 s for the rate limit"]), (1.95, ["Waiting 2 s for the rate limit"]), (1.9, [])],
)
def test_a_long_pause_for_the_rate_limit_is_logged_once(
    driver: Driver, log: pytest.LogCaptureFixture, response, resets_in: float, messages: list[str]
) -> None:
    driver.make(CHECK, response(200, RUN, bucket(5, driver.clock, resets_in=resets_in)))
    next(driver.exchange.steps(CHECK))
    driver.make(CHECK, response(200, RUN, bucket(99, driver.clock, resets_in=18)))
    driver.make(CHECK, response(200, RUN))
    assert log.messages == messages


def test_each_pause_for_the_rate_limit_is_logged(
    driver: Driver, log: pytest.LogCaptureFixture, response
) -> None:
    for resets_in in (8, 16, 0):
        driver.make(CHECK, response(200, RUN, bucket(5, driver.clock, resets_in=resets_in)))
    assert log.messages == ["Waiting 8 s for the rate limit"] * 2


class Pause(RateLimit):
    """A rate limit that makes each call wait for the same time."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    def delay(self, *, monotonic: float) -> float:
        return self._seconds


@pytest.mark.parametrize(("seconds", "lines"), [(1.999, 0), (2.0, 1)])
def test_a_pause_of_two_seconds_is_worth_a_line(
    clock, log: pytest.LogCaptureFixture, seconds: float, lines: int
) -> None:
    next(Driver(clock, rate_limit=Pause(seconds)).exchange.steps(CHECK))
    assert len(log.messages) == lines


@pytest.mark.parametrize(("later", "lines"), [(2.0, 1), (2.25, 2)])
def test_a_pause_that_grows_is_logged_again_once_it_is_two_seconds_longer(
    clock, log: pytest.LogCaptureFixture, later: float, lines: int
) -> None:
    driver = Driver(clock, rate_limit=Pause(4.0))
    next(driver.exchange.steps(CHECK))
    clock.now += later
    next(driver.exchange.steps(CHECK))
    assert log.messages == ["Waiting 4 s for the rate limit"] * lines


def test_a_wait_for_the_server_is_not_logged_as_one_for_the_rate_limit(
    driver: Driver, log: pytest.LogCaptureFixture, run: Response
) -> None:
    driver.open_breaker(lost())
    log.clear()
    driver.make(CHECK, run)
    assert log.messages == []


@pytest.mark.parametrize("patience", [0.0, 120.0])
def test_a_401_for_a_key_that_has_worked_is_repeated_once_whatever_the_patience(
    driver: Driver, response, run: Response, patience: float
) -> None:
    rejected = response(401, {"error": "Invalid API key"})
    driver.make(CHECK, run)
    assert driver.make(CHECK, rejected, run, patience=patience).id == "run_1"
    with pytest.raises(errors.AuthenticationError):
        driver.make(CHECK, rejected, rejected, patience=patience)


def test_a_deadline_that_passes_just_before_the_request_leaves_it_a_valid_timeout(driver: Driver) -> None:
    assert driver.exchange._timeout(Deadline(driver.clock.now), is_retry=False) == pytest.approx(0.01)


# The server's clock


@pytest.mark.parametrize(
    ("ahead", "which"), [(9, None), (-9, None), (90, "90 s ahead of"), (-90, "90 s behind"), (7200, "7200 s")]
)
def test_a_date_that_differs_from_the_local_clock_is_not_used_and_that_is_logged_once(
    clock,
    driver: Driver,
    response,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    ahead: int,
    which: str | None,
) -> None:
    monkeypatch.setattr(server_advice, "_warnings", count())
    clock.now = float(int(clock.now))
    began = datetime.fromtimestamp(clock.time() - 60, UTC).isoformat()
    shown = {"id": "run_1", "status": "CANCELED", "createdAt": began, "startedAt": began, "updatedAt": began}
    for _ in range(2):
        headers = {"date": formatdate(clock.time() + ahead, usegmt=True)}
        run = driver.make(CHECK, response(200, shown, headers))
        assert run.age == pytest.approx(0 if which else 60 + ahead, abs=2)
        assert not run.is_terminated, "its worker has 75 s to end"
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == (1 if which else 0)
    assert all(f"The server's clock (Date header) is {which}" in warning for warning in warnings)
