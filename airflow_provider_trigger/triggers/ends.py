"""Follow the ends of runs on an event loop; one feed serves all listeners that use a connection on it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from airflow_provider_trigger.api.models.runs import Run
from airflow_provider_trigger.run.ends import EndFilter, Position
from airflow_provider_trigger.run.ends_follower import Follower
from airflow_provider_trigger.triggers.ends_feed import Feed

if TYPE_CHECKING:
    from airflow_provider_trigger.hooks.connection import Settings
    from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook

# Without ends, and while the position stays, a listener waits so many seconds or a little longer.
_LONGEST_WAIT = 15.0

_feeds: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Settings, Feed]] = WeakKeyDictionary()


@contextmanager
def follow_ends(
    hook: TriggerDevHook, end_filter: EndFilter, position: Position | None
) -> Iterator[EndsListener]:
    """
    Give a listener for ends that fit a filter, from a position on; None for one that begins now.

    The hook has its connection already, as nothing can be fetched here without blocking the loop. All
    listeners with its values share one feed, which closes with the last one.
    """
    feeds = _feeds.setdefault(asyncio.get_running_loop(), {})
    if (feed := feeds.get(hook.settings)) is None:
        feed = feeds[hook.settings] = Feed(hook)
    follower = Follower(end_filter, position)
    feed.join(follower)
    try:
        yield EndsListener(feed, follower)
    finally:
        if feed.leave(follower):
            del feeds[hook.settings]
            feed.close()


class ConnectionChangedError(Exception):
    """
    The connection has other values now.

    :param is_elsewhere: whether they lead to another environment
    """

    def __init__(self, *, is_elsewhere: bool) -> None:
        super().__init__()
        self.is_elsewhere = is_elsewhere


class EndsListener:
    """Hear of ends, for one watcher. It raises only a ConnectionChangedError: the feed logs what is wrong."""

    def __init__(self, feed: Feed, follower: Follower) -> None:
        self._feed = feed
        self._follower = follower

    async def first_position(self) -> Position:
        """
        Wait until there is a position, and return it: save it before the first :meth:`next`.

        It is the one that was given. For a watcher that begins now it is the newest end that the server
        knows, or the server's time. While the server cannot be reached, this waits.
        """
        while self._follower.position is None:
            await self._wait()
        return self._follower.position

    async def next(self) -> tuple[list[Run], Position]:
        """
        Wait for ends; return 50 at most, the oldest first, and the position once they have been handed over.

        Without ends it returns an empty list when the position has moved, or with the first poll after 15 s.
        """
        await self.first_position()
        loop = asyncio.get_running_loop()
        until = loop.time() + _LONGEST_WAIT
        while not self._follower.has_news and loop.time() < until:
            await self._wait()
        return self._follower.hand_over()

    async def _wait(self) -> None:
        if self._feed.is_elsewhere is not None:
            raise ConnectionChangedError(is_elsewhere=self._feed.is_elsewhere)
        await self._feed.news.wait()  # it comes after each poll, also after one that failed
