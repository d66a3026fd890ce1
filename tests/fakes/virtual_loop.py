from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any

from fake_clock import Clock


class _Selector(selectors.DefaultSelector):
    """Moves the clock where it would wait."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> Any:
        events = super().select(0)
        if not events and timeout:
            self._clock.sleep(timeout)
        return events


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is that of a test's clock; for what opens no socket and no thread."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(_Selector(clock))
        self._of_test = clock

    def time(self) -> float:
        return self._of_test.monotonic()


def run_in_virtual_time(main: Coroutine[Any, Any, Any], clock: Clock) -> Any:
    """Run a coroutine by the clock, and return its result."""
    loop = VirtualLoop(clock)
    try:
        return loop.run_until_complete(main)
    finally:
        loop.close()
