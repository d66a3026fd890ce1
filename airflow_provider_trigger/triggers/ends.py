"""Follow the ends of runs on an event loop; one feed serves all who use a connection on it."""

from __future__ import annotations

import asyncio
import logging
import math
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from airflow_provider_trigger._compat import Store
from airflow_provider_trigger.ends import EndFilter, Follower, Position, next_poll
from airflow_provider_trigger.hooks.connection import Environment, safe_text
from airflow_provider_trigger.hooks.fetching import fetch_again, fetch_shielded
from airflow_provider_trigger.log import Log, Outage
from airflow_provider_trigger.threads import in_thread
from airflow_provider_trigger.triggers.base import keep
from airflow_provider_trigger.triggers.watch import CHECKS_RESERVE, new_client

if TYPE_CHECKING:
    from airflow_provider_trigger.hooks.connection import Settings


RETRY_PAUSE = 5.0  # seconds

# An event that was sent this many seconds ago is in Airflow's database: that takes some 10 on a busy machine.
_ARRIVED_AFTER = 60.0


class Positions:
    """
    Load and store the position of one watcher.

    A position that is stored at once runs ahead of its events, and a kill or a pause in between loses them
    (measured). So each is stored a minute after its events were sent.
    """

    def __init__(self, store: Store, *, watcher: str, environment: Environment, log: Log) -> None:
        self.environment = environment
        self._store = store
        self._watcher = watcher
        _, *self._leads_to = environment  # another connection's id is no other environment
        self._log = log
        self._outage = Outage(
            f"{watcher}: its position cannot be stored", log, then="events are sent meanwhile"
        )
        self._next: Position | None = None
        self._has_begun = False
        self._passed: list[tuple[float, Position]] = []  # what is to be stored, and when it was passed
        self._stored: Position | None = None
        self._key_of: str | None = None  # the environment that the last key names, such as tr_dev_
        self._task: asyncio.Task[None] | None = None

    def note_key(self, secret_key: str) -> None:
        """Warn if a key is not of the same environment as the last one."""
        environment = "".join(re.findall(r"^tr_[a-z]+_", secret_key))
        if self._key_of not in (None, environment):
            text = (
                "%s has a key of another environment now, whose ends it sends. What ends in the earlier one "
                "may never be sent, also if its key comes back"
            )
            self._log.warning(text, self._watcher)
        self._key_of = environment

    async def load(self) -> Position | None:
        """Return where it is, None if it begins."""
        if self._next is None and (stored := await self._store.load()):
            objects = [value for value in stored if isinstance(value, dict)]  # users can change a variable
            newest = max(objects, key=lambda value: str(value.get("saved_at")), default={})
            if newest.get("environment") == self._leads_to:
                self._next = self._stored = Position.from_json(newest)
            if self._next is None:
                text = "%s begins again: its connection leads elsewhere now, or what was stored is invalid"
                self._log.warning(text, self._watcher)
        return self._next

    async def begin(self, position: Position) -> None:
        """Store where it begins or continues, before anything is sent; later, where that fails."""
        if self._has_begun:
            return
        self._has_begun, self._next = True, position
        how = "continues from" if self._stored else "begins at"
        try:
            await self._save(position)
        except Exception as error:
            self._failed(error)
            self._save_later(position, at=-math.inf)
        self._log.info("%s %s %s", self._watcher, how, position.until)

    def passed(self, position: Position) -> None:
        """Take in where it is after it has sent events."""
        self._next = position
        self._save_later(position, at=asyncio.get_running_loop().time())

    def close(self) -> None:
        """Store nothing more: what was sent last may not arrive."""
        if self._task is not None:
            self._task.cancel()

    def _save_later(self, position: Position, *, at: float) -> None:
        self._passed.append((at, position))
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._save_arrived())

    async def _save_arrived(self) -> None:
        """Store each position once its events have arrived, until the last one is stored."""
        loop = asyncio.get_running_loop()
        while self._passed:
            await asyncio.sleep(RETRY_PAUSE)
            arrived = [position for at, position in self._passed if at + _ARRIVED_AFTER <= loop.time()]
            if not arrived:
                continue
            try:
                await self._save(arrived[-1])
            except Exception as error:
                self._failed(error)
            else:
                self._outage.worked(loop.time())
                del self._passed[: len(arrived)]

    async def _save(self, position: Position) -> None:
        marks = {"environment": self._leads_to, "saved_at": time.time()}
        await self._store.save(position.to_json() | marks)
        self._stored = position

    def _failed(self, error: Exception) -> None:
        # Any error: storing goes through Airflow's supervisor, its API and its database.
        since = f"continues from {self._stored.until}" if self._stored else "begins then"
        text = f"if the triggerer restarts first, it {since}: {safe_text(error)}"
        self._outage.failed(text, asyncio.get_running_loop().time())


log = logging.getLogger(__name__)

# All in seconds. Those that begin together are in the first poll together.
_GATHER = 0.25
_POLL_INTERVAL = 2.0
_CONNECTION_INTERVAL = 30.0  # between two looks at it

_feeds: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Settings, Feed]] = WeakKeyDictionary()


@contextmanager
def follow_ends(
    settings: Settings, end_filter: EndFilter, position: Position | None
) -> Iterator[tuple[Feed, Follower]]:
    """Follow ends that fit a filter, from a position on, or from now; the feed closes with its last user."""
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
        self.is_outdated = False  # whether the connection has other values now
        self._polled = asyncio.Event()  # then there is another one
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._client = new_client(settings, reserve=CHECKS_RESERVE)
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
                if poll := next_poll(self.followers):
                    call, take = poll
                    take(await in_thread(partial(self._client.call, call, patience=0)))
            except Exception as error:  # also one of ours: no watcher may end because of it
                self._outage.failed(safe_text(error), self._loop.time())
            else:
                self._outage.worked(self._loop.time())
            pause = begun + _POLL_INTERVAL - self._loop.time()
            self._wake()

    async def _follow_connection(self) -> None:
        while True:
            await asyncio.sleep(_CONNECTION_INTERVAL)
            settings = await fetch_again(self._settings.conn_id, fetch=fetch_shielded)
            self.is_outdated = settings not in (None, self._settings)
            if self.is_outdated:
                self._wake()
