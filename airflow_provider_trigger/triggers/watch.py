"""Wait on an event loop; one watch answers the checks of all waits that use a connection on it."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from collections.abc import Coroutine, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

from airflow_provider_trigger.api.errors import TriggerDevError
from airflow_provider_trigger.api.http import Call
from airflow_provider_trigger.api.models import Run
from airflow_provider_trigger.api.query import query_runs
from airflow_provider_trigger.api.runs import check_run
from airflow_provider_trigger.run.status_watch import StatusWatch
from airflow_provider_trigger.run.wait_log import LOG_INTERVAL
from airflow_provider_trigger.run.waited import Cancel, Check, News
from airflow_provider_trigger.triggers.cancels import cancel_runs
from airflow_provider_trigger.triggers.watch_clients import CHECK_CONCURRENCY, Use, WatchClients

if TYPE_CHECKING:
    from airflow_provider_trigger.hooks.connection import Settings
    from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook

log = logging.getLogger(__name__)

T = TypeVar("T")

# A wait for several runs hears of those that end within so many seconds together.
_PAUSE_FOR_MORE = 0.5

_watches: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Settings, Watch]] = WeakKeyDictionary()


async def drive(steps: Generator[Any, Any, T], hook: TriggerDevHook, *, use: Use = "urgent") -> T:
    """Take the steps of a wait, which are a :data:`.waited.Step` or seconds to pause; return its result."""
    reply: Any = None
    with closing(steps), watch_runs(hook) as listener:
        while True:
            try:
                step = steps.send(reply)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            if isinstance(step, Check):
                reply = await listener.check(step)
            elif isinstance(step, Cancel):
                reply = await cancel_runs(step.run_ids, hook)
            elif isinstance(step, Call):
                reply = await listener.call(step, use=use)
            else:
                await asyncio.sleep(step)


@contextmanager
def watch_runs(hook: TriggerDevHook) -> Iterator[Listener]:
    """
    Give a listener to the watch for a connection; the last one that leaves closes the watch.

    The hook has its connection already, as nothing can be fetched here without blocking the loop. A wait that
    began with other values keeps these: another key may be one of another environment.
    """
    watches = _watches.setdefault(asyncio.get_running_loop(), {})
    watch = watches.get(hook.settings)
    if watch is None or watch.error is not None:
        watch = watches[hook.settings] = Watch(hook)
    listener = watch.join()
    try:
        yield listener
    finally:
        if watch.leave(listener):
            if watches.get(hook.settings) is watch:
                del watches[hook.settings]
            watch.close()


class Watch:
    """Request the statuses that a :class:`~airflow_provider_trigger.run.status_watch.StatusWatch` names."""

    def __init__(self, hook: TriggerDevHook) -> None:
        self.error: BaseException | None = None
        """What it crashed with, None while it works."""
        self._conn_id = hook.trigger_dev_conn_id
        self.clients = WatchClients(hook)
        self.status = StatusWatch(now=time.monotonic())
        self._joined: set[Listener] = set()
        self._changed = asyncio.Event()
        self._is_querying = False
        self._checks_in_flight = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._begin(self._work())

    def join(self) -> Listener:
        """Return a new listener."""
        listener = Listener(self)
        self._joined.add(listener)
        return listener

    def leave(self, listener: Listener) -> bool:
        """Let a listener go; return whether it was the last one."""
        self.follow(listener, ())
        self._joined.discard(listener)
        return not self._joined

    def close(self) -> None:
        """Request nothing more, and close the connections."""
        self.clients.close()
        for task in self._tasks:
            task.cancel()

    def follow(
        self, listener: Listener, run_ids: Sequence[str], *, poll_interval: float | None = None
    ) -> None:
        """Let a listener hear what is known of runs, and what becomes new, and no more of other ones."""
        now = time.monotonic()
        known = self.status.follow(listener, run_ids, poll_interval=poll_interval, now=now)
        for run_id, reply in known.items():
            listener.hear(run_id, reply)
        self._changed.set()

    async def check_now(self, run_ids: Sequence[str]) -> News:
        """Check runs now, before all that is only due; return each run, or why it could not be checked."""

        async def check(run_id: str) -> tuple[str, Run | TriggerDevError]:
            reply = await self.call("urgent", check_run(run_id))
            if isinstance(reply, TriggerDevError):
                self.status.failed_elsewhere(run_id, reply)
            return run_id, reply

        return dict(await asyncio.gather(*map(check, run_ids)))

    # What it does meanwhile

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, context=contextvars.Context())
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # A bug of ours. No wait may hang because of it.
            log.error("The watch of connection %r crashed", self._conn_id, exc_info=error)
            self.error = self.error or error
            for listener in self._joined:
                listener.wake()
        self._changed.set()

    async def _work(self) -> None:
        while True:
            self._changed.clear()
            now = time.monotonic()
            if not self._is_querying and (run_ids := self.status.next_query(now)):
                self._is_querying = True
                self._begin(self._query(run_ids))
            while self._checks_in_flight < CHECK_CONCURRENCY and (run_id := self.status.next_check(now)):
                self._checks_in_flight += 1
                self._begin(self._check(run_id))
            may_check = self._checks_in_flight < CHECK_CONCURRENCY
            next_at = self.status.next_at(may_query=not self._is_querying, may_check=may_check)
            await wait_for(self._changed, seconds=next_at - time.monotonic())

    async def _query(self, run_ids: list[str]) -> None:
        sent_at = time.monotonic()
        try:
            runs = await self.call("queries", query_runs(run_ids))
            now = time.monotonic()
            if isinstance(runs, TriggerDevError):
                self.status.query_failed(runs, now=now)
            else:
                self._pass_on(self.status.queried(run_ids, runs, sent_at=sent_at, now=now))
        finally:
            self._is_querying = False

    async def _check(self, run_id: str) -> None:
        try:
            reply = await self.call("checks", check_run(run_id))
            self._pass_on(self.status.checked(run_id, reply, now=time.monotonic()))
        finally:
            self._checks_in_flight -= 1

    async def call(self, use: Use, call: Call[T]) -> T | TriggerDevError:
        """Make a call once; return its result, or its error."""
        try:
            return await self.clients.call(use, call)
        except TriggerDevError as error:
            return error.with_traceback(None)

    def _pass_on(self, news: News) -> None:
        for run_id, reply in news.items():
            for listener in self.status.waits_of(run_id):
                listener.hear(run_id, reply)


class Listener:
    """Hear for one wait what is new of its runs."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._news: dict[str, Run | TriggerDevError] = {}
        self._woken = asyncio.Event()

    async def check(self, step: Check) -> News:
        """Return what is new, at the latest when the step of the wait says so, or after 5 minutes."""
        if step.is_fresh:
            return await self._watch.check_now(step.run_ids)
        self._watch.follow(self, step.run_ids, poll_interval=step.poll_interval)
        await wait_for(self._woken, seconds=step.until - time.time())
        if len(step.run_ids) > 1 and self._news:
            await asyncio.sleep(_PAUSE_FOR_MORE)
        if self._watch.error is not None:
            # A new one for each wait: a shared one's traceback would grow with each that raises it.
            raise RuntimeError(f"the status checks of its connection crashed: {self._watch.error!r}")
        news, self._news = self._news, {}
        self._woken.clear()
        return news

    async def call(self, call: Call[T], *, use: Use) -> T | TriggerDevError:
        """Make a call, although the checks may have opened the circuit breaker of their client."""
        return await self._watch.call(use, call)

    def hear(self, run_id: str, reply: Run | TriggerDevError) -> None:
        """Take in what is new of a run."""
        self._news[run_id] = reply
        self._woken.set()

    def wake(self) -> None:
        """Take in that the watch crashed."""
        self._woken.set()


async def wait_for(event: asyncio.Event, *, seconds: float) -> None:
    """Wait for an event, and set it where nothing else does so in time, or in 5 minutes."""
    if event.is_set():
        return
    # `asyncio.timeout` cancels the trigger's own task. If Airflow cancels it in the same turn of the event
    # loop, its message is lost, and Airflow 3.3 does not call `on_kill` without it.
    timer = asyncio.get_running_loop().call_later(min(max(0.0, seconds), LOG_INTERVAL), event.set)
    try:
        await event.wait()
    finally:
        timer.cancel()
