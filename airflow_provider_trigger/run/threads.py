"""Threads that exist before they are needed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue


class Threads:
    """Do work in threads that exist already: starting one takes locks that interrupted code may hold."""

    def __init__(self, count: int, *, name: str) -> None:
        self._count = count
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        for number in range(count):
            threading.Thread(target=self._run, name=f"{name}-{number}", daemon=True).start()

    def begin(self, work: Callable[[], None]) -> None:
        """Begin some work, which must not raise, as soon as a thread is free; safe in a signal handler."""
        self._work.put(work)

    def close(self) -> None:
        """Let each thread end after what it does and what was begun before; do not wait for it."""
        for _ in range(self._count):
            self._work.put(None)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()
