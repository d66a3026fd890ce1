"""The server's time: dates are real, and what takes a while can take a fraction of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime

_EARLIER: ContextVar[float | None] = ContextVar("earlier", default=None)


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
        earlier = _EARLIER.get()
        return self.clock() if earlier is None else earlier

    @contextmanager
    def as_of(self, at: float) -> Iterator[None]:
        """
        Let it be an earlier time in this thread, for what has happened by then and is only computed now.

        :param at: the time, in seconds since 1970
        """
        token = _EARLIER.set(at)
        try:
            yield
        finally:
            _EARLIER.reset(token)

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
