"""Let a worker's watch go by a test's clock: requests are made at once, and pauses move the clock."""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest
from fake_clock import Clock

from airflow_provider_trigger.run import stop, watch


class _Queue:
    """A wait moves the clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._items: deque[Any] = deque()
        self.put = self._items.append

    def empty(self) -> bool:
        return not self._items

    def get(self, timeout: float = 0.0) -> Any:
        if self._items:
            return self._items.popleft()
        self._clock.sleep(timeout)
        raise queue.Empty


def _at_once(work: Callable[[], Any]) -> Future[Any]:
    reply: Future[Any] = Future()
    try:
        reply.set_result(work())
    except BaseException as error:
        reply.set_exception(error)
    return reply


def watch_by(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the watches that are made from now on go by a clock."""
    for module in (stop, watch):
        monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(watch, "begin", _at_once)
    monkeypatch.setattr(watch, "Queue", lambda: _Queue(clock))
