"""How the work of a task ends that is stopped from outside."""

from __future__ import annotations

import time
from collections.abc import Callable

CHECK_INTERVAL = 0.2
"""How often a pause is interrupted to check whether the work was stopped, in seconds."""


class StoppedError(Exception):
    """The work was stopped from outside."""


def pause(seconds: float, *, is_stopped: Callable[[], bool]) -> None:
    """Wait so many seconds, or raise StoppedError; ``is_stopped`` is called several times a second."""
    until = time.monotonic() + seconds
    while not is_stopped():
        if (left := until - time.monotonic()) <= 0:
            return
        time.sleep(min(left, CHECK_INTERVAL))
    raise StoppedError
