"""What happens on the server later, other than to a run that exists already."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable

from .server_time import ServerTime


class Agenda:
    """
    Actions at later times. As no thread waits for them, they are done when the server is next used.

    An action does not see that it is late: for it, the time is the one that it was meant for. So whatever can
    see or change what an action does has to :meth:`catch_up` before.

    :param lock: guards the server, which test and server use from different threads
    """

    def __init__(self, time: ServerTime, *, lock: threading.RLock) -> None:
        self._time = time
        self._lock = lock
        self._numbers = itertools.count()
        # By time; at the same time, in the order in which they were added.
        self._actions: list[tuple[float, int, Callable[[], None]]] = []
        self._busy = False

    def add(self, at: float, action: Callable[[], None]) -> None:
        """
        Let something happen later.

        :param at: when, in seconds since 1970
        :param action: what happens
        """
        with self._lock:
            heapq.heappush(self._actions, (at, next(self._numbers), action))

    def catch_up(self) -> None:
        """Do what is due by now, each action at its time; without an effect when an action calls it."""
        if not self._actions:
            return
        with self._lock:
            if self._busy:
                return
            self._busy = True
            try:
                while self._actions and self._actions[0][0] <= self._time.now():
                    at, _, action = heapq.heappop(self._actions)
                    with self._time.as_of(at):
                        action()
            finally:
                self._busy = False
