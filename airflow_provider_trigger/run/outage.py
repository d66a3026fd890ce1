"""What is logged of work that fails, and is tried again and again."""

from __future__ import annotations

import math

from airflow_provider_trigger.log import Log

_LOG_INTERVAL = 60.0


class Outage:
    """Log that something fails, once a minute, and when it works again. Times are in seconds."""

    def __init__(self, what: str, log: Log) -> None:
        self.failures = 0
        """In a row."""
        self._what = what
        self._log = log
        self._since = self._logged_at = -math.inf

    def failed(self, error: object, now: float) -> None:
        """Take in a failure; a single one is not worth a line."""
        self._since = now if not self.failures else self._since
        self.failures += 1
        if self.failures > 1 and now - self._logged_at >= _LOG_INTERVAL:
            self._logged_at = now
            text = "%s for %.0f s now; it is tried again, and continues where it was: %s"
            self._log.warning(text, self._what, now - self._since, error)

    def worked(self, now: float) -> None:
        """Take in that it works."""
        if self._logged_at >= self._since and self.failures:
            self._log.info("%s: over after %.0f s", self._what, now - self._since)
        self.failures = 0
