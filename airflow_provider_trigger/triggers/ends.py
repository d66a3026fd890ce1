"""Follow the ends of runs on an event loop; one feed serves all who use a connection on it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import Context
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

from airflow_provider_trigger.api.client import TriggerDevClient
from airflow_provider_trigger.api.errors import NotFoundError, ResponseError, TriggerDevError
from airflow_provider_trigger.api.http import Call, Response, read_http_date
from airflow_provider_trigger.api.limits import RateLimit
from airflow_provider_trigger.api.models import Run
from airflow_provider_trigger.api.runs import check_run, list_newest_runs
from airflow_provider_trigger.api.server_advice import UNTRUSTED_DATE
from airflow_provider_trigger.ends.position import EndFilter, Position
from airflow_provider_trigger.ends.reader import Answer, Follower, Reader
from airflow_provider_trigger.hooks import fetching
from airflow_provider_trigger.run.outage import Outage
from airflow_provider_trigger.triggers.background import in_thread, keep
from airflow_provider_trigger.triggers.watch_clients import CHECKS_RESERVE

if TYPE_CHECKING:
    from airflow_provider_trigger.hooks.connection import Settings

log = logging.getLogger(__name__)

T = TypeVar("T")

# Those that begin together are in the first poll together, in seconds.
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
    feed.reader.followers.append(follower)
    try:
        yield feed, follower
    finally:
        feed.reader.followers.remove(follower)
        if not feed.reader.followers:
            del feeds[settings]
            feed.close()


class ConnectionChangedError(Exception):
    """
    The connection has other values now.

    :param is_elsewhere: whether they lead to another environment
    """

    def __init__(self, *, is_elsewhere: bool) -> None:
        super().__init__()
        self.is_elsewhere = is_elsewhere


class Feed:
    """Poll for all that follow ends by a connection on an event loop, and look whether it has changed."""

    def __init__(self, settings: Settings) -> None:
        self.reader = Reader()
        self._polled = asyncio.Event()  # then there is another one
        # Whether the connection leads to another environment now; None while it has the values in use.
        self._is_elsewhere: bool | None = None
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        pace = RateLimit(reserve=CHECKS_RESERVE)
        self._client = TriggerDevClient(settings, max_connections=1, rate_limit=pace)
        self._client.exchange.breaker.has_worked = True  # an outage passes, and is no reason to stop
        name = f"Connection {settings.conn_id!r}"
        what = f"{name}: its new values do not work, and those before are used"
        self._tasks = [
            keep(self._repeat(step, Outage(text, log)), context=Context())
            for step, text in (
                (self._poll, f"{name}: ends of runs cannot be read"),
                (self._follow_connection, what),
            )
        ]

    async def polled(self) -> None:
        """Wait for the next poll, also for one that fails; an error where the connection has changed."""
        if self._is_elsewhere is not None:
            raise ConnectionChangedError(is_elsewhere=self._is_elsewhere)
        await self._polled.wait()

    def close(self) -> None:
        """Request nothing more, and close the connections."""
        self._client.close()
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
                log.exception("The ends of runs of connection %r could not be read", self._settings.conn_id)
                pause = _PAUSE_AFTER_CRASH
            self._polled.set()
            self._polled = asyncio.Event()

    async def _poll(self) -> float:
        begun, steps = self._loop.time(), self.reader.poll()
        if (call := next(steps, None)) is not None:
            try:
                answer = await self._call(self._client, _dated(call))
            except ResponseError as error:
                if error.status != 404:
                    raise
                text = f"asset watchers need a server with the query: {error}"
                raise TriggerDevError(text, retryable=True) from None
            with suppress(StopIteration):
                steps.send(answer)
        return max(0.0, begun + _PAUSES[0] - self._loop.time())

    async def _follow_connection(self) -> float:
        await asyncio.sleep(_CONNECTION_INTERVAL)
        settings = await fetching.fetch_again(self._settings.conn_id, fetch=fetching.fetch_shielded)
        if settings is not None:
            is_other = settings != self._settings
            elsewhere = is_other and await self._leads_elsewhere(settings)
            self._is_elsewhere = elsewhere if is_other else None
        return 0.0

    async def _leads_elsewhere(self, settings: Settings) -> bool:
        """Return whether other values lead to another environment; raise an error if they do not work."""
        if settings.environment != self._settings.environment:
            return True
        run_id = self.reader.shown
        if run_id is None:
            with suppress(TriggerDevError):  # the key may be revoked
                page = await self._call(self._client, list_newest_runs())
                run_id = page.runs[-1].id if page.runs else None
        call: Call[Any] = check_run(run_id) if run_id else list_newest_runs()
        try:
            with TriggerDevClient(settings, max_connections=1) as client:
                await self._call(client, call)
        except NotFoundError:
            return True
        return False

    async def _call(self, client: TriggerDevClient, call: Call[T]) -> T:
        """Make a call once."""
        return await in_thread(partial(client.call, call, patience=0))


def _dated(call: Call[list[Run]]) -> Call[Answer]:
    """Return a call that returns the two clocks as well."""

    def read(response: Response) -> Answer:
        local = datetime.fromtimestamp(time.time(), UTC)
        date = response.headers.get("date") or response.headers.get(UNTRUSTED_DATE, "")
        behind, ahead = sorted((local, read_http_date(date) or local))
        return call.read(response), behind, ahead

    return Call(request=call.request, read=read, timeout=call.timeout)
