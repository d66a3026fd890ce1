"""The one table of which failures are worth repeating, how often, and how long to wait. Pure."""

from __future__ import annotations

import math

from airflow_provider_trigger.api.errors import (
    AuthenticationError,
    ResponseError,
    TransportError,
    TriggerDevError,
    UnexpectedAnswerError,
    is_not_from_trigger_dev,
)
from airflow_provider_trigger.api.http import Request, Response, read_http_date

UNLIMITED = math.inf
"""As many tries as there is time for."""

TRIES_AT_500 = 6
"""A 500 can be permanent, as for an id with a NUL (measured); 502, 503 and 504 pass."""

TRIES_AT_SHOULD_RETRY = 4
"""A GET's 404 says ``x-should-retry: true`` every time (measured): it counts for this many tries."""

TRIES_AT_UNEXPECTED = 6
"""What a server that never answered as Trigger.dev does gets: it may be another product."""

TRIES_AT_401_AFTER_SUCCESS = 2
"""A gateway may send a 401 for a key that has worked; a revoked key gets it again."""

_TRIES_BY_STATUS = {408: UNLIMITED, 409: UNLIMITED, 425: UNLIMITED, 429: UNLIMITED, 500: TRIES_AT_500}

MAX_WAIT = 60.0
"""No single wait is longer, in seconds: clocks differ, and a server may name any time."""

_FIRST_BACKOFF = 0.5
_MAX_BACKOFF = 30.0


def tries_by_status(status: int) -> float:
    """
    Return how often a repeatable request may be sent in all when it is answered with an error status.

    :param status: the HTTP status
    """
    return _TRIES_BY_STATUS.get(status, UNLIMITED if status > 500 else 1)


def should_retry(response: Response | None) -> bool | None:
    """
    Return what the server's ``x-should-retry`` says, None if it says nothing.

    :param response: what the server answered, None for no answer
    """
    header = response.headers.get("x-should-retry", "").lower() if response else ""
    return {"true": True, "false": False}.get(header)


def tries_allowed(
    request: Request, error: TriggerDevError, response: Response | None, *, has_worked: bool
) -> float:
    """
    Return how many times a call may be sent in all, given how it failed last.

    A 401 or 429 rejects a request before it has an effect, so it may be sent again, repeatable or not.

    :param request: what was sent
    :param error: what it ended with
    :param response: what the server answered, None for no answer
    :param has_worked: whether the server has answered this client as Trigger.dev does before
    """
    advised = should_retry(response)
    is_rejected = response is not None and response.status in (401, 429)
    if advised is False or not (request.repeatable or is_rejected):
        return 1
    allowed = _tries_by_kind(error, has_worked=has_worked)
    return max(allowed, TRIES_AT_SHOULD_RETRY) if advised else allowed


def _tries_by_kind(error: TriggerDevError, *, has_worked: bool) -> float:
    if isinstance(error, AuthenticationError):
        return TRIES_AT_401_AFTER_SUCCESS if has_worked else 1
    if is_not_from_trigger_dev(error) and has_worked:
        # A page in front of a server that has worked before: maintenance, a deployment.
        return UNLIMITED if error.retryable or isinstance(error, ResponseError) else 1
    if isinstance(error, UnexpectedAnswerError):
        return TRIES_AT_UNEXPECTED if error.retryable else 1
    if isinstance(error, ResponseError):
        return tries_by_status(error.status)
    return UNLIMITED if isinstance(error, TransportError) and error.retryable else 1


def shows_that_server_works(error: TriggerDevError | None) -> bool | None:
    """
    Return whether a request's end shows that Trigger.dev answers; None where it shows nothing.

    :param error: what it ended with, None for a success
    """
    if error is None:
        return True
    if not isinstance(error, ResponseError) or is_not_from_trigger_dev(error):
        return False
    if error.status in (401, 403, 429):
        return None  # may be a gateway's
    return error.status < 500 and error.status not in (408, 425)


def backoff(attempt: int, *, jitter: float) -> float:
    """
    Return how long to wait where the server does not say, in seconds: growing, and random.

    :param attempt: how often the call was sent so far, 1 or more
    :param jitter: a random number from 0 to 1; the wait is half of the longest one, and this much of the rest
    """
    longest = min(_MAX_BACKOFF, _FIRST_BACKOFF * 2.0 ** min(attempt - 1, 30))
    return longest * (0.5 + 0.5 * jitter)


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
    Return the seconds until the rate limit's bucket is refilled, None if unknown or past.

    :param response: any answer; most carry ``x-ratelimit-reset``
    :param now: the local time, in seconds since 1970
    """
    reset = _number(response.headers.get("x-ratelimit-reset"))
    if reset is None:
        return None
    seconds = reset / 1000 if reset > 1e11 else reset
    return _positive(seconds - _server_time(response, now=now))


def _server_time(response: Response, *, now: float) -> float:
    """Return the server's clock where it differs from ours, which is finer."""
    date = response.date()
    return date.timestamp() if date and abs(date.timestamp() - now) > 5 else now


def _retry_after(response: Response, *, now: float) -> float | None:
    value = response.headers.get("retry-after", "")
    if (seconds := _number(value)) is not None:
        return _positive(seconds)
    date = read_http_date(value)
    return _positive(date.timestamp() - _server_time(response, now=now)) if date else None


def _seconds_in_body(response: Response) -> float | None:
    return _positive(_number(response.json_object().get("secondsUntilReset")) or 0.0)


def _number(value: object) -> float | None:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (ValueError, TypeError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _positive(seconds: float) -> float | None:
    return seconds if seconds > 0 else None
