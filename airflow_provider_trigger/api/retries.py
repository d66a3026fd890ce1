"""
Is a failed call worth repeating, how often, and how long to wait before it is.

Pure functions; :func:`policy` makes of them the one tenacity policy that every driver uses.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import tenacity

from airflow_provider_trigger.api.endpoints import Request, Response, read_http_date
from airflow_provider_trigger.api.errors import (
    ResponseError,
    TransportError,
    TriggerDevError,
    UnexpectedAnswerError,
)

# A GET's 404 says "x-should-retry: true" for ever (measured): believe it after this many tries.
TRIES_WHEN_ASKED_TO = 4
# An answer that is no JSON is seldom cured by asking again.
TRIES_WHEN_UNREADABLE = 3
# A 500 can be for ever, as for an id with a NUL (measured); 502, 503 and 504 pass.
TRIES_AT_500 = 6

MAX_WAIT = 60.0
"""No single wait is longer, in seconds: clocks differ, and a server may name any time."""

_BACKOFF = tenacity.wait_random_exponential(multiplier=0.5, max=30)


def tries_allowed(request: Request, error: BaseException | None) -> float:
    """
    Return how many times a call may be sent in all, given how it failed last; infinite if only time counts.

    :param request: what was sent
    :param error: what came of it
    """
    if not request.repeatable or not isinstance(error, TriggerDevError):
        return 1
    wish = _wish(error.response)
    if wish == "false":
        return 1
    allowed = _tries_by_kind(error)
    return max(allowed, TRIES_WHEN_ASKED_TO) if wish == "true" else allowed


def _tries_by_kind(error: TriggerDevError) -> float:
    if isinstance(error, UnexpectedAnswerError):
        return TRIES_WHEN_UNREADABLE if error.retryable else 1
    if isinstance(error, ResponseError):
        if error.status == 500:
            return TRIES_AT_500
        return math.inf if error.status in (408, 409, 429) or error.status > 500 else 1
    return math.inf if isinstance(error, TransportError) and error.retryable else 1


def _wish(response: Response | None) -> str | None:
    return response.headers.get("x-should-retry", "").lower() if response else None


def server_wait(response: Response, *, now: float) -> float | None:
    """
    Return how many seconds the server wants us to wait, None if it does not say.

    The first that applies: ``Retry-After`` in seconds or as a date (proxies send it); in a 429,
    ``x-ratelimit-reset`` in milliseconds since 1970, or in seconds where the number is small, and
    ``secondsUntilReset`` in the body.

    :param response: what the server answered
    :param now: the local time, in seconds since 1970
    """
    wait = _retry_after(response, now=now)
    if wait is None and response.status == 429:
        wait = seconds_until_reset(response, now=now)
        if wait is None:
            wait = _seconds_in_body(response)
    return None if wait is None else min(wait, MAX_WAIT)


def seconds_until_reset(response: Response, *, now: float) -> float | None:
    """
    Return the seconds until the rate limit's bucket is filled up, None if unknown or past.

    :param response: any answer; most carry ``x-ratelimit-reset``
    :param now: the local time, in seconds since 1970
    """
    reset = _number(response.headers.get("x-ratelimit-reset"))
    if reset is None:
        return None
    seconds = reset / 1000 if reset > 1e11 else reset
    return _positive(seconds - _server_time(response, now=now))


def _server_time(response: Response, *, now: float) -> float:
    """Return the server's clock where it tells another time than ours, which is finer."""
    date = response.date()
    return date.timestamp() if date and abs(date.timestamp() - now) > 5 else now


def _retry_after(response: Response, *, now: float) -> float | None:
    value = response.headers.get("retry-after")
    if value is None:
        return None
    if (seconds := _number(value)) is not None:
        return _positive(seconds)
    date = read_http_date(value)
    return _positive(date.timestamp() - _server_time(response, now=now)) if date else None


def _seconds_in_body(response: Response) -> float | None:
    answer = response.json_object()
    return _positive(_number(answer.get("secondsUntilReset")) or 0.0)


def _number(value: object) -> float | None:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (ValueError, TypeError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _positive(seconds: float) -> float | None:
    return seconds if seconds > 0 else None


def policy(
    *, request: Request, retry_for: Callable[[], float], sleep: Callable[[float], None]
) -> tenacity.Retrying:
    """
    Return the retry policy of one call; the last error is raised when it gives up.

    :param request: what is sent
    :param retry_for: tells how many more seconds the call may go on trying
    :param sleep: waits between two tries
    """

    def is_worth_repeating(state: tenacity.RetryCallState) -> bool:
        error = _error(state)
        return error is not None and state.attempt_number < tries_allowed(request, error)

    def wait(state: tenacity.RetryCallState) -> float:
        error = _error(state)
        response = error.response if isinstance(error, TriggerDevError) else None
        wanted = server_wait(response, now=time.time()) if response else None
        return _BACKOFF(state) if wanted is None else wanted

    def is_out_of_time(state: tenacity.RetryCallState) -> bool:
        return state.upcoming_sleep > retry_for()

    return tenacity.Retrying(
        retry=is_worth_repeating, wait=wait, stop=is_out_of_time, sleep=sleep, reraise=True
    )


def _error(state: tenacity.RetryCallState) -> Any:
    return state.outcome.exception() if state.outcome else None
