"""A queue by urgency. Pure: the caller says what time it is."""

from __future__ import annotations

import heapq
import itertools
import math
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


class Queue(Generic[T]):
    """Items by urgency, and of one urgency in their order; some become ready only at a later time."""

    def __init__(self) -> None:
        self._ready: list[tuple[int, int, T]] = []
        self._later: list[tuple[float, int, int, T]] = []
        self._numbers = itertools.count()
        self._held: _Held[T] | None = None

    def put(self, item: T, *, urgency: int, at: float = -math.inf) -> None:
        """Add an item."""
        heapq.heappush(self._later, (at, next(self._numbers), urgency, item))

    def take(self, now: float, *, before: float = math.inf) -> T | None:
        """Remove and return the most urgent item that is ready, None if there is none."""
        held = self._held
        if held is not None and not held.is_taken:
            if now < held.at:
                return None
            # Perhaps late, where the machine has stalled: the others wait for it as long as otherwise.
            held.is_taken, held.until = True, now + held.until - held.at
            return held.item
        if held is not None and now < held.until:
            return None
        self.release()
        while self._later and self._later[0][0] <= now:
            _, number, urgency, item = heapq.heappop(self._later)
            heapq.heappush(self._ready, (urgency, number, item))
        return heapq.heappop(self._ready)[2] if self._ready and self._ready[0][0] < before else None

    def next_at(self) -> float:
        """Return when the next item becomes ready, once none is; infinite if there is no other."""
        if self._held is not None:
            return self._held.until if self._held.is_taken else self._held.at
        return self._later[0][0] if self._later else math.inf

    def hold_for(self, item: T, *, urgency: int, at: float, until: float) -> None:
        """
        Add an item, and return no other one until :meth:`release`; of several such items the first counts.

        The others are returned again at ``until``, or as much later as the item is taken later than ``at``.
        """
        if self._held is not None and not self.is_held_for(item):
            self.put(item, urgency=urgency, at=at)
        else:
            self._held = _Held(item, urgency, at, until)

    def is_held_for(self, item: T) -> bool:
        """Return whether the others wait for an item."""
        return self._held is not None and self._held.item is item

    def release(self) -> None:
        """Return all items again."""
        held, self._held = self._held, None
        if held is not None and not held.is_taken:
            self.put(held.item, urgency=held.urgency, at=held.at)


@dataclass(slots=True)
class _Held(Generic[T]):
    item: T
    urgency: int
    at: float
    until: float
    is_taken: bool = False
