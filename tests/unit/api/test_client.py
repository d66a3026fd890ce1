"""Calls of a client in virtual time: how often they are sent, their pace, deadline and log."""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import formatdate
from itertools import pairwise
from typing import Any, TypeVar

import pytest
import requests
from hub import Hub

from airflow_provider_trigger.api import errors
from airflow_provider_trigger.api.http import Call, Request
from airflow_provider_trigger.api.limits import NEVER, Deadline
from airflow_provider_trigger.api.runs import cancel_run, ended_run, retrieve_run
from airflow_provider_trigger.api.tokens import retrieve_token
from airflow_provider_trigger.run.output import fetch_output

T = TypeVar("T")

KEY = "tr_prod_marker/of+the=test"
RUN = {"id": "run_1", "status": "QUEUED"}
CHECK = retrieve_run("run_1")
FETCH = fetch_output("https://store.test/packets/1.json?X-Amz-Signature=s")
ONCE: Call[None] = Call(
    request=Request(method="POST", path="/api/v1/tasks/t/trigger", repeatable=False),
    read=cancel_run("run_1").read,
)
LOST = requests.ConnectionError()
LOST_TEXT = "GET /api/v3/runs/run_1 to trigger.test: ConnectionError"
NO_TLS = requests.exceptions.SSLError("the certificate is not accepted")


@dataclass(frozen=True)
class After:
    """A reply that comes some seconds after the request."""

    seconds: float
    reply: Any


class Calls:
    """Makes calls one after the other, and keeps when requests were sent."""

    def __init__(self, connect: Callable[..., Any], clock: Hub, **settings: Any):
        self.clock = clock
        self.forget()
        self._replies: list[Any] = []
        self.client, self._wire = connect(self._reply, **{"timeout": 30.0, "retry_for": 120.0} | settings)

    def _reply(self, _: object) -> Any:
        self.sent_at.append(self.clock.now)
        assert len(self.sent_at) < 1000, "the call does not end"
        reply = self._replies.pop(0) if len(self._replies) > 1 else self._replies[0]
        if isinstance(reply, After):
            self.clock.sleep(reply.seconds)
            reply = reply.reply
        return reply

    def make(self, call: Call[T], *replies: Any, **options: Any) -> T:
        """Make a call; each request gets the next of these replies, and the last of them again and again."""
        self._replies = list(replies)
        result: T = self.client.call(call, **options)
        return result

    def fail(self, call: Call[Any], *replies: Any, **options: Any) -> errors.TriggerDevError:
        """Make a call that fails, and return its error."""
        with pytest.raises(errors.TriggerDevError) as raised:
            self.make(call, *replies, **options)
        return raised.value

    def fail_ten_times(self, reply: Any) -> None:
        """Let ten calls fail, so that the circuit breaker opens, and forget them."""
        for _ in range(10):
            self.fail(CHECK, reply, patience=0.0)
        self.forget()

    def forget(self) -> None:
        self.begun, self.sent_at = self.clock.now, list[float]()

    def within(self, seconds: float | None) -> Deadline:
        return Deadline.after(seconds, now=self.clock.now)

    @property
    def gaps(self) -> list[float]:
        """The seconds between requests."""
        return [round(later - earlier, 2) for earlier, later in pairwise(self.sent_at)]

    @property
    def waited(self) -> float:
        """The seconds that all calls have taken together."""
        return round(self.clock.now - self.begun, 2)

    @property
    def timeouts(self) -> list[float]:
        return [options["timeout"][1] for options in self._wire.options]


@pytest.fixture
def calls(connect, clock) -> Calls:
    return Calls(connect, clock)


@pytest.fixture(autouse=True)
def longest_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "uniform", max)


@pytest.fixture
def run(answer) -> Any:
    return answer(200, RUN)


def bucket(remaining: int, clock: Hub, *, resets_in: float) -> dict[str, str]:
    return {
        "x-ratelimit-limit": "100",
        "x-ratelimit-remaining": str(remaining),
        "x-ratelimit-reset": str(round((clock.time() + resets_in) * 1000)),
    }


# One request


@pytest.mark.parametrize(
    ("time_limit", "timeouts"),
    [(None, [30, 30]), (90, [30, 29.8]), (30, [10, 9.8]), (2.5, [1, 1]), (1.5, [1, 0.5]), (0.5, [0.5])],
)
def test_how_long_a_request_lasts(calls: Calls, run, time_limit: float | None, timeouts: list[float]) -> None:
    """So that a check can follow, which shows whether a cancel had its effect."""
    replies = [LOST, run] if len(timeouts) > 1 else [run]
    calls.make(CHECK, *replies, deadline=calls.within(time_limit))
    assert calls.timeouts == pytest.approx(timeouts, abs=0.04)


# Retries


def test_a_server_that_recovers_is_waited_for(calls: Calls, answer, run) -> None:
    busy = answer(503, {"error": "busy"}, {"retry-after": "17"})
    assert calls.make(CHECK, answer(500, {"error": "no"}), LOST, LOST, busy, run).status == "QUEUED"
    assert calls.gaps == [0.5, 1, 2, 17]


OURS, PAGE = {"error": "Not found"}, b"<html>"
FOREIGN = "this is not a Trigger.dev server, or a proxy stands in front of it"
ALWAYS = 7
"""How often it is sent within the patience that these calls have."""

# Statuses and a body; the kind of error; how often a call is sent that gets this each time, and once the
# server has worked, as a page is then one of a gateway.
FAILURES: list[tuple[tuple[int, ...], Any, type[errors.TriggerDevError], int, int]] = [
    ((400, 402, 405, 410, 413, 422, 499), OURS, errors.ResponseError, 1, 1),
    ((408, 409, 425), OURS, errors.ResponseError, ALWAYS, ALWAYS),
    ((401,), OURS, errors.AuthenticationError, 2, 2),
    ((403,), OURS, errors.PermissionDeniedError, 1, 1),
    ((404,), OURS, errors.NotFoundError, 1, 1),
    ((429,), OURS, errors.RateLimitError, ALWAYS, ALWAYS),
    ((500,), OURS, errors.ServerError, 6, 6),
    ((501, 502, 503, 504, 599), OURS, errors.ServerError, ALWAYS, ALWAYS),
    ((300, 301, 307, 399), PAGE, errors.RedirectError, 1, ALWAYS),
    # Another product's; of a 404 it is not taken for an unknown run.
    ((404, 409, 501), PAGE, errors.NotTriggerDevError, 1, ALWAYS),
    ((404,), {"error": "Not Found"}, errors.NotTriggerDevError, 1, ALWAYS),
    ((404,), {"message": "Not found"}, errors.NotTriggerDevError, 1, ALWAYS),
    ((400, 403, 405, 422, 499), PAGE, errors.NotTriggerDevError, 1, 1),
    ((400,), {"error": {"code": 1}}, errors.NotTriggerDevError, 1, 1),
    # What a gateway in front of Trigger.dev says in its own form.
    ((401,), PAGE, errors.AuthenticationError, 2, 2),
    ((408, 425), PAGE, errors.ResponseError, ALWAYS, ALWAYS),
    ((413,), PAGE, errors.ResponseError, 1, 1),
    ((429,), PAGE, errors.RateLimitError, ALWAYS, ALWAYS),
    ((502, 503, 504, 599), PAGE, errors.ServerError, ALWAYS, ALWAYS),
    ((200,), PAGE, errors.UnexpectedAnswerError, 6, ALWAYS),
    ((200,), {"id": "run_2", "status": "QUEUED"}, errors.UnexpectedAnswerError, 6, ALWAYS),
]


@pytest.mark.parametrize(
    ("status", "body", "kind", "at_first", "later"),
    [(status, *row) for statuses, *row in FAILURES for status in statuses],
)
def test_what_an_answer_becomes_and_how_often_its_call_is_sent(
    connect, clock: Hub, answer, run, status: int, body, kind: type[errors.TriggerDevError], at_first, later
) -> None:
    def tries(headers: Any = None, *, call: Call[Any] = CHECK, has_worked: bool = False) -> int:
        calls = Calls(connect, clock)
        if has_worked:
            calls.make(CHECK, run)
            calls.forget()
        error = calls.fail(call, answer(status, body, headers or {}), patience=40.0)
        assert len(calls.sent_at) == error.tries
        return error.tries

    error = Calls(connect, clock).fail(CHECK, answer(status, body), patience=0.0)
    assert type(error) is kind, error
    assert str(error).startswith(f"GET /api/v3/runs/run_1 answered {status}" if status != 200 else "GET ")
    assert (FOREIGN in str(error)) is (kind is errors.NotTriggerDevError or (status == 200 and body == PAGE))
    assert error.retryable is (status in (200, 408, 409, 425, 429) or status >= 500)
    assert (tries(), tries(has_worked=True)) == (at_first, later)
    is_rejected = status in (401, 429)  # then it had no effect
    assert tries(call=ONCE) == (at_first if is_rejected else 1)
    assert tries({"x-should-retry": "false"}, has_worked=True) == (2 if status == 401 else 1)
    assert tries({"x-should-retry": "TRUE"}) == max(4, at_first)


BROKEN, LATE = (500, {"error": "broken"}), (503, {"error": "busy"}, {"retry-after": "25"})


@pytest.mark.parametrize(
    ("call", "reply", "options", "sent"),
    [
        (CHECK, LOST, {"patience": 40.0}, ALWAYS),
        (ONCE, LOST, {}, 1),
        (CHECK, NO_TLS, {}, 1),
        (ended_run(CHECK), (200, RUN), {}, 6),  # a replica lags
        (CHECK, LATE, {"patience": 0.0}, 1),
        (CHECK, LATE, {"patience": 49.9}, 2),
        (CHECK, LATE, {"patience": 50.1}, 3),
        (CHECK, LATE, {}, 5),  # within the 120 s that are the default here
        (CHECK, LATE, {"deadline": 25}, 1),
        (CHECK, LATE, {"deadline": 25.5}, 2),
        (CHECK, LATE, {"patience": math.inf, "deadline": 600}, 24),
    ],
)
def test_how_often_a_call_is_sent_within_its_patience_and_its_deadline(
    calls: Calls, answer, call: Call[Any], reply, options: dict[str, Any], sent: int
) -> None:
    if "deadline" in options:
        options = options | {"deadline": calls.within(options["deadline"])}
    error = calls.fail(call, answer(*reply) if isinstance(reply, tuple) else reply, **options)
    assert len(calls.sent_at) == error.tries == sent
    if "deadline" in options:
        assert calls.clock.now < options["deadline"].at, "it waits for nothing that comes too late"


def test_the_tries_of_one_kind_are_not_used_up_by_another(calls: Calls, answer, run) -> None:
    rejected, broken, busy = (answer(status, {"error": "no"}) for status in (401, 500, 503))
    others = [LOST, broken, broken, busy] * 2
    calls.fail(CHECK, *others, rejected, LOST, rejected, patience=math.inf)
    assert len(calls.sent_at) == 11
    calls.make(CHECK, run)
    calls.fail(CHECK, *others, broken, broken, patience=math.inf)
    assert len(calls.sent_at) == 22


# A rejected key


@pytest.mark.parametrize("patience", [0.0, 120.0])
def test_a_rejected_key_costs_one_request_until_it_works(calls: Calls, answer, run, patience: float) -> None:
    rejected = answer(401, {"error": "Invalid API key"})
    for _ in range(5):
        assert type(calls.fail(CHECK, rejected, patience=patience)) is errors.AuthenticationError
    assert (len(calls.sent_at), calls.waited) == (6, 0.5)
    calls.make(CHECK, run)
    assert calls.make(CHECK, rejected, run, patience=patience).id == "run_1"
    assert (len(calls.sent_at), calls.waited) == (9, 1)


def test_a_closed_client_closes_its_connections_and_sends_nothing_more(connect, answer) -> None:
    def close(_: object) -> Any:
        client.close()
        return answer(500, {"error": "no database"})

    client, wire = connect(close)
    closed = []
    wire.close = lambda: closed.append(True)
    with client as entered:
        assert entered is client
        for error in (errors.ServerError, errors.NotSentError):
            with pytest.raises(error, match=r"no database$|^the client was closed$"):
                client.call(CHECK)
            assert len(wire.sent) == 1
        closed.clear()
    assert closed


# How long to go on


def test_patience_counts_from_the_first_request(calls: Calls, answer, run) -> None:
    """Waiting for a turn is not a try; the time that a request takes counts."""
    calls.make(CHECK, answer(200, RUN, bucket(5, calls.clock, resets_in=50)))
    calls.make(CHECK, LOST, run, patience=0.51)
    assert (len(calls.sent_at), calls.gaps[0] > 50) == (3, True)
    calls.fail(CHECK, After(0.2, LOST), run, patience=0.6)
    assert len(calls.sent_at) == 4


# The deadline


@pytest.mark.parametrize("seconds", [0, -5])
def test_after_the_deadline_nothing_is_sent(calls: Calls, run, seconds: float) -> None:
    error = calls.fail(CHECK, run, deadline=calls.within(seconds))
    assert type(error) is errors.NotSentError
    assert (str(error), error.retryable) == ("the time limit was reached", True)
    assert (calls.sent_at, calls.waited) == ([], 0)


def test_a_call_that_was_sent_never_ends_as_one_that_was_not(calls: Calls, answer) -> None:
    """The deadline passes while it waits for its turn."""
    limited = answer(429, b"{}", bucket(0, calls.clock, resets_in=1))
    deadline = calls.within(1.04)
    assert type(calls.fail(CHECK, limited, deadline=deadline)) is errors.RateLimitError
    assert calls.clock.now == pytest.approx(deadline.at, abs=0.01)


# The rate limit


def test_all_calls_slow_down_before_the_bucket_is_empty(calls: Calls, answer, run) -> None:
    calls.make(CHECK, answer(200, RUN, bucket(5, calls.clock, resets_in=8)))
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        calls.clock.sleep(seconds)

    calls.make(CHECK, answer(200, RUN, bucket(99, calls.clock, resets_in=18)), sleep=sleep)
    calls.make(CHECK, run)
    assert calls.gaps == [8.05, 0]
    assert max(pauses) == 0.1  # so that a stop is seen soon


# The circuit breaker


@pytest.mark.parametrize(
    ("call", "reply", "next_one", "opens"),
    [
        *((CHECK, (status, OURS), errors.TransportError, False) for status in (401, 403, 404, 409)),
        (ended_run(CHECK), (200, RUN), errors.TransportError, False),
        (CHECK, (429, OURS), errors.TransportError, True),
        (retrieve_token("waitpoint_1"), (500, OURS), errors.TransportError, True),
        *((CHECK, (status, OURS), errors.NotSentError, True) for status in (408, 425, 500, 503)),
        *((CHECK, (status, PAGE), errors.NotSentError, True) for status in (200, 302, 404)),
    ],
)
def test_ten_failures_in_a_row_hold_up_calls_and_what_shows_nothing_does_not_count(
    calls: Calls, answer, run, call: Call[Any], reply, next_one: type[errors.TriggerDevError], opens: bool
) -> None:
    for _ in range(9):
        calls.fail(CHECK, LOST, patience=0.0)
    calls.fail(call, answer(*reply), patience=0.0)
    assert type(calls.fail(CHECK, LOST, patience=0.0)) is next_one
    calls.forget()
    calls.make(CHECK, run)
    assert calls.waited == (1 if opens else 0)


def test_while_the_server_does_not_respond_one_request_a_second_goes_out(calls: Calls, run) -> None:
    calls.fail_ten_times(LOST)
    begun = calls.clock.now
    calls.make(CHECK, LOST, LOST, run)
    calls.make(CHECK, run)  # the answer closed it
    assert [sent_at - begun for sent_at in calls.sent_at] == pytest.approx([1, 2, 3, 3], abs=0.01)


def test_a_call_is_not_sent_when_the_server_has_not_responded_for_its_patience(calls: Calls, answer) -> None:
    busy = answer(503, {"error": f"busy {KEY}"})
    calls.fail_ten_times(busy)
    calls.clock.sleep(4.5)
    calls.fail(CHECK, busy, patience=0.0)  # this second's request
    calls.forget()
    error = calls.fail(CHECK, LOST, patience=4.5)
    assert (type(error), error.retryable) == (errors.NotSentError, True)
    text = "the server stopped responding; last error: GET /api/v3/runs/run_1 answered 503: busy ***"
    assert str(error) == text
    assert (calls.sent_at, calls.waited) == ([], 0)
    # With a deadline, that decides how long to wait.
    assert calls.make(CHECK, answer(200, RUN), patience=1.0, deadline=calls.within(60)).id == "run_1"


@pytest.mark.parametrize("reply", [NO_TLS, (302, b"")])
def test_a_server_that_never_worked_and_cannot_ends_each_call_at_once(calls: Calls, answer, reply) -> None:
    reply = answer(*reply) if isinstance(reply, tuple) else reply
    calls.fail_ten_times(reply)
    for deadline in (NEVER, calls.within(60)):
        error = calls.fail(CHECK, reply, patience=math.inf, deadline=deadline)
        assert str(error).startswith("the server stopped responding; last error: ")
        assert not error.retryable  # a wrong host does not become right
    assert (calls.sent_at, calls.waited) == ([], 0)


# Requests that the rate limit does not count: to an object store


@pytest.fixture
def output(answer) -> Callable[..., Any]:
    def build(status: int = 200, body: bytes = b'{"json": 1}', headers: Any = None) -> Any:
        return answer(status, body, {"content-type": "application/super+json"} | (headers or {}))

    return build


def test_they_wait_for_no_turn_and_take_none(calls: Calls, answer, run, output) -> None:
    calls.make(FETCH, output(headers=bucket(0, calls.clock, resets_in=90)))
    calls.make(CHECK, answer(200, RUN, bucket(0, calls.clock, resets_in=50)))
    assert (calls.make(FETCH, output()), calls.waited) == (1, 0)
    calls.make(CHECK, run)
    assert calls.waited == 50.05


def test_they_neither_open_nor_close_the_breaker(calls: Calls, run, output) -> None:
    for _ in range(10):
        calls.fail(FETCH, output(503), patience=0.0)
    calls.make(CHECK, run)
    calls.fail_ten_times(LOST)
    assert (calls.make(FETCH, output()), calls.waited) == (1, 0)
    assert type(calls.fail(CHECK, run, patience=0.0)) is errors.NotSentError


# The log


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG, "airflow_provider_trigger")
    monkeypatch.setattr(logging.getLogger("airflow_provider_trigger"), "propagate", True)  # a world ends it
    return caplog


def test_each_retry_is_logged_and_nothing_else(calls: Calls, log: pytest.LogCaptureFixture, run) -> None:
    calls.make(CHECK, LOST, LOST, run)
    assert log.messages == [
        f"Attempt 1 failed, the next one follows in 0.5 s: {LOST_TEXT}",
        f"Attempt 2 failed, the next one follows in 1.0 s: {LOST_TEXT}",
    ]
    log.clear()
    calls.make(CHECK, run)
    calls.fail(CHECK, LOST, patience=0.0)
    assert log.messages == []


@pytest.mark.parametrize(("pause", "lines"), [(1.9, []), (9.0, ["Waiting 9 s for the rate limit"])])
def test_a_pause_of_two_seconds_is_worth_one_line(
    calls: Calls, answer, run, log: pytest.LogCaptureFixture, pause: float, lines: list[str]
) -> None:
    calls.make(CHECK, answer(200, RUN, bucket(0, calls.clock, resets_in=pause - 0.05)))
    for _ in range(2):
        calls.fail(CHECK, run, deadline=calls.within(0.1))
    assert log.messages == lines


# The server's clock


@pytest.mark.parametrize("ahead", [9, -9, 90, -90, 7200])
def test_a_date_that_differs_from_the_local_clock_is_not_used(calls: Calls, answer, ahead: int) -> None:
    clock = calls.clock
    began = datetime.fromtimestamp(clock.time() - 60, UTC).isoformat()
    shown = {"id": "run_1", "status": "CANCELED", "createdAt": began, "startedAt": began, "updatedAt": began}
    run = calls.make(CHECK, answer(200, shown, {"date": formatdate(clock.time() + ahead, usegmt=True)}))
    assert run.age == pytest.approx(60 + ahead if abs(ahead) == 9 else 0, abs=2)
    assert not run.is_terminated, "its worker has 75 s to end"
