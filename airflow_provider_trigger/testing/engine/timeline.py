"""What is going to happen to a run by itself, and when."""

from __future__ import annotations

import bisect
from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter

# Called with the moment at which it was due, in seconds since 1970.
Event = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class _Entry:
    at: float
    event: Event
    external: bool

    @property
    def order(self) -> tuple[float, bool]:
        return self.at, self.external


class Timeline:
    """The events of one run, in order. External ones, such as a bulk action's, outlast a cancel."""

    def __init__(self) -> None:
        self._entries: list[_Entry] = []

    def add(self, at: float, event: Event, *, external: bool = False) -> None:
        """
        Add an event.

        :param at: when it is due, in seconds since 1970
        :param event: what happens then
        :param external: whether it happens whatever becomes of the run; at the same moment, after the others
        """
        bisect.insort_right(self._entries, _Entry(at, event, external), key=attrgetter("order"))

    def drop(self) -> None:
        """Drop every event but the external ones."""
        self._entries = [entry for entry in self._entries if entry.external]

    def run_until(self, now: float) -> None:
        """
        Let everything happen that is due, also what comes to be due by it.

        :param now: the time, in seconds since 1970
        """
        while self._entries and self._entries[0].at <= now:
            entry = self._entries.pop(0)
            entry.event(entry.at)

    @property
    def empty(self) -> bool:
        """Return whether no event is left, of either kind."""
        return not self._entries

    @property
    def can_change(self) -> bool:
        """Return whether an event is left that changes the run by itself, so not an external one."""
        return any(not entry.external for entry in self._entries)
