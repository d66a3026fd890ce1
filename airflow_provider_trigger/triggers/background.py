"""Work that is finished whatever becomes of the trigger that began it: asyncio tasks, and threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import Context, copy_context
from typing import Any, TypeVar

from airflow_provider_trigger.api.errors import NotSentError

T = TypeVar("T")

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

    def end(complete: Callable[[Any], None], what: Any) -> None:
        at_end()
        if not done.done():  # otherwise its caller is gone
            complete(what)

    def run() -> None:
        complete: Callable[[Any], None]
        what: Any
        try:
            complete, what = done.set_result, work()
        except BaseException as error:  # handed to the caller
            complete, what = done.set_exception, error
        with suppress(RuntimeError):  # the event loop is closed
            loop.call_soon_threadsafe(end, complete, what)

    context = copy_context()
    thread = threading.Thread(target=lambda: context.run(run), name="trigger-dev-call", daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        at_end()
        raise NotSentError(f"no thread could be started: {error}", retryable=True) from None
    return await done
