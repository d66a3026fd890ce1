"""Threads in virtual time: greenlets that an event loop switches to, so that blocking code runs on it."""

from __future__ import annotations

import asyncio
import queue
from collections import deque
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import greenlet  # type: ignore[import-untyped]
import pytest

from airflow_provider_trigger.api import client
from airflow_provider_trigger.api.client import TriggerDevClient
from airflow_provider_trigger.api.exchange import Reply, Send
from airflow_provider_trigger.run import watch as run_watch
from airflow_provider_trigger.triggers import watch


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


class Lock:
    """A lock."""

    def __init__(self) -> None:
        self._is_held = False

    def __enter__(self) -> None:
        while self._is_held:
            sleep(0.01)
        self._is_held = True

    def __exit__(self, *_: object) -> None:
        self._is_held = False


class Queue:
    """A queue whose only reader is a thread."""

    def __init__(self) -> None:
        self._items: deque[Any] = deque()
        self._reader: greenlet.greenlet | None = None

    def empty(self) -> bool:
        return not self._items

    def put(self, item: Any) -> None:
        self._items.append(item)
        self._wake()

    def _wake(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            asyncio.get_running_loop().call_soon(_switch_to, reader)

    def get(self, timeout: float = 0.0) -> Any:
        if not self._items:
            self._reader = greenlet.getcurrent()
            timer = asyncio.get_running_loop().call_later(timeout, self._wake)
            _hub().switch()
            timer.cancel()
        if not self._items:
            raise queue.Empty
        return self._items.popleft()


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


def use_green_threads(
    clock: Any,
    send: Callable[[TriggerDevClient, Send], Coroutine[Any, Any, Reply]],
    patch: pytest.MonkeyPatch,
) -> None:
    """
    Let the watches of triggers, and their threads, go by the clock of a virtual event loop.

    :param clock: has ``monotonic`` and ``time``
    :param send: sends each request of theirs
    """
    time = SimpleNamespace(monotonic=clock.monotonic, time=clock.time, sleep=sleep)
    for module in (watch, run_watch, client):
        patch.setattr(module, "time", time)
    patch.setattr(watch, "threading", SimpleNamespace(Thread=Thread, Lock=Lock))
    patch.setattr(run_watch, "begin_thread", lambda work: Thread(target=work).start())
    patch.setattr(run_watch, "Queue", Queue)
    patch.setattr(watch, "in_thread", in_thread)
    patch.setattr(TriggerDevClient, "send", lambda self, step: wait_for(send(self, step)))

    patch.setattr(watch.Environment, "_on_loop", lambda _, work: wait_for(work))
