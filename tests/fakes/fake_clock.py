from __future__ import annotations

START = 1_795_600_000.0
"""What ``time()`` of a new clock returns."""


class Clock:
    """The clock that a local server is given; only a test moves it."""

    def __init__(self) -> None:
        self.now = self._first = 1000.0

    def time(self) -> float:
        return START + self.now - self._first
