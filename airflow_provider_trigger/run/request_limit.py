"""How many requests may be made in a minute. Pure."""

from __future__ import annotations

import math
from collections import deque


class RequestLimit:
    """
    At most so many requests in any span of time; of these, only so many that others go before.

    :param most: all requests
    :param others: those that are not urgent
    :param seconds: the span
    """

    def __init__(self, *, most: int, others: int, seconds: float = 60.0) -> None:
        self._seconds = seconds
        self._all = deque[float](maxlen=most)
        self._others = deque[float](maxlen=others)

    def next_at(self, *, urgent: bool) -> float:
        """Return from when on a request may be made, one at a time."""
        times = [self._all] if urgent else [self._all, self._others]
        return max(one[0] + self._seconds if len(one) == one.maxlen else -math.inf for one in times)

    def made(self, now: float, *, urgent: bool) -> None:
        """Count a request that has ended, as it may have been sent late."""
        self._all.append(now)
        if not urgent:
            self._others.append(now)
