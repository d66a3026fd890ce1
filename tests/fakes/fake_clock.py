from __future__ import annotations

START = 1_795_600_000.0
"""What ``time()`` of a new clock returns."""


class Clock:
    """Stands in for the module ``time``; only a test moves it, and sleeping, which takes no other time."""

    def __init__(self) -> None:
        self.now = self._first = 1000.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return START + self.now - self._first

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
