"""Follow the ends of runs on an event loop; one feed serves all who use a connection on it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import Context
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakKeyDictionary

from airflow_provider_trigger.api.client import TriggerDevClient
from airflow_provider_trigger.api.errors import ResponseError, TriggerDevError
from airflow_provider_trigger.api.http import Call, Response, read_http_date
from airflow_provider_trigger.api.limits import RateLimit
from airflow_provider_trigger.api.models import Run
from airflow_provider_trigger.ends import Answer, EndFilter, Follower, Position, next_poll
from airflow_provider_trigger.hooks import fetching
from airflow_provider_trigger.run.wait_log import Outage
from airflow_provider_trigger.triggers.watch import CHECKS_RESERVE, in_thread, keep

if TYPE_CHECKING:
    from airflow_provider_trigger.hooks.connection import Settings

log = logging.getLogger(__name__)

T = TypeVar("T")

# All in seconds. Those that begin together are in the first poll together.
_GATHER = 0.25
# Between two polls, and longer after failures; after an error of ours.
_PAUSES = (2.0, 5.0, 10.0)
_PAUSE_AFTER_CRASH = 10.0
# Between two looks at the connection.
_CONNECTION_INTERVAL = 30.0

_feeds: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Settings, Feed]] = WeakKeyDictionary()


@contextmanager
def follow_ends(
    settings: Settings, end_filter: EndFilter, position: Position | None
) -> Iterator[tuple[Feed, Follower]]:
    """
    Follow ends that fit a filter, from a position on; None for one that begins now.

    All who have the same values of a connection share one feed, which closes with the last one.
    """
    feeds = _feeds.setdefault(asyncio.get_running_loop(), {})
    if (feed := feeds.get(settings)) is None:
        feed = feeds[settings] = Feed(settings)
    follower = Follower(end_filter, position)
    feed.followers.append(follower)
    try:
        yield feed, follower
    finally:
        feed.followers.remove(follower)
        if not feed.followers:
            del feeds[settings]
            feed.close()


class Feed:
    """Poll for all that follow ends by a connection on an event loop, and look whether it has changed."""

    def __init__(self, settings: Settings) -> None:
        self.followers: list[Follower] = []
        self.is_outdated = False
        """Whether the connection has other values now."""
        self._polled = asyncio.Event()  # then there is another one
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        pace = RateLimit(reserve=CHECKS_RESERVE)
        self._client = TriggerDevClient(settings, max_connections=1, rate_limit=pace)
        self._client.breaker.has_worked = True  # an outage passes, and is no reason to stop
        self._outage = Outage(f"Connection {settings.conn_id!r}: ends of runs cannot be read", log)
        self._tasks = [keep(work, context=Context()) for work in (self._poll(), self._follow_connection())]

    async def polled(self) -> None:
        """Wait for the next poll, also for one that fails, or until the connection has changed."""
        await self._polled.wait()

    def close(self) -> None:
        """Request nothing more, and close the connections."""
        self._client.close()
        for task in self._tasks:
            task.cancel()

    def _wake(self) -> None:
        self._polled.set()
        self._polled = asyncio.Event()

    async def _poll(self) -> None:
        pause = _GATHER
        while True:
            await asyncio.sleep(pause)
            begun = self._loop.time()
            try:
                await self._read_page()
            except TriggerDevError as error:
                self._outage.failed(error.with_traceback(None), self._loop.time())
                pause = _PAUSES[min(self._outage.failures, len(_PAUSES)) - 1]
            except Exception:  # an error of ours: no watcher may end because of it
                log.exception("The ends of runs of connection %r could not be read", self._settings.conn_id)
                pause = _PAUSE_AFTER_CRASH
            else:
                self._outage.worked(self._loop.time())
                pause = begun + _PAUSES[0] - self._loop.time()
            self._wake()

    async def _read_page(self) -> None:
        if (poll := next_poll(self.followers)) is None:
            return
        call, take = poll
        try:
            take(await self._call(self._client, _dated(call)))
        except ResponseError as error:
            if error.status != 404:
                raise
            text = f"asset watchers need a server with the query: {error}"
            raise TriggerDevError(text, retryable=True) from None

    async def _follow_connection(self) -> None:
        while True:
            await asyncio.sleep(_CONNECTION_INTERVAL)
            settings = await fetching.fetch_again(self._settings.conn_id, fetch=fetching.fetch_shielded)
            self.is_outdated = settings not in (None, self._settings)
            if self.is_outdated:
                self._wake()

    async def _call(self, client: TriggerDevClient, call: Call[T]) -> T:
        """Make a call once."""
        return await in_thread(partial(client.call, call, patience=0))


def _dated(call: Call[list[Run]]) -> Call[Answer]:
    """Return a call that returns the two clocks as well."""

    def read(response: Response) -> Answer:
        local = datetime.fromtimestamp(time.time(), UTC)
        behind, ahead = sorted((local, read_http_date(response.headers.get("date", "")) or local))
        return call.read(response), behind, ahead

    return Call(request=call.request, read=read, timeout=call.timeout)
