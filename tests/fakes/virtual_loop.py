from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any

from fake_clock import Clock

Advance = Callable[[float | None], None]


class _Selector(selectors.SelectSelector):
    """Moves the clock where it would wait."""

    def __init__(self, advance: Advance) -> None:
        super().__init__()
        self._advance = advance

    def select(self, timeout: float | None = None) -> Any:
        events = super().select(0)
        if not events and timeout != 0:
            self._advance(timeout)
        return events


class VirtualLoop(asyncio.SelectorEventLoop):
    """
    An event loop whose time is that of a test's clock; for what opens no socket and no thread.

    :param time: returns the time, in seconds
    :param advance: moves the clock by so many seconds, or to the next event before; None for no limit
    """

    def __init__(self, time: Callable[[], float], advance: Advance) -> None:
        super().__init__(_Selector(advance))
        self._time_of_test = time

    def time(self) -> float:
        return self._time_of_test()


def run_in_virtual_time(main: Coroutine[Any, Any, Any], clock: Clock) -> Any:
    """Run a coroutine by the clock, and return its result."""

    def advance(seconds: float | None) -> None:
        assert seconds is not None, "all wait for something that never happens"
        clock.sleep(seconds)

    loop = VirtualLoop(clock.monotonic, advance)
    try:
        return loop.run_until_complete(main)
    finally:
        loop.close()
