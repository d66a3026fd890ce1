"""What works beside triggers: asyncio tasks, threads, their log; and what Airflow's cancel of one means."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from contextvars import Context, copy_context
from functools import partial, partialmethod
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from asgiref.sync import sync_to_async

from airflow_provider_trigger.api.errors import NotSentError
from airflow_provider_trigger.cancel.crew import begin_thread
from airflow_provider_trigger.log import Log

T = TypeVar("T")

_TRIES = 3
_PAUSE = 1.0

# Of each event loop: the supervisor answers one request at a time.
_locks: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()

# Keeps the tasks alive: an event loop itself does not.
_tasks: set[asyncio.Task[None]] = set()


def keep(work: Coroutine[Any, Any, None], *, context: Context | None = None) -> asyncio.Task[None]:
    """Begin some work in a task of its own. Await it through :func:`asyncio.shield`, if at all."""
    task = asyncio.get_running_loop().create_task(work, context=context)
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)
    return task


async def in_thread(work: Callable[[], T], *, at_end: Callable[[], object] = lambda: None) -> T:
    """
    Do some work in a thread that does not hold up the end of the process, in a copy of the caller's context.

    A caller that is canceled leaves at once; ``at_end`` is called on the event loop when the work has ended.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        result: Any
        try:
            result = work()
        except BaseException as error:  # handed to the caller
            result = error
        complete(loop, done, result, at_end=at_end)

    try:
        begin_thread(partial(copy_context().run, run))
    except NotSentError:
        at_end()
        raise
    return await done


def complete(
    loop: asyncio.AbstractEventLoop,
    done: asyncio.Future[Any],
    result: Any,
    *,
    at_end: Callable[[], object] = lambda: None,
) -> None:
    """Complete a future of an event loop with a result, or an error, from any thread; ``at_end`` first."""

    def end() -> None:
        at_end()
        if not done.done():  # otherwise its caller is gone
            (done.set_exception if isinstance(result, BaseException) else done.set_result)(result)

    with suppress(RuntimeError):  # the event loop is closed
        loop.call_soon_threadsafe(end)


class LoopLog:
    """Write to a trigger's log on the event loop and in the trigger's context, from any thread."""

    def __init__(self, log: Log) -> None:
        self._log, self._loop, self._context = log, asyncio.get_running_loop(), copy_context()

    def _write(self, level: str, message: str, /, *args: Any) -> None:
        with suppress(RuntimeError):  # the event loop is closed
            self._loop.call_soon_threadsafe(getattr(self._log, level), message, *args, context=self._context)

    debug = partialmethod(_write, "debug")
    info = partialmethod(_write, "info")
    warning = partialmethod(_write, "warning")
    error = partialmethod(_write, "error")


def cancel_if_ended(
    is_still_deferred: Callable[[], bool],
    cancel: Callable[[], Coroutine[Any, Any, None]],
    *,
    run_ids: Sequence[str],
    log: Log,
) -> None:
    """
    Begin to check whether a trigger's task was ended, and cancel its runs then; do not wait for it.

    Before Airflow 3.3, a trigger is canceled where its task was ended from outside, and also where only its
    triggerer is stopping. What follows was measured on 2.11, 3.0, 3.1 and 3.2: an asyncio task of its own, in
    a context of its own, checks in Airflow whether this try of the task is still deferred. Only a definite
    "no" cancels the runs: without an answer they continue.
    """

    async def check() -> None:
        lock = _locks.setdefault(asyncio.get_running_loop(), asyncio.Lock())
        for _ in range(_TRIES):
            try:
                async with lock:
                    # In a thread of asyncio's, Airflow 3.0 and 3.1 would read the supervisor's answer on
                    # another event loop, and break all other triggers.
                    ended = not await sync_to_async(is_still_deferred)()
            except Exception as error:
                # Any error: a triggerer that is stopping has lost its supervisor, or its database.
                last_error = error
                await asyncio.sleep(_PAUSE)
            else:
                if ended:
                    await asyncio.shield(keep(cancel()))
                return
        text = "Could not check in Airflow whether the task was ended (%s), so that its run continues: %s"
        log.warning(text, last_error, ", ".join(run_ids))

    keep(check(), context=Context())
