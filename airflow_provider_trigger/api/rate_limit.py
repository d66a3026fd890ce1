"""One pace for all that share a client: slow down before the rate limit's bucket is empty."""

from __future__ import annotations

import math

from airflow_provider_trigger.api.endpoints import Response
from airflow_provider_trigger.api.retries import MAX_WAIT, seconds_until_reset, server_wait

# The bucket is filled up in one step (measured); a moment later nobody is refused for a clock's rounding.
_MARGIN = 0.05


class RateLimit:
    """
    What is known of the bucket that the environment's application shares with us.

    Pure: the driver tells the time, asks :meth:`delay` before it sends, and reports what it sent and got.

    :param reserve: the share of the bucket left to the application, 0 to 1
    """

    def __init__(self, *, reserve: float = 0.05) -> None:
        self._reserve = reserve
        self._limit = 0.0
        self._remaining = math.inf
        self._reset: float = 0.0
        self._refilled_at = 0.0
        self._refused_until = 0.0
        self._refused = False
        self._in_flight = 0

    def delay(self, *, monotonic: float) -> float:
        """
        Return how many seconds to wait before sending; 0 for now, infinite for until an answer comes in.

        :param monotonic: the time on a monotonic clock, in seconds
        """
        if monotonic < self._refused_until:
            return self._refused_until - monotonic
        if self._refused and self._in_flight:
            return math.inf
        # Those in flight may be counted in what remains, or not: take the smaller.
        if self._remaining - self._in_flight > math.ceil(self._limit * self._reserve):
            return 0.0
        if monotonic < self._refilled_at:
            return self._refilled_at - monotonic
        # Refilled by nobody knows how much: one goes ahead and brings the news.
        return math.inf if self._in_flight else 0.0

    def sent(self) -> None:
        """Count a request that is on its way."""
        self._in_flight += 1

    def answered(self, response: Response | None, *, monotonic: float, now: float) -> None:
        """
        Count a request that is back.

        :param response: what the server answered, None if nothing
        :param monotonic: the time on a monotonic clock, in seconds
        :param now: the time in seconds since 1970
        """
        self._in_flight -= 1
        if response is None:
            return
        tells_bucket = self._read(response, monotonic=monotonic, now=now)
        self._refused = response.status == 429
        if not self._refused:
            return
        wait = server_wait(response, now=now) or 0.0
        self._refused_until = max(self._refused_until, monotonic + wait + _MARGIN)
        # Without the limit's headers a proxy refused, which knows nothing of the bucket.
        if tells_bucket:
            self._remaining = 0
            self._refilled_at = max(self._refilled_at, self._refused_until)

    def _read(self, response: Response, *, monotonic: float, now: float) -> bool:
        """Learn of the bucket, and return whether the answer tells of it."""
        try:
            limit, remaining, reset = (
                float(response.headers[f"x-ratelimit-{name}"]) for name in ("limit", "remaining", "reset")
            )
        except (KeyError, ValueError):
            if 200 <= response.status < 300:
                # Trigger.dev's own successes tell the bucket: there is none, and whoever refused was a proxy.
                self._remaining = math.inf
            return False
        if not all(map(math.isfinite, (limit, remaining, reset))):
            return False
        if reset < self._reset:
            return True
        self._limit = limit
        # Answers overtake each other: within one filling, the lowest is the latest.
        self._remaining = min(self._remaining, remaining) if reset == self._reset else remaining
        self._reset = reset
        wait = seconds_until_reset(response, now=now) or 0.0
        self._refilled_at = monotonic + min(wait, MAX_WAIT) + _MARGIN
        return True
