"""Threads in virtual time: greenlets that an event loop switches to, so that blocking code runs on it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import greenlet  # type: ignore[import-untyped]


def _hub() -> greenlet.greenlet:
    """Return what the event loop runs in."""
    found = greenlet.getcurrent()
    while found.parent is not None:
        found = found.parent
    return found


def _switch_to(green: greenlet.greenlet) -> None:
    if not green.dead:
        green.switch()


class Thread:
    """A thread; it takes no virtual time but while it waits."""

    def __init__(self, *, target: Callable[[], object], **_: object) -> None:
        self._green = greenlet.greenlet(target, parent=_hub())

    def start(self) -> None:
        asyncio.get_running_loop().call_soon(_switch_to, self._green)


def sleep(seconds: float) -> None:
    """Let virtual time pass in a thread."""
    asyncio.get_running_loop().call_later(max(0.0, seconds), _switch_to, greenlet.getcurrent())
    _hub().switch()


def wait_for(work: Coroutine[Any, Any, Any]) -> Any:
    """Return the result of a coroutine, in a thread."""
    green, task = greenlet.getcurrent(), asyncio.get_running_loop().create_task(work)
    task.add_done_callback(lambda _: _switch_to(green))
    _hub().switch()
    return task.result()


async def in_thread(work: Callable[[], Any], *, at_end: Callable[[], object] = lambda: None) -> Any:
    """Do some work in a thread; a caller that is canceled leaves at once."""
    done = asyncio.get_running_loop().create_future()

    def run() -> None:
        try:
            complete, what = done.set_result, work()
        except Exception as error:
            complete, what = done.set_exception, error
        at_end()
        if not done.done():
            complete(what)

    Thread(target=run).start()
    return await done
