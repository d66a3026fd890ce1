"""What holds requests up: a deadline, the rate limit, an outage. Pure: the caller says what time it is."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass

from airflow_provider_trigger import defaults
from airflow_provider_trigger.api.errors import TriggerDevError
from airflow_provider_trigger.api.http import Response
from airflow_provider_trigger.api.server_advice import (
    MAX_WAIT,
    is_rejected_by_bucket,
    seconds_until_reset,
    server_wait,
)


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


PROBE_TIMEOUT = 1.0
"""How long a probe without an answer holds up the other requests after a refill, in seconds."""

# A request that was sent this many seconds before a refill may take its token after it.
_ARRIVES_WITHIN = 0.5
# The bucket is refilled in one step (measured); a little later no request is rejected because clocks differ.
_MARGIN = 0.05


@dataclass(eq=False, slots=True)
class Ticket:
    """A request in flight."""

    sent_at: float
    is_probe: bool


class RateLimit:
    """
    What is known of the bucket that all users of the environment's rate limit share.

    The caller says what time it is, calls :meth:`delay` before it sends, and reports each request and
    response. After a refill of unknown size one request goes first, as a probe; the others wait for its
    answer, but not longer than :data:`PROBE_TIMEOUT`, as it may never come.

    Several clients can share one: hold its ``lock`` at each call, and from :meth:`delay` to :meth:`sent`.
    """

    def __init__(self, *, reserve: float = defaults.RATE_LIMIT_RESERVE) -> None:
        self.lock = threading.Lock()
        self._reserve = reserve
        self._limit = 0.0
        self._remaining = math.inf
        # The server's word for the current filling; since when it lasts, and when the next one comes, on our
        # monotonic clock.
        self._reset = 0.0
        self._filled_at = -math.inf
        self._refilled_at = -math.inf
        self._rejected_until = -math.inf
        self._is_rejected = False
        self._in_flight: set[Ticket] = set()

    def delay(self, *, monotonic: float) -> float:
        """Return how many seconds to wait before sending; 0 for now."""
        if monotonic < self._rejected_until:
            return self._rejected_until - monotonic
        if self._is_known_to_be_free(monotonic):
            return 0.0
        if monotonic < self._refilled_at and not self._has_tokens(monotonic):
            return self._refilled_at - monotonic
        probes = [ticket.sent_at for ticket in self._in_flight if ticket.is_probe]
        return max(0.0, max(probes) + PROBE_TIMEOUT - monotonic) if probes else 0.0

    def _is_known_to_be_free(self, monotonic: float) -> bool:
        return not self._is_rejected and self._has_tokens(monotonic)

    def _has_tokens(self, monotonic: float) -> bool:
        # Requests in flight may be counted in what remains, or not: take the smaller number. One that was
        # sent well before the last refill took its token before.
        filled_at = self._refilled_at if monotonic >= self._refilled_at else self._filled_at
        in_flight = sum(ticket.sent_at >= filled_at - _ARRIVES_WITHIN for ticket in self._in_flight)
        return self._remaining - in_flight > math.ceil(self._limit * self._reserve)

    def sent(self, *, monotonic: float) -> Ticket:
        """Count a request that is sent now; give what is returned to :meth:`answered`."""
        ticket = Ticket(sent_at=monotonic, is_probe=not self._is_known_to_be_free(monotonic))
        self._in_flight.add(ticket)
        return ticket

    def answered(self, ticket: Ticket, response: Response | None, *, monotonic: float, now: float) -> None:
        """Count a request that has ended."""
        self._in_flight.discard(ticket)
        if response is None:
            return
        self._read(response, monotonic=monotonic, now=now)
        self._is_rejected = is_rejected_by_bucket(response)
        if self._is_rejected:
            # It need not be the bucket's: a proxy may have its own limit.
            wait = server_wait(response, now=now) or 0.0
            self._rejected_until = max(self._rejected_until, monotonic + wait + _MARGIN)

    def _read(self, response: Response, *, monotonic: float, now: float) -> None:
        """Learn of the bucket what the response shows."""
        try:
            limit, remaining, reset = (
                float(response.headers[f"x-ratelimit-{name}"]) for name in ("limit", "remaining", "reset")
            )
        except (KeyError, ValueError):
            is_page = "html" in response.headers.get("content-type", "")  # of whatever stands in front
            if 200 <= response.status < 300 and not is_page:
                # Trigger.dev's own successes show the bucket: there is none, and a proxy sent the 429.
                self._remaining = math.inf
            return
        if not all(map(math.isfinite, (limit, remaining, reset))) or reset < self._reset:
            return  # the second is a late answer, from the last filling
        if reset > self._reset:
            self._filled_at = min(self._refilled_at, monotonic)
        self._limit = limit
        # Answers overtake each other: within one filling, the lowest is the latest.
        self._remaining = min(self._remaining, remaining) if reset == self._reset else remaining
        self._reset = reset
        wait = seconds_until_reset(response, now=now) or 0.0
        self._refilled_at = monotonic + min(wait, MAX_WAIT) + _MARGIN


FAILURES_TO_OPEN = 10
"""
So many failures in a row, and no answer between them, are the server's; fewer may be those of some runs.
"""

PROBE_INTERVAL = 1.0
"""While the breaker is open, one request goes out in so many seconds."""


class CircuitBreaker:
    """
    Count failures in a row, of all calls of one client.

    Closed, it holds nothing up. After :data:`FAILURES_TO_OPEN` failures it opens: one probe goes out every
    :data:`PROBE_INTERVAL` seconds, and the first answer of Trigger.dev's closes it.
    """

    def __init__(self) -> None:
        self.has_worked = False
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
        if not self.is_open:
            return False
        return self.is_permanent or monotonic - self._failing_since >= patience

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
        self._all_permanent = self._all_permanent and is_permanent
