"""Polls for new ends: by the query, or by the list where the server has no query. Pure."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from datetime import datetime, timedelta
from typing import Any

from airflow_provider_trigger.api.endpoints.query import query_where
from airflow_provider_trigger.api.endpoints.runs import list_runs_page
from airflow_provider_trigger.api.errors import TriggerDevError
from airflow_provider_trigger.api.http import Call
from airflow_provider_trigger.api.models.runs import TERMINATES_WITHIN, Run
from airflow_provider_trigger.run.ends import Position, mark_of, time_text
from airflow_provider_trigger.run.ends_follower import NEVER, Follower
from airflow_provider_trigger.run.ends_requests import PAGE_SIZE, ends_after, list_filters, unstarted_after
from airflow_provider_trigger.run.ends_work import OTHER_REQUESTS, REQUESTS, Shared, Work, dated, with_end
from airflow_provider_trigger.run.search import ALL_TIMES

POLL_INTERVAL = 60.0 / (REQUESTS - OTHER_REQUESTS)
"""Between two polls, in seconds."""

# Those that begin together are in the first poll together, in seconds.
_GATHER = 0.25
# Between two polls after failures, in seconds, and until it is looked again whether anyone is behind.
_PAUSES = (POLL_INTERVAL, 5.0, 10.0)
_IDLE = 0.5
# The ends of more than so many runs are not read before those that wait were handed over.
_MOST_WAITING = 1000
# How precise the time of an answer is.
_DATE_IS_TO = timedelta(seconds=1)
# Without a query: how late the list is at most, and how long before a restart a run may have been created.
_LIST_LAG = timedelta(seconds=60)
_LISTED_BACK = timedelta(days=1)

Page = Generator[Call[Any], Any, bool]
"""Yields calls; its result is whether they were answered."""

Step = Generator[Call[Any], Any, float]
"""Yields calls; its result is how long after its begin the next one follows, in seconds; 0 for at once."""


class Polls:
    """Read new ends for all followers."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        # All canceled runs without an end are read again and again, in pages: where that is, when it began,
        # and when the last time began that came to its end.
        self._swept_to = self._sweep_began = self._swept_at = ""

    def poll(self) -> Work:
        """Poll for those who are not far behind."""
        yield _GATHER
        while True:
            begun = self._shared.now
            interval = yield from self._step()
            if failures := self._shared.polls.failures:
                yield _PAUSES[min(failures, len(_PAUSES)) - 1]
            elif interval:
                yield max(0.1, begun + interval - self._shared.now)

    def _step(self) -> Step:
        shared = self._shared
        if not shared.followers:
            return POLL_INTERVAL
        if not shared.has_query:
            return (yield from self._read_lists())
        if any(one.position is None for one in shared.followers):
            return (yield from self._find_start())
        if not (front := self._front()):
            return _IDLE
        yield from self._read_page(front, [one for one in shared.followers if one.wants_canceled])
        return 0.0 if any(one.cursor for one in front) else POLL_INTERVAL

    def _front(self) -> list[Follower]:
        """Return those who are not behind; a watcher that takes its ends slowly gets behind."""
        followers = self._shared.followers
        for one in followers:
            one.is_behind = one.is_behind or one.waiting >= _MOST_WAITING
        if all(one.is_behind for one in followers):
            for one in followers:
                one.is_behind = one.waiting >= _MOST_WAITING
        return [one for one in followers if not one.is_behind]

    def catch_up(self) -> Work:
        """Read for those who are far behind."""
        while True:
            group = [one for one in self._shared.followers if one.is_behind and one.waiting < _MOST_WAITING]
            if not (group and self._shared.has_query):
                yield _IDLE
            elif not (yield from self._read_page(group, [])):
                yield _PAUSES[1]
            else:
                for one in group:
                    one.is_behind = one.cursor is not None

    def _find_start(self) -> Step:
        """Find the newest end of all, from which on watchers that begin now follow."""
        new = [one for one in self._shared.followers if one.position is None]
        order = "completed_at DESC, run_id DESC"
        page = yield query_where("completed_at IS NOT NULL", order=order, limit=1)
        if isinstance(page, TriggerDevError):
            self._shared.failed(page)
            return 0.0
        self._shared.worked(query=True)
        newest = page.runs[0] if page.runs else None
        at, now = newest.finished_at if newest else None, page.seen_at
        begin(new, at if at and not (now and at > now + _DATE_IS_TO) else now, newest)
        return 0.0

    def _read_page(self, group: Sequence[Follower], unstarted: Sequence[Follower]) -> Page:
        """Read a page of ends, and of canceled runs that have none, which come last."""
        swept_from = self._swept_to
        condition = ends_after(group, min(one.low for one in group))
        if unstarted:
            condition = f"({condition}) OR ({unstarted_after(unstarted, swept_from)})"
            for one in unstarted:
                one.was_there = one.was_there or not swept_from
        page = yield query_where(condition, order="completed_at, run_id", limit=PAGE_SIZE)
        if isinstance(page, TriggerDevError):
            self._shared.failed(page)
            return False
        self._shared.worked(query=True)
        for run in page.runs:
            self._shared.candidates.pop(run.id, None)
        ends = [run for run in page.runs if run.finished_at]
        rest, is_full = page.runs[len(ends) :], len(page.runs) >= PAGE_SIZE
        if unstarted:
            if not swept_from:
                newest = max(one.read_to for one in unstarted)
                self._sweep_began = time_text(page.seen_at) if page.seen_at else newest
            for one in unstarted:
                one.take_unstarted(rest, seen_at=page.seen_at, now=self._shared.now)
            self._swept(rest[-1].id if rest else swept_from, unstarted, is_done=not is_full)
        for one in group:
            at_most = one.at_most(self._swept_at)
            # A wrong clock does not hide the ends before it.
            now = time_text(page.seen_at + _DATE_IS_TO) if page.seen_at else NEVER
            is_last = not is_full or bool(rest)
            one.take_page(ends, is_last=is_last, seen_at=page.seen_at, at_most=at_most, read_at_most=now)
        return True

    def _swept(self, to: str, unstarted: Sequence[Follower], *, is_done: bool) -> None:
        """Take in up to which id the canceled runs without an end were read, or that these were all."""
        self._swept_to = "" if is_done else to
        if is_done:
            self._swept_at = self._sweep_began
            for one in unstarted:
                one.is_swept = one.is_swept or one.was_there

    def _read_lists(self) -> Step:
        """Read the newest runs from the list, as far back as there may be new ones."""
        shared, followers, requests = self._shared, list(self._shared.followers), 0
        runs: dict[str, Run] = {}
        begun: datetime | None = None
        back_to = min((_listed_to(one) for one in followers if one.position), default=None)
        for which in list_filters([one.filter for one in followers]):
            after: str | None = ""
            while after is not None:
                reply = yield dated(list_runs_page(**which, created_from=ALL_TIMES, after=after or None))
                requests += 1
                if isinstance(reply, TriggerDevError):
                    shared.failed(reply)
                    return 0.0
                page, seen_at = reply
                begun = begun or seen_at
                runs |= {run.id: with_end(run) for run in page.runs}
                oldest = page.runs[-1].created_at if page.runs else None
                is_enough = back_to is None or (oldest is not None and oldest < back_to)
                after = None if is_enough else page.next
        shared.worked(query=False)
        begin([one for one in followers if one.position is None], begun)
        changing = {run.id: run for run in runs.values() if not run.is_final or may_change(run, begun)}
        for run_id in runs.keys() - changing.keys():
            shared.alive.pop(run_id, None)
        shared.alive |= changing
        for one in followers:
            one.listed_to = begun and begun - _LIST_LAG
        ended = [run for run in runs.values() if run.id not in changing]
        for run in ended:
            shared.candidates.pop(run.id, None)
        shared.take_listed(ended, seen_at=begun)
        return POLL_INTERVAL * requests


def begin(followers: Sequence[Follower], at: datetime | None, newest: Run | None = None) -> None:
    """Let watchers begin that have no position; at the very first time if there is no run, and no clock."""
    text = time_text(at or ALL_TIMES)
    seen = (mark_of(newest.id),) if newest else ()
    for one in followers:
        one.begin(Position(until=text, start=text, seen=seen))


def may_change(run: Run, now: datetime | None) -> bool:
    """Return whether a canceled run's worker may still let it complete, which the list does not show."""
    age = now - run.updated_at if now and run.updated_at else timedelta()
    return run.is_canceled and run.started_at is not None and age.total_seconds() <= TERMINATES_WITHIN


def _listed_to(follower: Follower) -> datetime:
    """Return from when on runs must have been created to be listed for a watcher."""
    return follower.listed_to or datetime.fromisoformat(follower.until) - _LISTED_BACK
