"""What an answer says of another try: whether to make one, and when; and whether its clock is right."""

from __future__ import annotations

import itertools
import logging
from dataclasses import replace

from airflow_provider_trigger.api.http import Response, read_http_date
from airflow_provider_trigger.durations import read_number

MAX_WAIT = 60.0
"""No single wait is longer, in seconds: clocks differ, and a server may name any time."""

_MAX_CLOCK_DIFFERENCE = 10.0  # in seconds; a canceled run counts as terminated 15 s after it is

UNTRUSTED_DATE = "untrusted-date"
"""Has the ``Date`` of an answer that is without it, as the local clock differs."""

log = logging.getLogger(__name__)

_warnings = itertools.count()


def should_retry(response: Response | None) -> bool | None:
    """Return what the server's ``x-should-retry`` says, None if it says nothing."""
    header = response.headers.get("x-should-retry", "").lower() if response else ""
    return {"true": True, "false": False}.get(header)


def is_rejected_by_bucket(response: Response) -> bool:
    """
    Return whether a 429 may be the rate limit's.

    One of another limit, as for queries at once, shows tokens that are left (measured).
    """
    left = read_number(response.headers.get("x-ratelimit-remaining"))
    return response.status == 429 and not (left or 0.0) > 0


def server_wait(response: Response, *, now: float) -> float | None:
    """
    Return how many seconds the server wants us to wait, None if it does not say.

    The first that applies: ``Retry-After`` in seconds or as a date (proxies send it); in a 429,
    ``x-ratelimit-reset``.
    """
    value = response.headers.get("retry-after", "")
    wait, date = read_number(value), read_http_date(value)
    if date is not None:
        wait = date.timestamp() - _server_time(response, now=now)
    if not wait or wait < 0:
        wait = seconds_until_reset(response, now=now) if is_rejected_by_bucket(response) else None
    return None if wait is None else min(wait, MAX_WAIT)


def seconds_until_reset(response: Response, *, now: float) -> float | None:
    """Return the seconds until the rate limit's bucket is refilled, None if unknown or past."""
    reset = read_number(response.headers.get("x-ratelimit-reset")) or 0.0  # in ms since 1970
    wait = reset / 1000 - _server_time(response, now=now)
    return wait if wait > 0 else None


def _server_time(response: Response, *, now: float) -> float:
    """Return the server's clock where it differs from ours, which is finer."""
    date = response.date()
    return date.timestamp() if date and abs(date.timestamp() - now) > 5 else now


def with_trusted_date(response: Response, *, now: float) -> Response:
    """Return an answer without its ``Date`` where the local clock differs: either may be wrong. Warn once."""
    date = response.date()
    ahead = date.timestamp() - now if date else 0.0
    if abs(ahead) <= _MAX_CLOCK_DIFFERENCE:
        return response
    if next(_warnings) == 0:
        text = (
            "The server's clock (Date header) is %.0f s %s the local one, so neither is used for the age of "
            "runs. Correct the one that is wrong: this machine's, the server's, or that of a proxy"
        )
        log.warning(text, abs(ahead), "ahead of" if ahead > 0 else "behind")
    untrusted = {"date": "", UNTRUSTED_DATE: response.headers["date"]}
    return replace(response, headers={**response.headers, **untrusted})
