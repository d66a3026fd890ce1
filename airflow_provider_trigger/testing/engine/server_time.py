"""The server's time: dates are real, and what takes a while can take a fraction of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, kw_only=True)
class ServerTime:
    """
    The time of a server.

    All times that it shows are those of its clock, as clients compare them with their own. Only durations
    are shortened: how long a run executes, how long its worker needs, how long a key or a URL is valid.

    :param clock: returns the time, in seconds since 1970
    :param speed: how many times as fast as usual everything happens
    :raises ValueError: the speed is not above 0
    """

    clock: Callable[[], float] = time.time
    speed: float = 1.0

    def __post_init__(self) -> None:
        if self.speed <= 0:
            raise ValueError(f"speed={self.speed}: must be above 0")

    def now(self) -> float:
        """Return the time, in seconds since 1970."""
        return self.clock()

    def after(self, seconds: float, since: float) -> float:
        """
        Return when something is over, in seconds since 1970.

        :param seconds: how long it takes at the usual speed; negative for what was before
        :param since: when it began, in seconds since 1970
        """
        return since + seconds / self.speed


def moment(at: float) -> datetime:
    """Return a time in UTC."""
    return datetime.fromtimestamp(at, UTC)
