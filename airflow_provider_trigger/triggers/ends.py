"""Follow the ends of runs on an event loop; one feed serves all listeners that use a connection on it."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from airflow_provider_trigger.api.client import TriggerDevClient
from airflow_provider_trigger.api.errors import TriggerDevError
from airflow_provider_trigger.api.http import Call
from airflow_provider_trigger.run.ends import EndedRun, EndFilter, Position
from airflow_provider_trigger.run.ends_board import EndsBoard
from airflow_provider_trigger.run.ends_follower import Follower
from airflow_provider_trigger.run.ends_work import OTHER_REQUESTS, REQUESTS
from airflow_provider_trigger.run.request_limit import RequestLimit
from airflow_provider_trigger.triggers.background import keep
from airflow_provider_trigger.triggers.watch import wait_for
from airflow_provider_trigger.triggers.watch_clients import T, Use, WatchClients

if TYPE_CHECKING:
    from airflow_provider_trigger.hooks.connection import Environment
    from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook

log = logging.getLogger(__name__)

# Without ends, and while the position stays, a listener waits so many seconds.
_LONGEST_WAIT = 15.0
# After an error of ours, in seconds.
_PAUSE_AFTER_CRASH = 10.0

_feeds: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Environment, Feed]] = WeakKeyDictionary()
# These stay when a feed is closed, as another one may follow at once.
_limits: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Environment, RequestLimit]] = WeakKeyDictionary()


@contextmanager
def follow_ends(
    hook: TriggerDevHook, end_filter: EndFilter, position: Position | None
) -> Iterator[EndsListener]:
    """
    Give a listener for ends that fit a filter, from a position on; None for one that begins now.

    The hook has its connection already, as nothing can be fetched here without blocking the loop. All
    listeners of its environment share one feed, which closes with the last one. Where the connection has
    another key than before, the feed changes to it once it has worked.
    """
    feeds = _feeds.setdefault(asyncio.get_running_loop(), {})
    environment = hook.settings.environment
    feed = feeds.get(environment)
    if feed is None:
        feed = feeds[environment] = Feed(hook)
    else:
        feed.clients.offer(hook.settings)
    listener = EndsListener(Follower(end_filter, position))
    feed.join(listener)
    try:
        yield listener
    finally:
        if feed.leave(listener):
            del feeds[environment]
            feed.close()


class EndsListener:
    """Hear of ends, for one watcher. Nothing raises but CancelledError: the feed logs what is wrong."""

    def __init__(self, follower: Follower) -> None:
        self.follower = follower
        self._woken = asyncio.Event()

    @property
    def position(self) -> Position | None:
        """What is true once the ends of the last :meth:`next` were handed over; None before the first one."""
        return self.follower.position

    async def first_position(self) -> Position:
        """
        Wait until there is a position, and return it: save it before the first :meth:`next`.

        It is the one that was given. For a watcher that begins now it is the newest end that the server
        knows, or the server's time. While the server cannot be reached, this waits.
        """
        while (position := self.follower.position) is None:
            await self._wait(_LONGEST_WAIT)
        return position

    async def next(self) -> tuple[list[EndedRun], Position]:
        """
        Wait for ends; return 50 at most, the oldest first, and the position once they have been handed over.

        Without ends it returns an empty list when the position has moved, at the latest after 15 s.
        """
        await self.first_position()
        until = time.monotonic() + _LONGEST_WAIT
        while not self.follower.has_news and (left := until - time.monotonic()) > 0:
            await self._wait(left)
        return self.follower.hand_over()

    async def _wait(self, seconds: float) -> None:
        self._woken.clear()
        await wait_for(self._woken, seconds=seconds)

    def wake(self) -> None:
        """Take in that something may be new."""
        self._woken.set()


class _LimitedClients(WatchClients):
    """Keep to a limit with each request: a call makes several where the key has changed."""

    is_urgent = True

    def __init__(self, hook: TriggerDevHook, limit: RequestLimit) -> None:
        super().__init__(hook)
        self._limit = limit

    async def _call(self, use: Use, client: TriggerDevClient, call: Call[T]) -> T:
        while (pause := self._limit.next_at(urgent=True) - time.monotonic()) > 0:
            await asyncio.sleep(max(pause, 0.001))
        try:
            return await super()._call(use, client, call)
        finally:  # also where its caller no longer waits
            self._limit.made(time.monotonic(), urgent=self.is_urgent)


class Feed:
    """Make the requests that a board decides on, one at a time."""

    def __init__(self, hook: TriggerDevHook) -> None:
        limits = _limits.setdefault(asyncio.get_running_loop(), {})
        limit = limits.setdefault(
            hook.settings.environment, RequestLimit(most=REQUESTS, others=OTHER_REQUESTS)
        )
        self.clients = _LimitedClients(hook, limit)
        self._name = hook.trigger_dev_conn_id
        self._board = EndsBoard(self._name, log, limit)
        self._listeners: list[EndsListener] = []
        self._task = keep(self._work(), context=contextvars.Context())

    def join(self, listener: EndsListener) -> None:
        """Let a listener hear."""
        self._listeners.append(listener)
        self._board.join(listener.follower)

    def leave(self, listener: EndsListener) -> bool:
        """Let a listener go; return whether it was the last one."""
        self._listeners.remove(listener)
        self._board.leave(listener.follower)
        return not self._listeners

    def close(self) -> None:
        """Request nothing more, and close the connections."""
        self.clients.close()
        self._task.cancel()

    async def _work(self) -> None:
        while True:
            try:
                await self._make_requests()
            except Exception:  # an error of ours: no watcher may end because of it
                log.exception("The ends of runs of connection %r could not be read", self._name)
                await asyncio.sleep(_PAUSE_AFTER_CRASH)
                self._board.begin()

    async def _make_requests(self) -> None:
        while True:
            turn = self._board.next(time.monotonic())
            if isinstance(turn, float):
                # At least a little, as by rounding it may still not be due.
                await asyncio.sleep(max(turn - time.monotonic(), 0.001))
                continue
            assert turn.call is not None
            reply: Any
            try:
                self.clients.is_urgent = turn.is_urgent
                reply = await self.clients.call("ends", turn.call)
            except TriggerDevError as error:
                reply = error.with_traceback(None)
            self._board.answered(turn, reply, time.monotonic())
            for listener in self._listeners:
                listener.wake()
