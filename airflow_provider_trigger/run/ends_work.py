"""What the kinds of work of a feed of ends share. Pure."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from airflow_provider_trigger.api.errors import ResponseError, TriggerDevError
from airflow_provider_trigger.api.http import Call, Response
from airflow_provider_trigger.api.models.runs import ListedRun, Run, RunPage
from airflow_provider_trigger.log import Log
from airflow_provider_trigger.run.ends_follower import Follower

Work = Generator[Call[Any] | float, Any, None]
"""Yields calls, and gets what they return or their errors; yields pauses in seconds."""

REQUESTS = 29
"""In a minute. A rejected one is made twice: 30 in all, as that is rare."""

OTHER_REQUESTS = 3
"""Of these, those that polls go before."""

# A server without the query may have been upgraded after so many seconds.
_WITHOUT_QUERY = 600.0
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


def dated(call: Call[RunPage]) -> Call[tuple[RunPage, datetime | None]]:
    """Return the same call with a time that has come for the server: its clock, or the newest it shows."""

    def read(response: Response) -> tuple[RunPage, datetime | None]:
        page = call.read(response)
        newest = max((run.updated_at for run in page.runs if run.updated_at), default=None)
        return page, response.date() or newest

    return Call(request=call.request, read=read)


def with_end(listed: ListedRun) -> Run:
    """Return a run of a list; if it has ended, with the time."""
    run = Run.from_answer(listed.attributes, seen_at=listed.seen_at)
    return replace(run, finished_at=run.finished_at or run.updated_at) if run.is_final else run


@dataclass
class Shared:
    """The state of a feed."""

    name: str
    log: Log
    polls: Outage
    searches: Outage
    now: float = 0.0
    followers: list[Follower] = field(default_factory=list)
    alive: dict[str, Run] = field(default_factory=dict)
    """Where there is no query: the runs that the list has shown as alive."""
    candidates: dict[str, Run] = field(default_factory=dict)
    """Runs that are checked, as their ends may be lost; not those of which a poll has shown the end."""
    without_query_until: float = -math.inf
    _has_query: bool = False

    @property
    def has_query(self) -> bool:
        """Whether to use the query."""
        return self.now >= self.without_query_until

    def worked(self, *, query: bool) -> None:
        """Take in that a poll was answered."""
        self._has_query = self._has_query or query
        self.polls.worked(self.now)

    def failed(self, error: TriggerDevError) -> None:
        """Take in that a poll failed; 404 is an older server, unless it has answered a query before."""
        is_missing = isinstance(error, ResponseError) and error.status == 404
        if not (is_missing and self.has_query) or self._has_query:
            self.polls.failed(error, self.now)
            return
        if self.without_query_until < 0:
            text = "Connection %r: the server has no query; the ends of runs are read from its list"
            self.log.info(text, self.name)
        self.without_query_until = self.now + _WITHOUT_QUERY

    def take_listed(self, runs: Iterable[Run], *, seen_at: datetime | None = None) -> None:
        """Let all take in runs that have ended, where there is no query."""
        ended = sorted((run for run in runs if run.finished_at), key=lambda run: (run.finished_at, run.id))
        for one in self.followers:
            if one.position:
                at_most = one.checked_at if one.listed_to else ""
                one.take_page(ended, seen_at=seen_at, at_most=at_most, read_at_most=at_most)
