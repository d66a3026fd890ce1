"""What holds requests up: a deadline, the rate limit, an outage. Pure: the caller says what time it is."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass

from airflow_provider_trigger import defaults
from airflow_provider_trigger.api import answers
from airflow_provider_trigger.api.answers import MAX_WAIT
from airflow_provider_trigger.api.errors import TriggerDevError
from airflow_provider_trigger.api.http import Response
from airflow_provider_trigger.rules import read_number


@dataclass(frozen=True, slots=True)
class Deadline:
    """When a piece of work must have ended."""

    at: float = math.inf

    @classmethod
    def after(cls, seconds: float | None, *, now: float) -> Deadline:
        """Return the deadline for work that begins now."""
        return NEVER if seconds is None else cls(now + seconds)

    def remaining(self, now: float) -> float:
        """Return the seconds left: 0 when it has passed, infinite without a limit."""
        return max(0.0, self.at - now)

    def before(self, share: float, *, now: float) -> Deadline:
        """Return the deadline for the first part of what is left."""
        return self if math.isinf(self.at) else Deadline(now + share * self.remaining(now))


NEVER = Deadline()


# The bucket is refilled in one step (measured); a little later no request is rejected because clocks differ.
_MARGIN = 0.05
# By how much it was refilled, the answers to so many requests show.
_SENT_TO_LEARN = 10


class RateLimit:
    """
    What the newest answer shows of the bucket that all users of the environment's rate limit share.

    Several clients can share one: hold its ``lock`` at each call, and from :meth:`delay` to :meth:`sent`.
    """

    def __init__(self, *, reserve: float = defaults.RATE_LIMIT_RESERVE) -> None:
        self.lock = threading.Lock()
        self._reserve = reserve
        self._limit, self._remaining, self._in_flight = 0.0, math.inf, 0
        self._reset = 0.0  # the server's word for the current filling
        # When the next filling comes, and how long requests are rejected, on our monotonic clock.
        self._refilled_at = self._rejected_until = -math.inf

    def delay(self, *, monotonic: float) -> float:
        """Return how many seconds to wait before sending; 0 for now."""
        until = self._rejected_until
        # The newest answer shows some of those that are in flight, and not the others.
        if self._remaining - self._in_flight <= math.ceil(self._limit * self._reserve):
            until = max(until, self._refilled_at)
            if monotonic >= self._refilled_at and self._in_flight >= _SENT_TO_LEARN:
                until = max(until, monotonic + _MARGIN)
        return max(0.0, until - monotonic)

    def sent(self) -> None:
        """Count a request that is sent now."""
        self._in_flight += 1

    def ended(self, response: Response | None, *, monotonic: float, now: float) -> None:
        """Take in that a request has ended, and what its response shows, if one came."""
        self._in_flight -= 1
        if response is None:
            return
        self._read(response, monotonic=monotonic, now=now)
        if answers.is_rejected_by_bucket(response):
            # It need not be the bucket's: a proxy may have its own limit.
            wait = answers.server_wait(response, now=now) or 0.0
            self._rejected_until = max(self._rejected_until, monotonic + wait + _MARGIN)

    def _read(self, response: Response, *, monotonic: float, now: float) -> None:
        names = ("limit", "remaining", "reset")
        limit, remaining, reset = (read_number(response.headers.get(f"x-ratelimit-{it}")) for it in names)
        if limit is None or remaining is None or reset is None or reset < self._reset:
            return  # the last is a late answer, from the filling before
        self._limit = limit
        # Answers overtake each other: within one filling, the lowest is the latest.
        self._remaining = min(self._remaining, remaining) if reset == self._reset else remaining
        self._reset = reset
        wait = answers.seconds_until_reset(response, now=now) or 0.0
        self._refilled_at = monotonic + min(wait, MAX_WAIT) + _MARGIN


FAILURES_TO_OPEN = 10
"""So many failures in a row are the server's; fewer may be those of some runs."""

PROBE_INTERVAL = 1.0
"""While the breaker is open, one request goes out in so many seconds."""


class CircuitBreaker:
    """
    Count failures in a row, of all calls of one client.

    After :data:`FAILURES_TO_OPEN` it is open until the first answer of Trigger.dev's: one request goes out
    every :data:`PROBE_INTERVAL` seconds.
    """

    def __init__(self) -> None:
        self.has_worked = False
        """Whether the server has answered this client, or another one, as Trigger.dev does."""
        self.last_error: TriggerDevError | None = None
        self._failures = 0
        self._failing_since = math.inf
        self._all_permanent = True
        self._probed_at = -math.inf

    @property
    def is_open(self) -> bool:
        """Whether the server as a whole does not respond."""
        return self._failures >= FAILURES_TO_OPEN

    @property
    def is_permanent(self) -> bool:
        """Whether it is open for good: no answer ever came from Trigger.dev, and repeating is useless."""
        return self.is_open and self._all_permanent and not self.has_worked

    def delay(self, *, monotonic: float) -> float:
        """Return how many seconds to wait before sending; 0 for now."""
        return max(0.0, self._probed_at + PROBE_INTERVAL - monotonic) if self.is_open else 0.0

    def has_failed_too_long(self, patience: float, *, monotonic: float) -> bool:
        """Return whether a call must not wait for the server any longer."""
        return self.is_open and (self.is_permanent or monotonic - self._failing_since >= patience)

    def sent(self, *, monotonic: float) -> None:
        """Count a request that is sent now."""
        self._probed_at = monotonic

    def succeeded(self) -> None:
        """Count an answer of Trigger.dev's."""
        self.has_worked = True
        self.last_error = None
        self._failures = 0

    def failed(self, error: TriggerDevError, *, is_permanent: bool, monotonic: float) -> None:
        """Count a request that Trigger.dev did not answer; ``is_permanent``: repeating it is useless."""
        if not self._failures:
            self._failing_since = monotonic
        self._failures += 1
        self.last_error = error
        self._all_permanent &= is_permanent
