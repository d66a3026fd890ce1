"""A queue by urgency. Pure: the caller says what time it is."""

from __future__ import annotations

import heapq
import itertools
import math
from typing import Generic, TypeVar

T = TypeVar("T")


class Queue(Generic[T]):
    """Items by urgency, and of one urgency in their order; some become ready only at a later time."""

    def __init__(self) -> None:
        self._ready: list[tuple[int, int, T]] = []
        self._later: list[tuple[float, int, int, T]] = []
        self._numbers = itertools.count()

    def put(self, item: T, *, urgency: int, at: float = -math.inf) -> None:
        """
        Add an item.

        :param item: what :meth:`take` returns
        :param urgency: the smallest number comes first
        :param at: when it becomes ready, on the monotonic clock
        """
        heapq.heappush(self._later, (at, next(self._numbers), urgency, item))

    def take(self, now: float) -> T | None:
        """
        Remove and return the most urgent item that is ready, None if there is none.

        :param now: the time on the monotonic clock
        """
        while self._later and self._later[0][0] <= now:
            _, number, urgency, item = heapq.heappop(self._later)
            heapq.heappush(self._ready, (urgency, number, item))
        return heapq.heappop(self._ready)[2] if self._ready else None

    def next_at(self) -> float:
        """Return when the next item becomes ready, once none is; infinite if there is no other."""
        return self._later[0][0] if self._later else math.inf
