"""Make the requests of a feed of ends: one at a time, and so many a minute."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from airflow_provider_trigger.api.client import TriggerDevClient
from airflow_provider_trigger.api.endpoints.runs import Cursor, check_run, list_newest_runs, list_runs_page
from airflow_provider_trigger.api.errors import NotFoundError, TriggerDevError
from airflow_provider_trigger.api.http import Call, Response, read_http_date
from airflow_provider_trigger.api.models.runs import ListedRun, Run
from airflow_provider_trigger.api.server_advice import UNTRUSTED_DATE
from airflow_provider_trigger.run.ends import EndFilter
from airflow_provider_trigger.run.ends_requests import list_filters
from airflow_provider_trigger.triggers.watch_clients import T, Use, WatchClients

if TYPE_CHECKING:
    from airflow_provider_trigger.hooks.connection import Environment, Settings
    from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook

# In a minute; one that is rejected is made twice: 30 in all, as that is rare.
_REQUESTS = 28
# Of these, those that polls go before.
_LATER_REQUESTS = 2
_MINUTE = 60.0

POLL_INTERVAL = _MINUTE / (_REQUESTS - _LATER_REQUESTS)
"""Between two polls, in seconds."""

# When the last requests have ended. They stay when a feed is closed, as another one may follow at once.
_requested: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Environment, deque[float]]] = (
    WeakKeyDictionary()
)


class EndsRequests(WatchClients):
    """Send requests, at most 30 in any minute for an environment and event loop."""

    def __init__(self, hook: TriggerDevHook) -> None:
        super().__init__(hook)
        self._loop = asyncio.get_running_loop()
        of_loop = _requested.setdefault(self._loop, {})
        self._all = of_loop.setdefault(hook.settings.environment, deque(maxlen=_REQUESTS))
        self._later = deque[float](maxlen=_LATER_REQUESTS)
        self.clocks: list[datetime]
        """The local clock and the server's, as the last answer came: that which is behind comes first."""
        self._turn, self._later_turn = asyncio.Lock(), asyncio.Lock()

    async def send(self, call: Call[T], *, later: bool = False) -> tuple[T, datetime]:
        """
        Make a call once; return its result, and the server's clock as it answered, to the second.

        :param later: whether polls go before it
        """

        def read(response: Response) -> tuple[T, datetime]:
            now = datetime.fromtimestamp(time.time(), UTC)
            self.clocks = sorted((now, read_http_date(response.headers.get(UNTRUSTED_DATE, "")) or now))
            return call.read(response), response.date() or now

        dated = Call(request=call.request, read=read, timeout=call.timeout)
        if not later:
            async with self._turn:
                return await self.call("ends", dated)
        async with self._later_turn:
            await self._wait_for_room(self._later)
            try:
                return await self.send(call)
            finally:
                self._later.append(self._loop.time())

    async def _call(self, use: Use, client: TriggerDevClient, call: Call[T]) -> T:
        # Each counts: a call makes several where the key has changed.
        await self._wait_for_room(self._all)
        try:
            return await super()._call(use, client, call)
        finally:  # also where its caller no longer waits
            self._all.append(self._loop.time())

    async def _wait_for_room(self, ended: deque[float]) -> None:
        while len(ended) == ended.maxlen and (pause := ended[0] + _MINUTE - self._loop.time()) > 0:
            await asyncio.sleep(max(pause, 0.001))  # at least a little: by rounding it may still be too early

    async def _renew(self, *_: object) -> bool:
        return False  # the feed follows the connection

    async def leads_elsewhere(self, settings: Settings, run_id: str | None) -> bool:
        """
        Return whether other values lead to another environment; raise an error if they do not work.

        :param run_id: an ended run that was shown last, which another environment does not have
        """
        if settings.environment != self.settings.environment:
            return True
        if run_id is None:
            with suppress(TriggerDevError):  # the key may be revoked
                page, _ = await self.send(list_newest_runs())
                run_id = page.runs[-1].id if page.runs else None
        call: Call[Any] = check_run(run_id) if run_id else list_newest_runs()
        try:
            with TriggerDevClient(settings, max_connections=1) as client:
                await self._call("ends", client, call)
        except NotFoundError:
            return True
        return False

    async def list_runs(
        self,
        filters: Sequence[EndFilter],
        *,
        since: datetime,
        statuses: Sequence[str] = (),
        later: bool = False,
    ) -> AsyncIterator[tuple[list[Run], datetime]]:
        """Yield pages of what the filters may want, the newest run first, and the server's clock."""
        for which in list_filters(filters):
            cursor, has_more = Cursor(), True
            while has_more:
                call = list_runs_page(**which, statuses=statuses, created_from=since, after=cursor.after)
                page, seen_at = await self.send(call, later=later)
                yield [_with_end(run) for run in page.runs], seen_at
                has_more = cursor.advance(page)


def _with_end(listed: ListedRun) -> Run:
    """Return a run of a list; if it has ended, with the time."""
    run = Run.from_answer(listed.attributes, seen_at=listed.seen_at)
    return replace(run, finished_at=run.finished_at or run.updated_at) if run.is_final else run
