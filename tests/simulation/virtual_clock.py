"""Virtual time: a clock that only events move, and an event loop that goes by it."""

from __future__ import annotations

import asyncio
import heapq
import selectors
from collections.abc import Callable
from typing import Any

EPOCH = 1_795_600_000.0


class Clock:
    """A clock that only events move."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return EPOCH + self.now

    def at(self, time: float, event: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (time, self._count, event))

    def next(self, *, until: float) -> bool:
        """Move to the next event and let it happen; False where there is none until then."""
        if not self._events or self._events[0][0] > until:
            self.now = max(self.now, min(until, self.now if until == float("inf") else until))
            return False
        time, _, event = heapq.heappop(self._events)
        self.now = max(self.now, time)
        event()
        return True


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop that moves a clock to the next timer or event instead of sleeping."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        super().__init__(_Jump(clock))

    def time(self) -> float:
        return self.clock.now


class _Jump(selectors.SelectSelector):
    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[Any]:
        until = float("inf") if timeout is None else self._clock.now + timeout
        if until > self._clock.now and not self._clock.next(until=until) and timeout is None:
            raise RuntimeError("all wait for something that never happens")
        return []
