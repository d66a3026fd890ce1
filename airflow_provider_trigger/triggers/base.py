"""The base of the triggers: connection, time of the event, and asyncio tasks that outlive a trigger."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Coroutine
from contextvars import Context as Variables
from datetime import timedelta
from inspect import signature
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider_trigger import _compat, defaults

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook

T = TypeVar("T")

# The scheduler saw each of 2,100 deferrals within 10 s, or within 2.5 times this lag (measured).
_HOLD_PER_LAG = 3.0


def event_hold(context: Context, execution_timeout: timedelta | None = None) -> float:
    """
    Return for how many seconds from now, when its task defers, a trigger sends no event.

    Where the task needed long until now, the scheduler was slow, too (measured). At least half of what is
    left of its ``execution_timeout`` is for the resumed task.
    """
    if _compat.scheduler_knows_resumed_tasks():
        return 0.0
    started_at = getattr(context.get("ti"), "start_date", None)
    lag = time.time() - started_at.timestamp() if started_at else 0.0
    longest = defaults.LONGEST_EVENT_HOLD
    if execution_timeout is not None:
        longest = max(0.0, min(longest, (execution_timeout.total_seconds() - max(0.0, lag)) / 2))
    return min(max(defaults.EVENT_HOLD, _HOLD_PER_LAG * lag), longest)


_tasks: set[asyncio.Task[None]] = set()  # which an event loop itself does not keep alive


def keep(work: Coroutine[Any, Any, None], *, context: Variables | None = None) -> asyncio.Task[None]:
    """Begin some work in a task of its own. Await it through :func:`asyncio.shield`, if at all."""
    task = asyncio.get_running_loop().create_task(work, context=context)
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)
    return task


class ResumingTrigger(_compat.BaseTrigger):
    """The base of triggers that resume a task: their connection, and when they may send their event."""

    trigger_dev_conn_id: str
    not_before: float | None
    _hook: TriggerDevHook | None = None

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what Airflow stores: the path of the class, and its arguments as plain JSON."""
        path = f"{type(self).__module__}.{type(self).__qualname__}"
        return path, {name: getattr(self, name) for name in signature(type(self)).parameters}

    async def hook(self, *, until: float = 0.0) -> TriggerDevHook:
        """Return a hook that has its connection, fetched once, and again until a time where that fails."""
        from airflow_provider_trigger.hooks.fetching import fetch_patiently
        from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook

        if self._hook is None:
            connection = await fetch_patiently(self.trigger_dev_conn_id, log=self.log, until=until)
            self._hook = TriggerDevHook(self.trigger_dev_conn_id, connection=connection)
        return self._hook

    async def _held(self, work: Awaitable[T]) -> T:
        """Return what some work came to, or raise it, once the scheduler has seen that the worker is done."""
        earliest, error = -math.inf, None
        if self.not_before is not None and self.trigger_id is not None:  # `dag.test()` has no scheduler
            # The worker's clock may be ahead of this one.
            longest = min(self.not_before - time.time(), defaults.LONGEST_EVENT_HOLD)
            earliest = time.monotonic() + longest
        try:
            result = await work
        except Exception as raised:
            error = raised
        if (seconds := earliest - time.monotonic()) > 0:
            text = (
                "Resuming the task in %.0f s: Airflow may fail a task that is resumed just after its deferral"
            )
            self.log.info(text, seconds)
            await asyncio.sleep(seconds)
        if error is not None:
            raise error
        return result
