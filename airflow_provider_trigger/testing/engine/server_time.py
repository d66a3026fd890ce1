"""The server's time: dates are real, durations can take a fraction of it, and actions wait for theirs."""

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


def read_duration(text: str | None) -> float | None:
    """
    Return a duration in seconds, ``None`` for one that is malformed: the server ignores it.

    :param text: such as ``10s`` or ``1h30m``
    """
    match = _PARTS.fullmatch(text or "")
    if match is None or not text:
        return None
    return float(sum(int(part) * size for part, size in zip(match.groups(), _SECONDS, strict=True) if part))


def read_delay(text: str | None, time: ServerTime) -> float | None:
    """
    Return when a delay is over, in seconds since 1970; ``None`` if it is malformed or in the past.

    :param text: a duration, or a date in ISO 8601
    """
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
    """
    Return a date in seconds since 1970; without a time zone it is in UTC.

    :param text: the date in ISO 8601
    :raises ValueError: for anything else
    """
    date = datetime.fromisoformat(text)
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()


class Agenda:
    """
    Actions at later times. As no thread waits for them, they are done when the server is next used.

    An action does not see that it is late: for it, the time is the one that it was meant for. So whatever can
    see or change what an action does has to :meth:`catch_up` before.

    :param lock: guards the server, which test and server use from different threads
    """

    def __init__(self, time: ServerTime, *, lock: threading.RLock) -> None:
        self._time = time
        self._lock = lock
        self._numbers = itertools.count()
        # By time; at the same time, in the order in which they were added.
        self._actions: list[tuple[float, int, Callable[[], None]]] = []
        self._busy = False

    def add(self, at: float, action: Callable[[], None]) -> None:
        """
        Let something happen later.

        :param at: when, in seconds since 1970
        :param action: what happens
        """
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
