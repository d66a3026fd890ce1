"""Poll for the ends of runs on an event loop: one feed serves all watchers that use a connection there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from airflow_provider_trigger.hooks.connection import read_settings, safe_text
from airflow_provider_trigger.hooks.fetching import fetch_shielded
from airflow_provider_trigger.log import Outage
from airflow_provider_trigger.threads import in_thread
from airflow_provider_trigger.triggers.base import keep
from airflow_provider_trigger.triggers.follower import EndFilter, Follower, Position, next_poll
from airflow_provider_trigger.triggers.watch import CHECKS_RESERVE, new_client

if TYPE_CHECKING:
    from airflow_provider_trigger.hooks.connection import Settings


log = logging.getLogger(__name__)

# All in seconds. Watchers that begin within the first one share the first poll.
_GATHER = 0.25
_POLL_INTERVAL = 2.0
_CONNECTION_INTERVAL = 30.0  # between two looks at the connection

_feeds: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Settings, Feed]] = WeakKeyDictionary()


@contextmanager
def follow_ends(
    settings: Settings, end_filter: EndFilter, position: Position | None
) -> Iterator[tuple[Feed, Follower]]:
    """Follow the ends that fit a filter, from a position or from now; the last user closes the feed."""
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
    """Poll for all followers of a connection on an event loop, and look whether it has changed."""

    def __init__(self, settings: Settings) -> None:
        self.followers: list[Follower] = []
        self.is_outdated = False  # whether the connection has other values now
        self._polled = asyncio.Event()  # set after a poll; the next poll has a new one
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._client = new_client(settings, reserve=CHECKS_RESERVE)
        self._outage = Outage(f"Connection {settings.conn_id!r}: ends of runs cannot be read", log)
        self._tasks = [keep(work, context=Context()) for work in (self._poll(), self._follow_connection())]

    async def polled(self) -> None:
        """Wait until a poll has ended, well or not, or the connection has changed."""
        await self._polled.wait()

    def close(self) -> None:
        """Stop polling, and close the client."""
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
                if poll := next_poll(self.followers):
                    call, take = poll
                    take(await in_thread(partial(self._client.call, call, patience=0)))
            except Exception as error:  # any error: no watcher may end because of it
                self._outage.failed(safe_text(error), self._loop.time())
            else:
                self._outage.worked(self._loop.time())
            pause = begun + _POLL_INTERVAL - self._loop.time()
            self._wake()

    async def _follow_connection(self) -> None:
        while True:
            await asyncio.sleep(_CONNECTION_INTERVAL)
            with suppress(Exception):  # any: a failing backend does not say that the connection has changed
                connection = await fetch_shielded(self._settings.conn_id)
                self.is_outdated = read_settings(connection) != self._settings
            if self.is_outdated:
                self._wake()
