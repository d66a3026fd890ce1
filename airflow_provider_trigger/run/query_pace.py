"""When the statuses of many runs are queried together, and what its failures mean. Pure."""

from __future__ import annotations

import math
from enum import Enum

from airflow_provider_trigger.api.endpoints.query import QUERY_TIMEOUT
from airflow_provider_trigger.api.errors import (
    AnswerTimeoutError,
    NotSentError,
    RateLimitError,
    ResponseError,
    TransportError,
    TriggerDevError,
)
from airflow_provider_trigger.log import Log
from airflow_provider_trigger.wording import counted

QUERY_INTERVAL = 2.0
"""Between two queries for a run, in seconds, as long as that costs the server little."""

# Waits that begin together are in the first query together, in seconds.
_GATHER = 0.25
# A query may take this part of the server's time, and this part of the bucket in 10 s, after which it is
# refilled by default.
_SHARE_OF_TIME = 0.25
_SHARE_OF_BUCKET = 0.1
_REFILL_INTERVAL = 10.0
# After a failure: the pauses until the next query, in seconds, the last one again and again.
_PAUSES = (5.0, 10.0, 20.0, 40.0, 60.0)
_PAUSE_WITHOUT_SERVER = 5.0
_PAUSE_WITHOUT_QUERY = 600.0
# So many failures in a row change nothing yet: the server answers only so many queries of a project at once,
# and where a single one fails that worked before, a check of each run would cost more than it shows.
_BUSY_ROUNDS = 5
_FAILED_ROUNDS = 2


class QueryState(Enum):
    """Whether the server answers queries: not known yet, it does, it does not, or it cannot be reached."""

    UNKNOWN = "unknown"
    WORKS = "works"
    FAILS = "fails"
    UNREACHABLE = "unreachable"


class QueryPace:
    """When the next query is due, and whether queries work. All times are in seconds."""

    def __init__(self, name: str, log: Log, *, now: float, logs_outages: bool = True) -> None:
        self.state = QueryState.UNKNOWN
        self.due = now + _GATHER
        self.worked_again_at = -math.inf
        """When queries worked again after the last failure."""
        self._name = name
        self._log = log
        self._logs_outages = logs_outages
        self._logged_failure = False
        self._failures = 0
        self._skipped = 0
        self._unlisted = self._logged_unlisted = 0
        self._failing_since = self._failed_at = now
        self._has_reached_server = False
        self._has_worked = False

    def succeeded(self, *, sent_at: float, now: float, parts: int, limit: float | None) -> None:
        """Take in an answer; so many queries take turns, and the bucket of the rate limit has this size."""
        if self.state in (QueryState.FAILS, QueryState.UNREACHABLE):
            self.worked_again_at = now
            text = "Connection %r: status queries work again after %.0f s; each run is also checked by itself"
            if self._logged_failure:
                self._log.info(text, self._name, now - self._failing_since)
            self._logged_failure = False
        self.state, self._failures, self._skipped = QueryState.WORKS, 0, 0
        self._has_reached_server, self._has_worked = False, True
        took = min(now - sent_at, QUERY_TIMEOUT)  # the rest was spent waiting for a turn
        interval = max(QUERY_INTERVAL / parts, took / _SHARE_OF_TIME)
        if limit:
            interval = max(interval, _REFILL_INTERVAL / (limit * _SHARE_OF_BUCKET))
        self.due = max(now, sent_at + interval)

    def failed(self, error: TriggerDevError, *, now: float) -> None:
        """Take in that a query failed."""
        rounds = _FAILED_ROUNDS if self.state is QueryState.WORKS else 0
        if self._skipped < (_BUSY_ROUNDS if isinstance(error, RateLimitError) else rounds):
            self._skipped += 1
            self.due = now + QUERY_INTERVAL
            return
        before = self.state
        is_unreachable = _is_unreachable(error) and not self._has_reached_server
        self.state = QueryState.UNREACHABLE if is_unreachable else QueryState.FAILS
        self._failed_at, self._has_reached_server = now, False
        if before in (QueryState.UNKNOWN, QueryState.WORKS):
            self._failing_since = now
        self.due = now + self._pause(error)
        if self.state is not before:
            self._log_failure(error)

    def _pause(self, error: TriggerDevError) -> float:
        """Return how long, in seconds."""
        if self.state is QueryState.UNREACHABLE:
            return _PAUSE_WITHOUT_SERVER
        self._failures += 1
        if self._has_no_queries(error):
            return _PAUSE_WITHOUT_QUERY
        return _PAUSES[min(self._failures, len(_PAUSES)) - 1]

    def _log_failure(self, error: TriggerDevError) -> None:
        if self.state is QueryState.UNREACHABLE and not self._logs_outages:
            return
        self._logged_failure = True
        if self._has_no_queries(error):
            text = "Connection %r: the server has no status queries; each run is checked by itself"
            self._log.info(text, self._name)
        elif self.state is QueryState.UNREACHABLE:
            text = "Connection %r: the server cannot be reached; waiting continues: %s"
            self._log.warning(text, self._name, error)
        else:
            text = "Connection %r: a status query failed; each run is checked by itself: %s"
            self._log.warning(text, self._name, error)

    def _has_no_queries(self, error: TriggerDevError) -> bool:
        """Whether the server is an older one; one that has answered queries has a page in front."""
        return isinstance(error, ResponseError) and error.status == 404 and not self._has_worked

    def reached_server(self, *, sent_at: float) -> None:
        """Take in that another request was answered: only the query's connections may be lost."""
        if self.state not in (QueryState.FAILS, QueryState.UNREACHABLE) or sent_at <= self._failed_at:
            return
        self._has_reached_server = True
        if self.state is QueryState.UNREACHABLE:
            self.state = QueryState.FAILS
            if self._logs_outages:
                text = "Connection %r: only status queries cannot be sent; each run is checked by itself"
                self._log.info(text, self._name)

    def note_unlisted(self, count: int) -> None:
        """Log once of how many runs no query shows anything, when two queries agree on the number."""
        if count and count == self._unlisted and not self._logged_unlisted:
            text = "Connection %r: status queries have not shown %s for a minute; each is checked by itself"
            self._log.info(text, self._name, counted(count, "run"))
            self._logged_unlisted = count
        self._unlisted = count


def _is_unreachable(error: TriggerDevError) -> bool:
    if isinstance(error, NotSentError):
        return True
    return isinstance(error, TransportError) and not isinstance(error, AnswerTimeoutError)
