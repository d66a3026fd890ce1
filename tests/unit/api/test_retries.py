from __future__ import annotations

import math
from typing import Any

import pytest

from airflow_provider_trigger.api import endpoints, errors, retries
from airflow_provider_trigger.api.endpoints import Request, Response

NOW = 1_795_599_150.0
GET = endpoints.retrieve_run("run_1").request
ONCE = Request(method="POST", path="/api/v1/tasks/t/trigger", repeatable=False)


def error_of(answered: Response) -> errors.TriggerDevError:
    with pytest.raises(errors.TriggerDevError) as raised:
        endpoints.retrieve_run("run_1").read(answered)
    raised.value.response = answered
    return raised.value


@pytest.mark.parametrize(
    ("status", "tries"),
    [
        (301, 1),
        (400, 1),
        (401, 1),
        (403, 1),
        (404, 1),
        (405, 1),
        (408, math.inf),
        (409, math.inf),
        (422, 1),
        (429, math.inf),
        (500, retries.TRIES_AT_500),
        (502, math.inf),
        (503, math.inf),
        (504, math.inf),
    ],
)
def test_how_often_each_status_is_tried(response: Any, status: int, tries: float) -> None:
    assert retries.tries_allowed(GET, error_of(response(status, {"error": "no"}))) == tries


@pytest.mark.parametrize(
    ("status", "tries"),
    [(404, retries.TRIES_WHEN_ASKED_TO), (500, retries.TRIES_AT_500), (503, math.inf)],
)
def test_a_server_that_asks_for_another_try_gets_some(response: Any, status: int, tries: float) -> None:
    answered = response(status, {"error": "no"}, {"x-should-retry": "TRUE"})
    assert retries.tries_allowed(GET, error_of(answered)) == tries


@pytest.mark.parametrize("status", [404, 408, 429, 500, 503])
def test_a_server_that_forbids_another_try_gets_none(response: Any, status: int) -> None:
    answered = response(status, {"error": "no"}, {"x-should-retry": "false"})
    assert retries.tries_allowed(GET, error_of(answered)) == 1


def test_an_unreadable_answer_is_asked_for_a_few_times(response: Any) -> None:
    assert retries.tries_allowed(GET, error_of(response(200, b"<html>"))) == retries.TRIES_WHEN_UNREADABLE


@pytest.mark.parametrize(
    ("error", "tries"),
    [
        (errors.TransportError("refused"), math.inf),
        (errors.TransportError("the URL is malformed", retryable=False), 1),
        (errors.TLSError("expired", retryable=False), 1),
        (errors.UnexpectedAnswerError("enormous", retryable=False), 1),
        (errors.NotSentError("stopped", retryable=True), 1),
        (ValueError("a bug"), 1),
        (None, 1),
    ],
)
def test_how_often_what_is_no_answer_is_tried(error: BaseException | None, tries: float) -> None:
    assert retries.tries_allowed(GET, error) == tries


def test_what_must_not_be_sent_twice_is_not(response: Any) -> None:
    asked_to = response(503, {"error": "no"}, {"x-should-retry": "true"})
    assert retries.tries_allowed(ONCE, error_of(asked_to)) == 1
    assert retries.tries_allowed(ONCE, errors.TransportError("cut off")) == 1


DATE = "Wed, 25 Nov 2026 09:32:30 GMT"  # NOW
LATER = "Wed, 25 Nov 2026 09:32:37 GMT"
RESET = {"x-ratelimit-reset": str(int(NOW * 1000) + 4000)}


@pytest.mark.parametrize(
    ("status", "headers", "body", "wait"),
    [
        (503, {}, {}, None),
        (503, {"retry-after": "3"}, {}, 3),
        (503, {"retry-after": "0.5"}, {}, 0.5),
        (503, {"retry-after": LATER}, {}, 7),
        (503, {"retry-after": LATER.replace("GMT", "-0000")}, {}, 7),
        # Four hours ahead of us: what it says is to be read by its own clock.
        (503, {"retry-after": "Wed, 25 Nov 2026 13:32:33 GMT", "date": DATE.replace("09", "13")}, {}, 3),
        (503, {"retry-after": DATE}, {}, None),
        (503, {"retry-after": "0"}, {}, None),
        (503, {"retry-after": "-3"}, {}, None),
        (503, {"retry-after": "soon"}, {}, None),
        (503, {"retry-after": "nan"}, {}, None),
        (503, {"retry-after": "1 Jan 99999999999999999999 00:00 GMT"}, {}, None),
        (503, {"retry-after": "86400"}, {}, retries.MAX_WAIT),
        (429, {"retry-after": "3"} | RESET, {"secondsUntilReset": 9}, 3),
        (429, {"retry-after": "soon"} | RESET, {"secondsUntilReset": 9}, 4),
        (429, RESET, {"secondsUntilReset": 9}, 4),
        (429, {"x-ratelimit-reset": str(int(NOW) + 5)}, {}, 5),
        (429, {"x-ratelimit-reset": str(int(NOW * 1000) - 1)}, {"secondsUntilReset": 9}, 9),
        (429, {"x-ratelimit-reset": "never"}, {"secondsUntilReset": "9"}, 9),
        (429, {}, {"secondsUntilReset": 9.5}, 9.5),
        (429, {}, {"secondsUntilReset": -1}, None),
        (429, {}, {"secondsUntilReset": "soon"}, None),
        (429, {}, {"secondsUntilReset": 10**400}, None),
        (429, {}, b"<html>", None),
        (429, {"x-ratelimit-reset": str(int(NOW * 1000) + 10**9)}, {}, retries.MAX_WAIT),
        # Only a 429 says that it was the bucket.
        (503, RESET, {"secondsUntilReset": 9}, None),
    ],
)
def test_how_long_the_server_wants_us_to_wait(
    response: Any, status: int, headers: dict[str, str], body: Any, wait: float | None
) -> None:
    assert retries.server_wait(response(status, body, headers), now=NOW) == pytest.approx(wait)


def test_a_reset_is_read_by_the_servers_clock_where_it_is_another(response: Any) -> None:
    an_hour_behind = NOW + 3600
    headers = RESET | {"date": DATE}
    answered = response(200, b"", headers)
    assert retries.seconds_until_reset(answered, now=an_hour_behind) == pytest.approx(4)


def test_a_reset_is_read_by_our_clock_where_it_is_the_same_as_it_is_finer(response: Any) -> None:
    answered = response(200, b"", RESET | {"date": DATE})
    assert retries.seconds_until_reset(answered, now=NOW + 0.75) == pytest.approx(3.25)


class Attempts:
    """Fails as it is told to, and then succeeds."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.made = 0
        self.slept: list[float] = []

    def run(self, *, retry_for: float = 120.0, request: Request = GET) -> str:
        policy = retries.policy(request=request, retry_for=lambda: retry_for, sleep=self.slept.append)
        return policy(self._attempt)

    def _attempt(self) -> str:
        self.made += 1
        if self.failures:
            raise self.failures.pop(0)
        return "done"


def test_a_failure_that_passes_is_got_over() -> None:
    attempts = Attempts(errors.TransportError("refused"), errors.TransportError("cut off"))
    assert attempts.run() == "done"
    assert attempts.made == 3
    assert len(attempts.slept) == 2


def test_without_a_word_from_the_server_waits_are_random_within_a_doubling_bound() -> None:
    attempts = Attempts(*[errors.TransportError("refused") for _ in range(12)])
    attempts.run()
    bounds = [min(0.5 * 2**tries, 30) for tries in range(12)]
    assert all(0 <= wait <= bound for wait, bound in zip(attempts.slept, bounds, strict=True))
    assert len(set(attempts.slept)) > 1


def test_the_servers_own_time_is_waited(response: Any) -> None:
    attempts = Attempts(error_of(response(503, {"error": "busy"}, {"retry-after": "17"})))
    attempts.run()
    assert attempts.slept == [17]


def test_what_is_not_worth_repeating_fails_at_once_as_itself(response: Any) -> None:
    error = error_of(response(401, {"error": "Invalid API key"}))
    attempts = Attempts(error)
    with pytest.raises(errors.AuthenticationError) as raised:
        attempts.run()
    assert raised.value is error
    assert (attempts.made, attempts.slept) == (1, [])


def test_tries_are_bounded_and_the_last_error_is_raised(response: Any) -> None:
    failures = [error_of(response(500, {"error": f"try {number}"})) for number in range(99)]
    attempts = Attempts(*failures)
    with pytest.raises(errors.ServerError, match=f"try {retries.TRIES_AT_500 - 1}"):
        attempts.run()
    assert attempts.made == retries.TRIES_AT_500


def test_nobody_waits_for_what_would_come_too_late(response: Any) -> None:
    attempts = Attempts(error_of(response(503, {"error": "busy"}, {"retry-after": "17"})))
    with pytest.raises(errors.ServerError):
        attempts.run(retry_for=16.9)
    assert attempts.slept == []


def test_a_bug_is_not_repeated() -> None:
    attempts = Attempts(ValueError("a bug"))
    with pytest.raises(ValueError, match="a bug"):
        attempts.run()
    assert attempts.made == 1
