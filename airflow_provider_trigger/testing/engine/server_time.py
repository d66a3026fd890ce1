"""The server's time, in seconds since 1970: dates are real, durations can be shorter, and actions wait."""

from __future__ import annotations

import heapq
import itertools
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime

_EARLIER: ContextVar[float | None] = ContextVar("earlier", default=None)
_PARTS = re.compile(r"(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)hr?)?(?:(\d+)m)?(?:(\d+)s)?")
_SECONDS = (7 * 86400, 86400, 3600, 60, 1)


@dataclass(frozen=True, kw_only=True)
class ServerTime:
    """A server's time: dates are its clock's, as clients compare them with theirs; durations are shorter."""

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
        """Let it be an earlier time in this thread, for what has happened then and is only computed now."""
        token = _EARLIER.set(at)
        try:
            yield
        finally:
            _EARLIER.reset(token)

    def after(self, seconds: float, since: float) -> float:
        """Return when what takes so many seconds at the usual speed is over; negative for what was before."""
        return since + seconds / self.speed


def moment(at: float) -> datetime:
    """Return a time in UTC."""
    return datetime.fromtimestamp(at, UTC)


def read_duration(text: str | None) -> float | None:
    """Return a duration such as ``1h30m`` in seconds, ``None`` for a malformed one, which is ignored."""
    match = _PARTS.fullmatch(text or "")
    if match is None or not text:
        return None
    return float(sum(int(part) * size for part, size in zip(match.groups(), _SECONDS, strict=True) if part))


def read_delay(text: str | None, time: ServerTime) -> float | None:
    """Return when a delay, a duration or an ISO date, is over; ``None`` if it is malformed or in the past."""
    seconds = read_duration(text)
    now = time.now()
    if seconds is not None:
        return time.after(seconds, now)
    try:
        due = read_date(text or "")
    except ValueError:
        return None
    return due if due > now else None


def read_date(text: str) -> float:
    """Return an ISO date in seconds since 1970, in UTC without a time zone; ValueError for anything else."""
    date = datetime.fromisoformat(text)
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()


class Agenda:
    """Actions at later times, done when the server is next used: who sees or changes one catches up first."""

    def __init__(self, time: ServerTime, *, lock: threading.RLock) -> None:
        self._time = time
        self._lock = lock
        self._numbers = itertools.count()
        # By time; at the same time, in the order in which they were added.
        self._actions: list[tuple[float, int, Callable[[], None]]] = []
        self._busy = False

    def add(self, at: float, action: Callable[[], None]) -> None:
        """Let something happen later."""
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
