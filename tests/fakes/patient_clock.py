from __future__ import annotations

import time

from fake_clock import Clock


class PatientClock:
    """Stands in for the module ``time`` where threads do the work: a clock that stands still meanwhile."""

    def __init__(self, clock: Clock) -> None:
        self.monotonic = clock.monotonic

    def sleep(self, seconds: float) -> None:
        time.sleep(0.001)
