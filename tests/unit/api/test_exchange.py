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
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest
from fake_clock import Clock

from airflow_provider_trigger.api import errors, server_advice
from airflow_provider_trigger.api.deadline import NEVER, Deadline
from airflow_provider_trigger.api.endpoints.outputs import fetch_output
from airflow_provider_trigger.api.endpoints.query import QUERY_TIMEOUT, query_descendants, query_runs
from airflow_provider_trigger.api.endpoints.runs import cancel_run, retrieve_run
from airflow_provider_trigger.api.endpoints.waitpoint_tokens import retrieve_token
from airflow_provider_trigger.api.exchange import TURN_INTERVAL, Exchange, Reply, Send, Step, Steps, Wait
from airflow_provider_trigger.api.http import Call, Request, Response
from airflow_provider_trigger.api.masking import Masking
from airflow_provider_trigger.api.rate_limit import RateLimit

T = TypeVar("T")

KEY = "tr_prod_marker/of+the=test"
RUN = {"id": "run_1", "status": "QUEUED"}
CHECK = retrieve_run("run_1")
FETCH = fetch_output("https://store.test/packets/1.json?X-Amz-Signature=s")
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
        """Make a call; each request gets the next of these replies, and the last of them again and again."""
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

    def begin(self, call: Call[T]) -> Steps[T]:
        """Make a call up to its request, which gets no reply yet."""
        steps = self.exchange.steps(call)
        assert isinstance(next(steps), Send)
        return steps

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


@pytest.mark.parametrize(
    ("time_limit", "timeout"),
    [(None, 30), (90, 30), (89.25, 29.75), (30, 10), (3, 1), (2.5, 1), (1, 1), (0.5, 0.5)],
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


@pytest.mark.parametrize(("timeout", "of_query"), [(30.0, QUERY_TIMEOUT), (2.0, 2.0)])
@pytest.mark.parametrize("query", [query_runs, query_descendants])
def test_a_query_takes_little_time(clock, response, query, timeout: float, of_query: float) -> None:
    driver = Driver(clock, timeout=timeout)
    driver.make(query(["run_1"]), response(200, {"results": []}))
    assert driver.sent[0].timeout == of_query


# Retries


def test_a_server_that_recovers_is_waited_for(driver: Driver, response, run: Response) -> None:
    busy = response(503, {"error": "busy"}, {"retry-after": "17"})
    assert driver.make(CHECK, response(500, {"error": "no"}), lost(), lost(), busy, run).status == "QUEUED"
    assert len(driver.sent) == 5
    assert driver.waits == [Wait(seconds, for_turn=False) for seconds in (0.5, 1, 2, 17)]


BROKEN, LATE = (500, {"error": "broken"}), (503, {"error": "busy"}, {"retry-after": "25"})
PAGE = (404, b"<html>")


@pytest.mark.parametrize(
    ("call", "reply", "options", "sent"),
    [
        (CHECK, (403, {"error": "no"}), {}, 1),
        (CHECK, errors.TLSError("not accepted", retryable=False), {}, 1),
        (CHECK, (404, {"error": "Not found"}, {"x-should-retry": "true"}), {}, 4),
        (CHECK, BROKEN, {}, 6),
        (CHECK, PAGE, {}, 1),
        (ONCE, BROKEN, {}, 1),
        (CHECK, LATE, {"patience": 0.0}, 1),
        (CHECK, LATE, {"patience": 49.9}, 2),
        (CHECK, LATE, {"patience": 50.0}, 3),
        (CHECK, LATE, {}, 5),  # within the 120 s that are the default here
        (CHECK, LATE, {"deadline": Deadline(1000.0 + 25)}, 1),
        (CHECK, LATE, {"deadline": Deadline(1000.0 + 25.5)}, 2),
        (CHECK, LATE, {"patience": math.inf, "deadline": Deadline(1000.0 + 600)}, 24),
    ],
)
def test_how_often_a_call_is_sent_and_what_it_ends_with(
    driver: Driver, response, call: Call[Any], reply, options: dict[str, Any], sent: int
) -> None:
    answered = response(*reply) if isinstance(reply, tuple) else reply
    error = driver.fail(call, answered, **options)
    assert len(driver.sent) == error.tries == sent
    assert error is answered or getattr(error, "status", None) == reply[0]
    assert error.run_id == call.request.run_id


def test_once_the_server_has_worked_a_page_in_front_of_it_is_repeated_until_it_is_gone(
    driver: Driver, response, run: Response
) -> None:
    driver.let_work()
    assert driver.make(CHECK, *[response(*PAGE)] * 9, run, patience=math.inf).id == "run_1"
    assert len(driver.sent) == 10


def test_a_date_that_the_server_gives_is_compared_with_the_wall_clock(
    driver: Driver, response, run: Response
) -> None:
    date = "Wed, 25 Nov 2026 09:46:47 GMT"  # 7 s after the clock's time
    driver.make(CHECK, response(503, b"", {"retry-after": date}), run)
    assert driver.retry_waits == [7]


@pytest.mark.parametrize("taken_off", [0, 0.25, 0.5])
def test_waits_double_up_to_half_a_minute(
    driver: Driver, jitter: SimpleNamespace, run: Response, taken_off: float
) -> None:
    jitter.random = lambda: 1 - 2 * taken_off
    driver.make(CHECK, *[lost()] * 9, run, patience=math.inf)
    longest = [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    assert driver.retry_waits == [seconds * (1 - taken_off) for seconds in longest]


def test_a_wait_of_our_own_is_a_third_of_the_time_left_at_most(driver: Driver, run: Response) -> None:
    driver.make(CHECK, lost(), lost(), lost(), run, deadline=Deadline.after(4, now=driver.clock.now))
    assert driver.retry_waits == pytest.approx([0.5, 1, 2.5 / 3])


def test_the_tries_of_one_kind_are_not_used_up_by_another(driver: Driver, response) -> None:
    rejected, broken, busy = (response(status, {"error": "no"}) for status in (401, 500, 503))
    others = [lost(), broken, broken, busy] * 2
    driver.fail(CHECK, *others, rejected, lost(), rejected, patience=math.inf)
    assert len(driver.sent) == 11
    driver.make(CHECK, response(200, RUN))
    driver.fail(CHECK, *others, broken, broken, patience=math.inf)
    assert len(driver.sent) == 22


def test_a_wait_before_another_try_says_what_the_last_one_ended_with(
    driver: Driver, response, run: Response
) -> None:
    first, rejection = lost(), bucket(0, driver.clock, resets_in=1)
    driver.make(CHECK, first, response(429, {"error": "too many"}, rejection), run)
    assert driver.waits[0].error is first
    assert isinstance(driver.waits[1].error, errors.RateLimitError)
    assert [wait.error for wait in driver.waits if wait.for_turn] == [None]


@pytest.mark.parametrize("patience", [0.0, 120.0])
def test_a_rejected_key_costs_one_request_more_until_an_answer_shows_that_it_works(
    driver: Driver, response, run: Response, patience: float
) -> None:
    rejected = response(401, {"error": "Invalid API key"})
    for _ in range(5):
        assert type(driver.fail(CHECK, rejected, patience=patience)) is errors.AuthenticationError
    assert (len(driver.sent), len(driver.waits)) == (6, 1)
    driver.make(CHECK, run)
    assert driver.make(CHECK, rejected, run, patience=patience).id == "run_1"
    assert (len(driver.sent), len(driver.waits)) == (9, 2)


@pytest.mark.parametrize(("server_wait", "waited"), [(None, 1), ("0.2", 0.2), ("60", 1)])
def test_a_401_is_tried_again_within_a_second(
    driver: Driver, response, run: Response, server_wait: str | None, waited: float
) -> None:
    headers = {"retry-after": server_wait} if server_wait else {}
    driver.make(CHECK, *[lost()] * 5, response(401, {"error": "no"}, headers), run)
    assert driver.retry_waits[5:] == [waited]


def test_a_401_is_not_tried_again_after_the_deadline(driver: Driver, response) -> None:
    rejected = response(401, {"error": "no"}, {"retry-after": "0.5"})
    driver.fail(CHECK, rejected, deadline=Deadline.after(0.5, now=driver.clock.now))
    assert len(driver.sent) == 1


def test_a_call_that_failed_otherwise_goes_on_while_the_key_is_rejected(
    driver: Driver, response, run: Response
) -> None:
    driver.fail(CHECK, response(401, {"error": "Invalid API key"}))
    assert driver.make(CHECK, lost(), run).id == "run_1"


def test_calls_that_were_rejected_at_a_time_cost_one_request_more(driver: Driver, response) -> None:
    rejected = response(401, {"error": "Invalid API key"})
    first, *others = all_steps = [driver.begin(CHECK) for _ in range(5)]
    for steps in all_steps:
        assert isinstance(steps.send(rejected), Wait)
    driver.clock.now += 1
    driver.fail_rest(first, rejected)
    for steps in others:
        assert type(driver.fail_rest(steps, rejected)) is errors.AuthenticationError
    assert len(driver.sent) == 1


# How long to go on


def test_patience_counts_from_the_first_request(driver: Driver, response, run: Response) -> None:
    """Waiting for a turn is not a try; the time that a request takes counts."""
    driver.make(CHECK, response(200, RUN, bucket(5, driver.clock, resets_in=50)))
    started_at = driver.clock.now
    driver.make(CHECK, lost(), run, patience=0.5)
    assert driver.sent_at[1] - started_at > 50
    assert len(driver.sent) == 3
    driver.fail(CHECK, After(0.2, lost()), run, patience=0.6)
    assert len(driver.sent) == 4


@pytest.mark.parametrize(
    ("late", "patience", "ends"),
    [(0, 1.5, False), (10, 1.5, False), (-0.25, 1.25, False), (-0.25, 1.2, True)],
)
def test_a_retry_that_is_resumed_late_uses_up_no_patience_and_one_early_gains_none(
    driver: Driver, late: float, patience: float, ends: bool
) -> None:
    """Where all threads are busy, a wait takes longer than it should."""
    steps = driver.exchange.steps(CHECK, patience=patience)
    assert isinstance(next(steps), Send)
    assert steps.send(lost()) == Wait(0.5, for_turn=False)
    driver.clock.now += 0.5 + late
    assert isinstance(next(steps), Send)
    if ends:
        with pytest.raises(errors.TransportError):
            steps.send(lost())
    else:
        assert steps.send(lost()) == Wait(1, for_turn=False)


# The deadline


@pytest.mark.parametrize("seconds", [0, -5])
def test_after_the_deadline_nothing_is_sent(driver: Driver, run: Response, seconds: float) -> None:
    error = driver.fail(CHECK, run, deadline=Deadline(driver.clock.now + seconds))
    assert type(error) is errors.NotSentError
    assert str(error) == "the time limit was reached"
    assert error.retryable
    assert (driver.sent, driver.waits) == ([], [])


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
        ((404, {"error": "Resource not found"}), True),
        *(((status, {"error": "no"}), None) for status in (401, 403, 429)),
        (BROKEN, False),
    ],
)
def test_what_an_answer_shows_of_the_server_opens_or_closes_the_breaker(
    driver: Driver, response, reply, works: bool | None
) -> None:
    breaker = driver.exchange.breaker
    for _ in range(9):
        before = driver.fail(CHECK, lost(), patience=0.0)
    failure = driver.fail(CHECK, response(*reply), patience=0.0)
    assert breaker.has_worked is bool(works)
    assert breaker.is_open is (works is False)
    assert breaker.last_error is {True: None, False: failure, None: before}[works]


@pytest.mark.parametrize(("status", "is_open"), [(500, False), (503, True)])
def test_a_token_that_may_not_exist_does_not_open_the_breaker(
    driver: Driver, response, status: int, is_open: bool
) -> None:
    for _ in range(11):
        driver.fail(retrieve_token("waitpoint_1"), response(status, {"error": "no"}), patience=0.0)
    assert driver.exchange.breaker.is_open is is_open


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


def test_a_call_is_not_sent_when_the_server_has_not_responded_for_its_patience(
    driver: Driver, response
) -> None:
    driver.open_breaker(response(503, {"error": f"busy {KEY}"}))
    driver.clock.now += 4.5
    next(driver.exchange.steps(CHECK))  # this second's request
    error = driver.fail(CHECK, lost(), patience=4.5)
    assert type(error) is errors.NotSentError
    text = "the server stopped responding; last error: GET /api/v3/runs/run_1 answered 503: busy ***"
    assert str(error) == text
    assert error.retryable
    assert (driver.sent, driver.waits) == ([], [])


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
    driver.clock.now += 9.5
    busy = response(503, {"error": "its own"}, {"retry-after": "0.2"})
    error = driver.fail(CHECK, busy, patience=10.0)
    assert (type(error), len(driver.sent)) == (errors.ServerError, 1)
    assert sum(driver.turn_waits) == pytest.approx(0.3)


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
    driver.exchange.breaker.has_worked = True
    driver.make(CHECK, Response(status=200, headers={}, body=b'{"id": "run_1", "status": "QUEUED"}'))


# Requests that the rate limit does not count: to an object store


def output(
    status: int = 200, body: bytes = b'{"json": 1}', headers: dict[str, str] | None = None
) -> Response:
    sent = {"content-type": "application/super+json"} | (headers or {})
    return Response(status=status, headers=sent, body=body)


def test_they_wait_for_no_turn_and_take_none(driver: Driver, run: Response, response) -> None:
    # Successes of the API without these headers would mean that there is no rate limit.
    driver.make(CHECK, response(200, RUN, bucket(0, driver.clock, resets_in=50)))
    assert driver.make(FETCH, output()) == 1
    assert (driver.sent[1:], driver.waits) == ([Send(FETCH.request, 30.0)], [])
    driver.make(CHECK, run)
    assert sum(driver.turn_waits) == pytest.approx(50.05)


def test_their_answers_say_nothing_of_the_rate_limit(driver: Driver, run: Response) -> None:
    driver.make(FETCH, output(headers=bucket(0, driver.clock, resets_in=50)))
    driver.fail(FETCH, output(429), patience=0.0)
    driver.make(CHECK, run)
    assert driver.waits == []


@pytest.mark.parametrize("reply", [lost(), output(503), output(body=b"<html>")])
def test_they_neither_open_nor_close_the_breaker(driver: Driver, reply: Reply) -> None:
    breaker = driver.exchange.breaker
    for _ in range(20):
        driver.fail(FETCH, reply, patience=0.0)
    assert (breaker.is_open, breaker.last_error) == (False, None)
    driver.open_breaker(lost())
    assert driver.make(FETCH, output()) == 1
    assert (breaker.is_open, breaker.has_worked, driver.waits) == (True, False, [])


@pytest.mark.parametrize(
    ("reply", "sent"),
    [(output(403), 1), (output(404), 1), (output(301), 1), (output(500), 6), (output(body=b"<html>"), 6)],
)
@pytest.mark.parametrize("has_worked", [False, True])
def test_how_often_an_output_is_fetched_does_not_depend_on_trigger_dev(
    driver: Driver, reply: Reply, sent: int, has_worked: bool
) -> None:
    if has_worked:
        driver.let_work()
    driver.fail(FETCH, reply, patience=math.inf)
    assert len(driver.sent) == sent


# The log


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG, "airflow_provider_trigger")
    return caplog


def test_each_retry_is_logged_and_nothing_else(
    driver: Driver, log: pytest.LogCaptureFixture, run: Response
) -> None:
    driver.make(CHECK, lost(), lost(), run)
    assert log.messages == [
        f"Attempt 1 failed, the next one follows in 0.5 s: {lost()}",
        f"Attempt 2 failed, the next one follows in 1.0 s: {lost()}",
    ]
    log.clear()
    driver.make(CHECK, run)
    driver.fail(CHECK, lost(), patience=0.0)
    assert log.messages == []


@pytest.mark.parametrize(("later", "level"), [(4.4, logging.DEBUG), (4.5, logging.INFO)])
def test_an_outage_does_not_flood_the_log(
    driver: Driver, log: pytest.LogCaptureFixture, run: Response, later: float, level: int
) -> None:
    driver.make(CHECK, lost(), run)
    driver.clock.now += later
    driver.make(CHECK, lost(), run)
    assert [record.levelno for record in log.records] == [logging.INFO, level]


@pytest.mark.parametrize(
    ("pause", "later", "lines"), [(1.999, 9, 0), (2.0, 0, 1), (4.0, 3.75, 1), (4.0, 4.0, 2)]
)
def test_a_pause_of_two_seconds_is_worth_one_line(
    driver: Driver,
    log: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    pause: float,
    later: float,
    lines: int,
) -> None:
    monkeypatch.setattr(RateLimit, "delay", lambda _, **now: pause)
    for _ in range(2):
        next(driver.exchange.steps(CHECK))
        driver.clock.now += later
    assert log.messages == [f"Waiting {pause:.0f} s for the rate limit"] * lines


def test_a_wait_for_the_server_is_not_logged_as_one_for_the_rate_limit(
    driver: Driver, log: pytest.LogCaptureFixture, run: Response
) -> None:
    driver.open_breaker(lost())
    log.clear()
    driver.make(CHECK, run)
    assert log.messages == []


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
