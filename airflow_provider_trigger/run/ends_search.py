"""Search for what the query of new ends does not show: when a run was canceled, and lost ends. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from airflow_provider_trigger.api.endpoints.query import MAX_QUERIED_RUNS, query_runs, query_where
from airflow_provider_trigger.api.endpoints.runs import check_run, list_runs_page
from airflow_provider_trigger.api.errors import NotFoundError, TriggerDevError, is_internal_error
from airflow_provider_trigger.api.http import Call
from airflow_provider_trigger.api.models.runs import TERMINATES_WITHIN, Run
from airflow_provider_trigger.api.models.statuses import ALIVE_STATUSES, RunStatus
from airflow_provider_trigger.run.ends import time_text
from airflow_provider_trigger.run.ends_requests import PAGE_SIZE, alive_after, list_filters
from airflow_provider_trigger.run.ends_work import Shared, Work, dated, with_end
from airflow_provider_trigger.run.search import ALL_TIMES

# Until it is looked again whether there is something to do; between two searches, or after a failure, in s.
_IDLE = 0.5
_INTERVAL = 30.0
# An end that the query does not show so many seconds later is lost: 4.6 s was the longest (measured).
_LOST_AFTER = 10.0
# Fewer runs than these are each checked by itself; more are looked up in the list first.
_LISTED_FROM = 6

Steps = Generator[Call[Any] | float, Any, bool]
"""Yields calls and pauses; its result is whether all calls were answered."""


class Searches:
    """Search in the background, for all followers."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._lost: dict[str, tuple[Run, datetime | None]] = {}  # those found, and when they ended
        self._canceled_since: dict[str, float] = {}  # those whose worker may not have stopped
        self._listed_at: datetime | None = None  # when the last list was begun, by the server's clock

    def find_when_canceled(self) -> Work:
        """Find in the list when runs were canceled that never started."""
        shared = self._shared
        while True:
            unsure = {run_id: run for one in shared.followers for run_id, run in one.unsure.items()}

            def take(runs: Iterable[Run], unsure: dict[str, Run] = unsure) -> bool:
                for run in runs:
                    unsure.pop(run.id, None)
                    self._know(run.id, run.finished_at)
                return not unsure

            if not unsure:
                yield _IDLE
            elif (yield from self._list(take, unsure.values(), [RunStatus.CANCELED])):
                for run_id in unsure:
                    self._know(run_id, None)
            else:
                yield _INTERVAL

    def _know(self, run_id: str, finished_at: datetime | None) -> None:
        for one in self._shared.followers:
            if run_id in one.unsure:
                one.know_when_canceled(run_id, finished_at, now=self._shared.now)

    def find_lost(self) -> Work:
        """Check what should be alive, and is not listed as such."""
        yield _LOST_AFTER
        while True:
            if any(one.position for one in self._shared.followers):
                yield from (self._find_lost() if self._shared.has_query else self._check_listed())
            yield _INTERVAL

    def _find_lost(self) -> Steps:
        # Polls take out of the candidates what they show.
        alive = self._shared.candidates = dict[str, Run]()
        while True:
            last = max(alive, default="")
            condition = alive_after(self._shared.followers, last)
            page = yield query_where(condition, order="run_id", limit=PAGE_SIZE)
            if isinstance(page, TriggerDevError):
                return False  # the polls say so
            alive |= {run.id: run for run in page.runs}
            if len(page.runs) < PAGE_SIZE:
                break
        gone = dict(alive)

        def drop(runs: Iterable[Run]) -> bool:
            for run in runs:
                gone.pop(run.id, None)
            return not gone

        if not alive or not (yield from self._list(drop, alive.values(), sorted(ALIVE_STATUSES))):
            return False
        gone = self._shared.candidates = {run_id: run for run_id, run in gone.items() if run_id in alive}
        self._lost = {run_id: found for run_id, found in self._lost.items() if run_id in gone}
        for run_id in gone.keys() & self._lost.keys():
            self._found(*self._lost[run_id])  # for those who have joined since then
            del gone[run_id]
        return not gone or (yield from self._look_again(gone))

    def _look_again(self, gone: dict[str, Run]) -> Steps:
        """Take in, or check, what the polls have not shown since."""
        yield _LOST_AFTER
        if not gone:
            return True
        shown = yield query_runs(list(gone)[:MAX_QUERIED_RUNS])
        if isinstance(shown, TriggerDevError):
            return False
        for run in shown:
            if run.finished_at and run.id in gone:  # it was shown later than polls read again
                late = replace(gone.pop(run.id), status=run.status, finished_at=run.finished_at)
                self._found(late, run.finished_at)
        alive = {run.id: gone[run.id] for run in shown if run.id in gone and not run.is_final}
        return (yield from self._check(alive))

    def _check_listed(self) -> Steps:
        """Where there is no query: check runs that were alive when they were listed before."""
        shared, before, listed = self._shared, dict(self._shared.alive), dict[str, Run]()
        followers = list(shared.followers)

        def take(runs: Iterable[Run]) -> bool:
            listed.update((run.id, run) for run in runs)
            return False

        if not (yield from self._list(take, [], sorted(ALIVE_STATUSES))):
            return False
        begun = self._listed_at
        shared.alive |= {run_id: run for run_id, run in listed.items() if not run.is_final}
        if not (
            yield from self._check({run_id: run for run_id, run in before.items() if run_id not in listed})
        ):
            return False
        if begun:
            for one in followers:
                one.checked_at = time_text(begun)
            shared.take_listed([])  # their positions may move
        return True

    def _list(
        self,
        take: Callable[[Iterable[Run]], bool],
        wanted: Iterable[Run],
        statuses: Sequence[str],
        most_pages: float = math.inf,
    ) -> Steps:
        """List what the followers may want, as far back as the wanted runs, until ``take`` has enough."""
        shared, self._listed_at = self._shared, None
        since = min((run.created_at or ALL_TIMES for run in wanted), default=ALL_TIMES)
        for which in list_filters([one.filter for one in shared.followers]):
            after: str | None = ""
            while after is not None and most_pages > 0:
                call = list_runs_page(**which, statuses=statuses, created_from=since, after=after or None)
                reply = yield dated(call)
                if isinstance(reply, TriggerDevError):
                    shared.searches.failed(reply, shared.now)
                    return False
                shared.searches.worked(shared.now)
                page, seen_at = reply
                self._listed_at = self._listed_at or seen_at
                if take(map(with_end, page.runs)):
                    return True
                after, most_pages = page.next, most_pages - 1
        return True

    def _check(self, runs: dict[str, Run]) -> Steps:
        """Check runs that were alive, each by itself; of many, see first what the newest in the list are."""
        is_done, self._shared.candidates = True, runs

        def take(listed: Iterable[Run]) -> bool:
            for run in listed:
                if run.is_final and not run.is_canceled and run.id in runs:
                    del runs[run.id]
                    self._found(run, run.finished_at)
            return not runs

        if len(runs) >= _LISTED_FROM:
            yield from self._list(take, runs.values(), (), most_pages=len(runs) // 2)
        while runs:
            run_id, run = next(iter(runs.items()))
            is_done = (yield from self._check_one(run_id, run)) and is_done
        return is_done

    def _check_one(self, run_id: str, run: Run) -> Steps:
        reply = yield check_run(run_id)
        if self._shared.candidates.pop(run_id, None) is None:
            return True  # a poll has shown its end meanwhile
        if isinstance(reply, NotFoundError):
            self._shared.alive.pop(run_id, None)
        elif isinstance(reply, TriggerDevError):
            return is_internal_error(reply)  # as for a run whose output is broken, each time
        elif reply.is_final:
            if not self._is_over(reply):
                return False
            ended = replace(run, status=reply.status, finished_at=reply.finished_at)
            self._found(ended, reply.finished_at or reply.updated_at)
        return True

    def _is_over(self, run: Run) -> bool:
        """Return whether a run that has ended cannot change; by our clock where the server's is not known."""
        since = self._canceled_since.setdefault(run.id, self._shared.now)
        is_over = run.is_terminated or self._shared.now - since > TERMINATES_WITHIN
        if is_over:
            del self._canceled_since[run.id]
        return is_over

    def _found(self, run: Run, ended_at: datetime | None) -> None:
        shared = self._shared
        if not shared.has_query:
            shared.alive.pop(run.id, None)
            shared.take_listed([replace(run, finished_at=ended_at)])
            return
        self._lost[run.id] = run, ended_at
        for one in shared.followers:
            one.take_lost(run, ended_at)
