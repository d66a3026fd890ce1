"""Search for ends that the query does not show, or shows very late."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from airflow_provider_trigger.api.endpoints.query import MAX_QUERIED_RUNS, query_runs, query_where
from airflow_provider_trigger.api.endpoints.runs import check_run
from airflow_provider_trigger.api.errors import (
    NotFoundError,
    TransportError,
    TriggerDevError,
    is_internal_error,
)
from airflow_provider_trigger.api.models.runs import Run
from airflow_provider_trigger.api.models.statuses import ALIVE_STATUSES
from airflow_provider_trigger.run.ends_follower import Follower
from airflow_provider_trigger.run.ends_requests import PAGE_SIZE, alive_after
from airflow_provider_trigger.run.search import ALL_TIMES
from airflow_provider_trigger.triggers.ends_requests import EndsRequests

LIST_LAG = timedelta(seconds=60)
"""How late the list is at most."""

# An end that the query does not show so many seconds later is lost: 4.6 s was the longest (measured).
_LOST_AFTER = 10.0
# As many runs are looked up in the list before each is checked by itself.
_LISTED_FROM = 6


class LostEnds:
    """Search in the background, for all followers."""

    def __init__(self, requests: EndsRequests, followers: Sequence[Follower]) -> None:
        self._requests = requests
        self._followers = followers
        self.alive: dict[str, Run] = {}
        """What the query has shown as alive, without that of which a poll has shown the end since."""
        self._known: dict[str, Run] = {}  # those found, while the query shows them as alive

    async def find(self) -> None:
        """Check once what the query shows as alive, although the list did not some time ago."""
        filters, listed, pages = [one.filter for one in self._followers], set[str](), list[datetime]()
        async for runs, seen_at in self._requests.list_runs(
            filters, since=ALL_TIMES, statuses=sorted(ALIVE_STATUSES), later=True
        ):
            listed |= {run.id for run in runs}
            pages.append(seen_at)
        await asyncio.sleep(_LOST_AFTER)
        alive, last, is_full = dict[str, Run](), "", True
        while is_full:
            call = query_where(alive_after(filters, last), order="run_id", limit=PAGE_SIZE)
            runs, _ = await self._requests.send(call, later=True)
            shown = {run.id: run for run in runs}
            alive |= shown
            self.alive |= shown  # at once: polls take out what they show until the next page
            last, is_full = max(alive, default=""), len(runs) >= PAGE_SIZE
        await asyncio.sleep(_LOST_AFTER)  # polls show meanwhile what has just ended
        await self._find_late(list(self.alive.keys() - alive.keys()))
        listed_to = pages[0] - LIST_LAG
        gone = {
            run.id: run
            for run in alive.values()
            if run.id in self.alive and run.id not in listed and (run.created_at or listed_to) < listed_to
        }
        self._known = {run_id: run for run_id, run in self._known.items() if run_id in gone}
        for run in self._known.values():  # for those who have joined since then
            self._take(run)
        unknown = {run_id: run for run_id, run in gone.items() if run_id not in self._known}
        async for run in self.check(unknown, later=True):
            if run.id in self.alive:  # no poll has shown its end meanwhile
                self._known[run.id] = run
                self._take(run)

    async def _find_late(self, run_ids: list[str]) -> None:
        """Take in what was alive in the last search, and has ended without that a poll has shown it."""
        for first in range(0, len(run_ids), MAX_QUERIED_RUNS):
            call = query_runs(run_ids[first : first + MAX_QUERIED_RUNS])
            runs, _ = await self._requests.send(call, later=True)
            for run in runs:
                known = self.alive.pop(run.id, None)
                if known and run.finished_at:
                    self._take(replace(known, status=run.status, finished_at=run.finished_at))
        for run_id in run_ids:
            self.alive.pop(run_id, None)

    def _take(self, run: Run) -> None:
        for one in self._followers:
            one.take_lost(run)

    async def check(self, runs: dict[str, Run], *, later: bool) -> AsyncIterator[Run]:
        """Yield those that have ended for good, and remove them; also those that do not exist."""
        failed: TriggerDevError | None = None
        async for ended in self._check_listed(runs, later=later):
            yield ended
        for run_id, run in list(runs.items()):
            try:
                found, _ = await self._requests.send(check_run(run_id), later=later)
            except NotFoundError:
                del runs[run_id]
            except TransportError:
                raise
            except TriggerDevError as error:
                if not is_internal_error(error):  # as for a run whose output is broken, each time
                    failed = error  # it may be the same each time: the others are checked first
            else:
                ended_at = found.finished_at or found.updated_at
                runs[run_id] = replace(
                    run, status=found.status, finished_at=ended_at, updated_at=found.updated_at
                )
                if found.is_terminated:
                    yield runs.pop(run_id)
        if failed is not None:
            raise failed

    async def _check_listed(self, runs: dict[str, Run], *, later: bool) -> AsyncIterator[Run]:
        """Do the same for the newest runs of the list, if there are many, with fewer requests."""
        if len(runs) < _LISTED_FROM:
            return
        pages = len(runs) // 2
        async for listed, _ in self._requests.list_runs(
            [one.filter for one in self._followers], since=oldest(runs), later=later
        ):
            for run in listed:
                if run.is_final and not run.is_canceled and run.id in runs:
                    del runs[run.id]
                    yield run
            pages -= 1
            if not (runs and pages):
                break


def oldest(runs: dict[str, Run]) -> datetime:
    """Return when the first of some runs was created."""
    return min(run.created_at or ALL_TIMES for run in runs.values())
