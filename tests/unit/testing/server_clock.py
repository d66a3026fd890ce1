"""The clock of a local server, which a test sets."""

from __future__ import annotations

START = 1_795_600_000.0


class Clock:
    """Stands at ``now``, seconds since the epoch, until a test changes it."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now
