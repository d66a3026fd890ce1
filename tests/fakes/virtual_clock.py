"""Virtual time: a clock that only events move."""

from __future__ import annotations

import heapq
from collections.abc import Callable

EPOCH = 1_795_600_000.0


class Clock:
    """A clock that only events move."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], object]]] = []
        self._count = 0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return EPOCH + self.now

    def at(self, time: float, event: Callable[[], object]) -> None:
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
