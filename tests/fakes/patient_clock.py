from __future__ import annotations

import time

from fake_clock import Clock


class PatientClock:
    """Stands in for the module ``time`` where threads do the work: a clock that stands still meanwhile."""

    def __init__(self, clock: Clock) -> None:
        self.monotonic = clock.monotonic

    def sleep(self, seconds: float) -> None:
        time.sleep(0.001)


class PassingClock(PatientClock):
    """The same, but a second of it passes in a tenth of one."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self._clock = clock

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds / 10)
        self._clock.now += seconds
