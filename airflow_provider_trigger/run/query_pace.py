"""When the statuses of many runs are queried together, and what its failures mean. Pure."""

from __future__ import annotations

import math

from airflow_provider_trigger.api.endpoints.query import QUERY_TIMEOUT
from airflow_provider_trigger.api.errors import (
    AnswerTimeoutError,
    NotSentError,
    RateLimitError,
    TransportError,
    TriggerDevError,
)

QUERY_INTERVAL = 2.0
"""Between two queries for a run, in seconds, as long as that costs the server little."""

# Waits that begin together are in the first query together, in seconds.
_GATHER = 0.25
# A query may take this part of the server's time.
_SHARE_OF_TIME = 0.25
# After a failure: the pauses until the next query, in seconds, the last one again and again.
_PAUSES = (5.0, 10.0, 20.0, 40.0, 60.0)
_PAUSE_WITHOUT_SERVER = 5.0
# So many failures in a row change nothing yet: the server answers only so many queries of a project at once,
# and where a single one fails that worked before, a check of each run would cost more than it shows.
_BUSY_ROUNDS = 5
_FAILED_ROUNDS = 2


class QueryPace:
    """When the next query is due, and whether queries work. All times are in seconds."""

    def __init__(self, *, now: float) -> None:
        self.works: bool | None = None
        """Whether the server answers queries, None as long as that is not known."""
        self.due = now + _GATHER
        self.worked_again_at = -math.inf
        """When queries worked again after the last failure."""
        self._failures = 0
        self._skipped = 0

    def succeeded(self, *, sent_at: float, now: float, parts: int) -> None:
        """Take in an answer; so many queries take turns."""
        if self.works is False:
            self.worked_again_at = now
        self.works = True
        self._failures = self._skipped = 0
        took = min(now - sent_at, QUERY_TIMEOUT)  # the rest was spent waiting for a turn
        interval = max(QUERY_INTERVAL / parts, took / _SHARE_OF_TIME)
        self.due = max(now, sent_at + interval)

    def failed(self, error: TriggerDevError, *, now: float) -> None:
        """Take in that a query failed."""
        rounds = _FAILED_ROUNDS if self.works else 0
        if self._skipped < (_BUSY_ROUNDS if isinstance(error, RateLimitError) else rounds):
            self._skipped += 1
            self.due = now + QUERY_INTERVAL
            return
        self.works = False
        self.due = now + self._pause(error)

    def _pause(self, error: TriggerDevError) -> float:
        """Return how long, in seconds."""
        if _is_unreachable(error):
            return _PAUSE_WITHOUT_SERVER
        self._failures += 1
        return _PAUSES[min(self._failures, len(_PAUSES)) - 1]


def _is_unreachable(error: TriggerDevError) -> bool:
    if isinstance(error, NotSentError):
        return True
    return isinstance(error, TransportError) and not isinstance(error, AnswerTimeoutError)
