"""Stop early when the server as a whole does not respond. Pure: the caller says what time it is."""

from __future__ import annotations

import math

from airflow_provider_trigger.api.errors import TriggerDevError

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
