"""Read the ends of runs, by the query, or by the list where the server has none."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from airflow_provider_trigger.api.endpoints.query import query_where
from airflow_provider_trigger.api.endpoints.runs import list_runs_page
from airflow_provider_trigger.api.errors import ResponseError, TriggerDevError
from airflow_provider_trigger.api.models.runs import Run
from airflow_provider_trigger.api.models.statuses import ALIVE_STATUSES, RunStatus
from airflow_provider_trigger.hooks import fetching
from airflow_provider_trigger.run.ends import EndFilter, Position, mark_of, time_text
from airflow_provider_trigger.run.ends_follower import NEVER, Follower, Key
from airflow_provider_trigger.run.ends_requests import PAGE_SIZE, ends_after, unstarted_after
from airflow_provider_trigger.run.ends_unstarted import UnstartedRuns
from airflow_provider_trigger.run.outage import Outage
from airflow_provider_trigger.run.search import ALL_TIMES
from airflow_provider_trigger.triggers.background import keep
from airflow_provider_trigger.triggers.ends_lost import LIST_LAG, LostEnds, oldest
from airflow_provider_trigger.triggers.ends_requests import POLL_INTERVAL, EndsRequests

if TYPE_CHECKING:
    from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook

log = logging.getLogger(__name__)

# Those that begin together are in the first poll together, in seconds.
_GATHER = 0.25
# After failures, after an error of ours, and until it is looked again whether there is something to do.
_PAUSES = (POLL_INTERVAL, 5.0, 10.0)
_PAUSE_AFTER_CRASH = 10.0
_IDLE = 0.5
# The ends of more than so many runs are not read before those that wait were handed over.
_MOST_WAITING = 1000
# How precise the time of an answer is.
_DATE_IS_TO = timedelta(seconds=1)
# Between two searches for lost ends.
_SEARCH_INTERVAL = 60.0
# Between two looks at the connection.
_CONNECTION_INTERVAL = 30.0
# A server without the query may have been upgraded after so many seconds.
_WITHOUT_QUERY = 600.0


class Feed:
    """Read the ends of runs for all followers that use a connection on an event loop."""

    def __init__(self, hook: TriggerDevHook) -> None:
        self.requests = EndsRequests(hook)
        self._name = hook.trigger_dev_conn_id
        self._loop = asyncio.get_running_loop()
        self._followers: list[Follower] = []
        self.news = asyncio.Event()
        """Set when there may be something new; then there is another one."""
        self.is_elsewhere: bool | None = None
        """Whether the connection leads to another environment now; None while it has the values in use."""
        self._shown: str | None = None  # the run of the last end that a poll has shown
        self._has_query = False  # known once it has answered
        self._without_query_until = 0.0
        self._unstarted = UnstartedRuns()
        self._lost = LostEnds(self.requests, self._followers)
        # Where there is no query: what was alive when it was listed, and of this what was seen to have ended.
        self._alive: dict[str, Run] = {}
        self._checked: dict[str, Run] = {}
        self._polls = Outage(f"Connection {self._name!r}: ends of runs cannot be read", log)
        self._searches = Outage(f"Connection {self._name!r}: lost ends of runs cannot be looked for", log)
        what = f"Connection {self._name!r}: its new values do not work, and those before are used"
        self._tasks = [
            keep(self._repeat(step, outage), context=Context())
            for step, outage in (
                (self._poll, self._polls),
                (self._find_when_canceled, self._searches),
                (self._find_lost, self._searches),
                (self._follow_connection, Outage(what, log)),
            )
        ]

    def join(self, follower: Follower) -> None:
        """Let one more follow."""
        self._followers.append(follower)
        if follower.wants_canceled:
            self._unstarted = UnstartedRuns()

    def leave(self, follower: Follower) -> bool:
        """Let one go; return whether it was the last one."""
        self._followers.remove(follower)
        return not self._followers

    def close(self) -> None:
        """Request nothing more, and close the connections."""
        self.requests.close()
        for task in self._tasks:
            task.cancel()

    async def _repeat(self, step: Callable[[], Awaitable[float]], outage: Outage) -> None:
        """Do a step again and again; it returns after how many seconds it is done again."""
        pause = _GATHER
        while True:
            await asyncio.sleep(pause)
            try:
                pause = await step()
                outage.worked(self._loop.time())
            except TriggerDevError as error:
                outage.failed(error.with_traceback(None), self._loop.time())
                pause = _PAUSES[min(outage.failures, len(_PAUSES)) - 1]
            except Exception:  # an error of ours: no watcher may end because of it
                log.exception("The ends of runs of connection %r could not be read", self._name)
                pause = _PAUSE_AFTER_CRASH
            self.news.set()
            self.news = asyncio.Event()

    @property
    def _uses_query(self) -> bool:
        return self._loop.time() >= self._without_query_until

    @property
    def _filters(self) -> list[EndFilter]:
        return [one.filter for one in self._followers]

    async def _poll(self) -> float:
        begun, requests = self._loop.time(), 1
        new = [one for one in self._followers if one.position is None]
        if not self._uses_query:
            requests = await self._read_lists(new)
        else:
            try:
                await self._read_page(new)
                self._has_query = True
            except ResponseError as error:
                # It is an older server, unless it has answered a query before.
                if error.status != 404 or self._has_query:
                    raise
                if not self._without_query_until:
                    text = "Connection %r: the server has no query; the ends of runs are read from its list"
                    log.info(text, self._name)
                self._without_query_until = begun + _WITHOUT_QUERY
                requests = 0
        return max(0.0, begun + requests * POLL_INTERVAL - self._loop.time())

    async def _read_page(self, new: Sequence[Follower]) -> None:
        """Read a page of ends, and of canceled runs that have none."""
        if new:
            order = "completed_at DESC, run_id DESC"
            call = query_where("completed_at IS NOT NULL", order=order, limit=1)
            runs, now = await self.requests.send(call)
            latest = max(now, self.requests.clocks[1]) + _DATE_IS_TO
            ends = [run.finished_at for run in runs if run.finished_at and run.finished_at <= latest]
            self._shown = runs[0].id if runs else self._shown
            first = now if runs else min(now, self.requests.clocks[0])  # no end has been passed
            _begin(new, max(ends, default=first), seen=tuple(mark_of(run.id) for run in runs))
        unstarted = self._unstarted
        followers = [one for one in self._followers if one.position and not _is_full(one)]
        canceled = [one.filter for one in self._followers if one.wants_canceled]
        if not followers:
            return
        lows: dict[Key, list[EndFilter]] = {}
        for one in followers:
            lows.setdefault(one.low, []).append(one.filter)
        conditions = [ends_after(filters, low) for low, filters in lows.items()]
        if canceled:
            conditions.append(unstarted_after(canceled, unstarted.read_to))
        condition = " OR ".join(f"({one})" for one in conditions)
        call = query_where(condition, order="completed_at, run_id", limit=PAGE_SIZE)
        runs, seen_at = await self.requests.send(call)
        for run in runs:
            self._lost.alive.pop(run.id, None)
        ended = [run for run in runs if run.finished_at]
        self._shown = ended[-1].id if ended else self._shown
        rest = runs[len(ended) :]  # NULLs come last
        is_full = len(runs) >= PAGE_SIZE
        seen_to = time_text(seen_at + _DATE_IS_TO)
        if canceled:
            sweep = unstarted.take(rest, is_last=not is_full, seen_at=seen_at, now=self._loop.time())
            canceled_at = time_text(max(seen_at, self.requests.clocks[1]) + _DATE_IS_TO)
            for run in sweep:
                self._take_canceled(run, canceled_at)
        for one in followers:
            at_most = unstarted.at_most if one.wants_canceled else NEVER
            one.take_page(ended, is_last=not is_full or bool(rest), now=seen_to, at_most=at_most)

    def _concerns(self, run: Run) -> bool:
        return any(one.concerns(run) for one in self._filters)

    def _take_canceled(self, run: Run, ended_at: str | None) -> None:
        for one in self._followers:
            one.take_canceled(run, ended_at)

    async def _find_when_canceled(self) -> float:
        """Find in the list when runs were canceled that never started."""
        while not (unsure := self._unstarted.unsure):
            await asyncio.sleep(_IDLE)
        wanted = set(unsure)
        async for runs, _ in self.requests.list_runs(
            self._filters,
            since=oldest(unsure),
            statuses=[RunStatus.CANCELED],
            later=True,
        ):
            for run in runs:
                if run.id in unsure:
                    ended_at = time_text(run.finished_at) if run.finished_at else None
                    self._take_canceled(unsure.pop(run.id), ended_at)
            wanted &= unsure.keys()
            if not wanted:
                break
        for run_id in wanted:
            self._take_canceled(unsure.pop(run_id), None)
        return 0.0

    async def _find_lost(self) -> float:
        await asyncio.sleep(_SEARCH_INTERVAL)
        # While polls show no ends, or not all, those that are lost are not known.
        while self._polls.failures or not self._uses_query or any(map(_is_full, self._followers)):
            await asyncio.sleep(_IDLE)
        await self._lost.find()
        return 0.0

    async def _follow_connection(self) -> float:
        await asyncio.sleep(_CONNECTION_INTERVAL)
        settings = await fetching.fetch_again(self._name, fetch=fetching.fetch_shielded)
        if settings is not None:
            is_other = settings != self.requests.settings
            elsewhere = is_other and await self.requests.leads_elsewhere(settings, self._shown)
            self.is_elsewhere = elsewhere if is_other else None
        return 0.0

    async def _read_lists(self, new: Sequence[Follower]) -> int:
        """Where there is no query: read what is new and what is alive; return how many requests that took."""
        if new:
            _, seen_at = await self.requests.send(list_runs_page(created_from=None))
            _begin(new, seen_at)
        followers = [one for one in self._followers if one.position]
        listed, pages = dict[str, Run](), list[datetime]()
        since = min(one.listed_to for one in followers)
        for statuses, created_from in (((), since), (sorted(ALIVE_STATUSES), ALL_TIMES)):
            async for runs, seen_at in self.requests.list_runs(
                self._filters, since=created_from, statuses=statuses
            ):
                listed |= {run.id: run for run in runs}
                pages.append(seen_at)
        gone = self._alive.keys() - listed.keys() - self._checked.keys()
        unknown = {run_id: self._alive[run_id] for run_id in gone if self._concerns(self._alive[run_id])}
        is_sure = True
        try:
            async for run in self._lost.check(unknown, later=False):
                self._checked[run.id] = run
            self._searches.worked(self._loop.time())
        except TriggerDevError as error:
            is_sure = False  # so the position stays, and the other ends do not wait
            self._searches.failed(error.with_traceback(None), self._loop.time())
        changing = {run.id: run for run in listed.values() if not run.is_final or run.may_have_worker}
        ended = [run for run in listed.values() if run.id not in changing] + [*self._checked.values()]
        self._alive = changing | unknown
        canceled = [run.updated_at for run in self._alive.values() if run.is_canceled and run.updated_at]
        now = time_text(min([pages[0], *canceled]))
        ended = sorted((run for run in ended if run.finished_at), key=lambda run: (run.finished_at, run.id))
        for one in followers:
            one.take_page(ended, is_last=True, now=now, at_most=now if is_sure else "")
            one.listed_to = pages[0] - LIST_LAG
            for run in self._checked.values():  # those that were seen too late to be in order
                one.take_lost(run)
        self._checked = {}
        return len(pages)


def _is_full(follower: Follower) -> bool:
    return follower.waiting >= _MOST_WAITING


def _begin(followers: Sequence[Follower], at: datetime, *, seen: tuple[str, ...] = ()) -> None:
    for one in followers:
        one.begin(Position(until=time_text(at), start=time_text(at), seen=seen))
