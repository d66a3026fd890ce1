"""
Which statuses to request next for all waits of a connection. Pure: the caller says what time it is.

One query takes the place of a check for each run. It is about 1 s behind, lacks runs that were started a
moment ago, and can lose the end of a run permanently (measured): so checks of single runs also go round in
the background, and take its place where the server does not answer it.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import OrderedDict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_trigger.api.errors import (
    AnswerTimeoutError,
    NotSentError,
    RateLimitError,
    TransportError,
    TriggerDevError,
)
from airflow_provider_trigger.api.models import Run
from airflow_provider_trigger.api.query import MAX_QUERIED_RUNS, QUERY_TIMEOUT, can_be_queried
from airflow_provider_trigger.run.checks import UNKNOWN_AFTER
from airflow_provider_trigger.run.wait_settings import check_interval
from airflow_provider_trigger.run.waited import News

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

# The query shows what was true so many seconds ago, with a margin.
_QUERY_LAG = 3.0
# A query that shows an end so many seconds late has lost it: 4.6 s was the longest (measured), with a margin.
_LOST_AFTER = 10.0
# What no query has shown for so many seconds, none may ever show: the cloud's look back some days only.
_UNLISTED_AFTER = 60.0
# A run that the query does not list, or whose check failed, is checked by itself after so many seconds.
_MISSING_AFTER = 10.0
# While queries work, one run is checked by itself in so many seconds.
_BACKGROUND_INTERVAL = 1.0
# After a check that was not sent, none begins for so many seconds: the circuit breaker is open.
_NOT_SENT_PAUSE = 1.0


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


@dataclass(slots=True, eq=False)
class Watched:
    """A run that is waited for. All times are in seconds."""

    run_id: str
    added_at: float
    born_at: float
    """When it was started, as far as that is known."""
    waits: dict[Any, float | None] = field(default_factory=dict)
    """Of each wait for it, the seconds between two checks of the run by itself; None for as needed."""
    run: Run | None = None
    error: TriggerDevError | None = None
    """Why the last check failed, if nothing was seen since."""
    failing_since: float = math.inf
    """Infinite if the last check did not fail."""
    sent_at: float = -math.inf
    """When its last check by itself began."""
    checked_at: float = -math.inf
    """The same of the last one that has ended, and was sent."""
    seen_at: float = -math.inf
    """When the request was sent that showed :attr:`run`."""
    due: float = math.inf
    """When it is to be checked by itself, whatever becomes of others."""
    is_listed: bool | None = None
    """Whether the last query with it has shown it, None before the first one."""
    listed_at: float = -math.inf
    """When the last query was sent that has shown it."""
    is_in_flight: bool = False

    @property
    def has_ended(self) -> bool:
        """Whether it was seen to have ended; answers that are still under way can only be older."""
        return self.run is not None and self.run.is_final

    @property
    def unchecked_since(self) -> float:
        """Since when it was not checked by itself."""
        return max(self.added_at, self.checked_at)

    @property
    def due_alone(self) -> float:
        """When it is to be checked where no query shows it."""
        last = max(self.seen_at, self.checked_at)
        if math.isinf(last):
            return self.added_at
        # A single fault does not cost a long interval.
        since = self.born_at if math.isinf(self.failing_since) else self.failing_since
        return last + check_interval(last - since)

    def is_broken(self, now: float) -> bool:
        """Return whether its checks fail for so long that no check may ever show its end."""
        return now - self.failing_since >= UNKNOWN_AFTER

    def is_unlisted(self, now: float) -> bool:
        """Return whether queries have not shown it for so long that they may never do so."""
        return self.is_listed is False and now - max(self.added_at, self.listed_at) >= _UNLISTED_AFTER

    def has_lost_end(self, run: Run, now: float) -> bool:
        """Return whether a query showed it as alive long after the end that a check of it shows now."""
        ended_at = run.finished_at or run.updated_at
        if not run.is_final or ended_at is None or run.seen_at is None:
            return False
        return (run.seen_at - ended_at).total_seconds() - (now - self.listed_at) >= _LOST_AFTER

    def may_learn_from(self, run: Run, queried_at: float) -> bool:
        """Return whether a query can show something newer than the last check."""
        if run.is_final:
            return True
        if self.is_broken(queried_at):
            return False
        if self.run is None:
            return True
        is_later = queried_at - _QUERY_LAG >= self.sent_at
        return is_later and run.attempt_count >= self.run.attempt_count


class StatusWatch:
    """
    What is known of all runs that waits of one connection wait for. All times are in seconds.

    Without ``queries``, each run is checked by itself, at its waits' own interval if each has one.
    """

    def __init__(self, *, now: float, queries: bool = True) -> None:
        self.pace = QueryPace(now=now)
        self._queries = queries
        self._watched: dict[str, Watched] = {}
        self._followed: dict[Any, set[str]] = {}  # by each wait
        self._to_query: OrderedDict[str, None] = OrderedDict()
        # The longest unchecked first.
        self._to_check: OrderedDict[str, Watched] = OrderedDict()
        self._due: list[tuple[float, int, Watched]] = []
        self._numbers = itertools.count()
        self._background_at, self._held_until, self._lost_at = now, -math.inf, -math.inf

    def follow(
        self, wait: Hashable, run_ids: Iterable[str], *, poll_interval: float | None = None, now: float
    ) -> News:
        """Watch runs for a wait, and no other ones any more; return what is known of those new to it."""
        wanted = set(run_ids)
        followed = self._followed.pop(wait, set())
        for run_id in followed - wanted:
            self._unfollow(wait, self._watched[run_id])
        if wanted:
            self._followed[wait] = wanted
        known: dict[str, Run | TriggerDevError] = {}
        for run_id in run_ids:
            if run_id not in followed:
                watched = self._watched.get(run_id) or self._add(run_id, now)
                watched.waits[wait] = poll_interval
                self._schedule(watched)
                if reply := watched.error or watched.run:
                    known[run_id] = reply
        return known

    def _add(self, run_id: str, now: float) -> Watched:
        watched = Watched(run_id, added_at=now, born_at=now)
        self._watched[run_id] = self._to_check[run_id] = watched
        if self._queries and can_be_queried(run_id):
            self._to_query[run_id] = None
        return watched

    def _unfollow(self, wait: Hashable, watched: Watched) -> None:
        del watched.waits[wait]
        if watched.waits:
            self._schedule(watched)
        else:
            del self._watched[watched.run_id]
            self._retire(watched)

    def waits_of(self, run_id: str) -> Iterable[Any]:
        """Return the waits that follow a run."""
        return self._watched[run_id].waits

    def next_query(self, now: float) -> list[str] | None:
        """Return the runs to query now, None for none; the runs that were queried last come last."""
        if now < self.pace.due or not self._to_query:
            return None
        run_ids = list(itertools.islice(self._to_query, MAX_QUERIED_RUNS))
        for run_id in run_ids:
            self._to_query.move_to_end(run_id)
        return run_ids

    def next_check(self, now: float) -> str | None:
        """Return a run to check by itself now, the longest overdue first; None for none."""
        watched = None if now < self._held_until else self._next_due(now) or self._next_unchecked(now)
        if watched is None:
            return None
        watched.sent_at, watched.is_in_flight, watched.due = now, True, math.inf
        self._to_check.move_to_end(watched.run_id)
        return watched.run_id

    def _next_due(self, now: float) -> Watched | None:
        self._forget_outdated()
        return heapq.heappop(self._due)[2] if self._due and self._due[0][0] <= now else None

    def _forget_outdated(self) -> None:
        while self._due and self._due[0][0] != self._due[0][2].due:
            heapq.heappop(self._due)

    def _next_unchecked(self, now: float) -> Watched | None:
        if self._unchecked_due() > now:
            return None
        watched = next(iter(self._to_check.values()))
        if watched.unchecked_since >= self.pace.worked_again_at:
            self._background_at = now + _BACKGROUND_INTERVAL
        return watched

    def _unchecked_due(self) -> float:
        """When the run that was not checked for longest is due, although nothing else says so."""
        watched = next(iter(self._to_check.values()), None)
        if watched is None or watched.is_in_flight or self.pace.works is None:
            return math.inf
        if watched.unchecked_since < self.pace.worked_again_at:
            return -math.inf  # what ended while queries failed may be missing permanently
        age = watched.unchecked_since - watched.born_at
        due = watched.unchecked_since + check_interval(age)
        # Where one end was lost, others may be: all runs are checked soon, until a round shows no more.
        return due if watched.unchecked_since < self._lost_at else max(self._background_at, due)

    def next_at(self, *, may_query: bool, may_check: bool) -> float:
        """Return when a query or a check is due, as far as each may begin; infinite for never."""
        self._forget_outdated()
        query_at = self.pace.due if may_query and self._to_query else math.inf
        check_at = min(self._due[0][0] if self._due else math.inf, self._unchecked_due())
        check_at = max(check_at, self._held_until)
        return min(query_at, check_at if may_check else math.inf)

    def queried(self, run_ids: Iterable[str], runs: Iterable[Run], *, sent_at: float, now: float) -> News:
        """Take in the answer to a query; return what is new."""
        before = self.pace.works
        news: dict[str, Run] = {}
        parts = -(-len(self._to_query) // MAX_QUERIED_RUNS) or 1
        self.pace.succeeded(sent_at=sent_at, now=now, parts=parts)
        listed = {run.id: run for run in runs}
        for run_id in run_ids:
            watched = self._watched.get(run_id)
            if watched is None or watched.has_ended or watched.added_at > sent_at:
                continue
            run = listed.get(run_id)
            was_missing, watched.is_listed = watched.is_listed is False, run is not None
            if run is not None:
                watched.listed_at = sent_at
                if watched.may_learn_from(run, sent_at) and self._saw(watched, run, sent_at, now):
                    news[run_id] = run
            if was_missing is not (run is None):
                self._schedule(watched)
        self._reschedule(before)
        return news

    def query_failed(self, error: TriggerDevError, *, now: float) -> None:
        """Take in that a query failed."""
        before = self.pace.works
        self.pace.failed(error, now=now)
        self._reschedule(before)

    def checked(self, run_id: str, reply: Run | TriggerDevError, *, now: float) -> News:
        """Take in what came of the check of a run by itself; return what is new."""
        if (watched := self._watched.get(run_id)) is None or watched.has_ended:
            return {}
        watched.is_in_flight = False
        if isinstance(reply, NotSentError) and reply.retryable:
            # It has shown nothing, and comes first again.
            self._held_until = now + _NOT_SENT_PAUSE
            self._to_check.move_to_end(run_id, last=False)
        else:
            watched.checked_at = watched.sent_at
            watched.failing_since = math.inf if isinstance(reply, Run) else min(watched.failing_since, now)
        if isinstance(reply, Run):
            self._lost_at = now if watched.has_lost_end(reply, now) else self._lost_at
            is_news = self._saw(watched, reply, watched.sent_at, now)
        else:
            is_shown = watched.is_listed and self.pace.works
            is_news = not is_shown or watched.is_broken(now)
            watched.error = reply if is_news else watched.error
        self._schedule(watched)
        return {run_id: reply} if is_news else {}

    def failed_elsewhere(self, run_id: str, error: TriggerDevError) -> None:
        """Take in that a wait has heard of a check that failed: what comes next is new to it."""
        if (watched := self._watched.get(run_id)) is not None and not watched.has_ended:
            watched.error = error

    def _saw(self, watched: Watched, run: Run, sent_at: float, now: float) -> bool:
        """Return whether it is new."""
        before = None if watched.error else watched.run
        is_new = before is None or (before.status, before.attempt_count) != (run.status, run.attempt_count)
        watched.run, watched.error, watched.seen_at = run, None, sent_at
        watched.born_at = min(watched.born_at, now - run.age)
        if run.is_final:
            self._retire(watched)
        return is_new

    def _retire(self, watched: Watched) -> None:
        watched.due = math.inf
        self._to_query.pop(watched.run_id, None)
        self._to_check.pop(watched.run_id, None)

    def _reschedule(self, worked_before: bool | None) -> None:
        if self.pace.works is not worked_before:
            for watched in self._to_check.values():
                self._schedule(watched)

    def _schedule(self, watched: Watched) -> None:
        """Decide when a run is checked by itself, whatever the others do."""
        if watched.is_in_flight or watched.has_ended:
            return
        fixed = min((interval for interval in watched.waits.values() if interval is not None), default=None)
        due = [math.inf]
        if fixed is not None:
            due.append(max(watched.added_at, watched.checked_at + fixed))
        is_queried = self.pace.works is not False and watched.run_id in self._to_query
        if not is_queried or watched.is_unlisted(watched.checked_at):
            if self._queries or fixed is None:
                due.append(watched.due_alone)
        elif watched.is_listed is False or (watched.failing_since < math.inf and self.pace.works):
            due.append(watched.unchecked_since + _MISSING_AFTER)
        before, watched.due = watched.due, min(due)
        if before != watched.due < math.inf:
            heapq.heappush(self._due, (watched.due, next(self._numbers), watched))
