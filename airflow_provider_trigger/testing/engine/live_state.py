"""The present state of a run, and how it moves on by itself; computed from the clock whenever it is read."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from . import states
from .states import State
from .timeline import Event, Timeline


def _live(name: str, meaning: str) -> Any:
    """Make a property that reads a field of the present state, and changes it."""

    def read(run: LiveState) -> Any:
        return getattr(run.state, name)

    def write(run: LiveState, value: Any) -> None:
        with run.lock:
            run._state = replace(run.state, **{name: value})

    return property(read, write, doc=meaning)


@dataclass(eq=False, kw_only=True)
class LiveState:
    """
    What a run shows: always its present state, which may also be set.

    :param initial: what it shows at first
    :param clock: returns the time, in seconds since 1970
    :param lock: guards every run of a server, which test and server read from different threads
    """

    initial: State = field(repr=False)
    clock: Callable[[], float] = field(repr=False)
    lock: threading.RLock = field(repr=False, default_factory=threading.RLock)
    _history: list[State] = field(init=False, repr=False)
    _timeline: Timeline = field(default_factory=Timeline, init=False, repr=False)

    def __post_init__(self) -> None:
        self._history = [self.initial]

    created_at = _live("created_at", "When it was triggered.")
    updated_at = _live("updated_at", "When it last changed.")
    started_at = _live("started_at", "When a worker first took it, or None.")
    finished_at = _live("finished_at", "When it ended, or None.")
    attempt_count = _live("attempt_count", "How many attempts have begun.")
    output = _live("output", "What it returned, ``UNSET`` for nothing.")
    delayed_until = _live("delayed_until", "When a delayed run is due, or None.")
    error = _live("error", "What it failed with, or None.")

    @property
    def state(self) -> State:
        """Return what the run shows now."""
        self._advance(self.clock())
        return self._state

    def state_at(self, at: float) -> State | None:
        """
        Return what the run showed at a moment, ``None`` if it didn't exist yet.

        :param at: the moment, in seconds since 1970
        """
        self._advance(self.clock())
        return next((state for state in reversed(self._history) if state.updated_at <= moment(at)), None)

    @property
    def status(self) -> str:
        """Return Trigger.dev's modern word for where the run is now."""
        return self.state.status

    @status.setter
    def status(self, status: str) -> None:
        with self.lock:
            now = self.clock()
            self._advance(now)
            self.stay()
            self.move(status, now)

    @property
    def terminated(self) -> bool:
        """Return whether the run can no longer change: its status is final and no worker has it."""
        return self.state.final and not self._timeline.can_change

    def schedule(self, steps: Sequence[tuple[float, str]]) -> None:
        """
        Let the run move on by itself, unless it is canceled before.

        :param steps: pairs of seconds from now and the status that comes then. ``EXECUTING`` begins an
            attempt, but for a ``WAITING`` run, which resumes the one that it was in.
        """
        now = self.clock()
        with self.lock:
            for after, status in steps:
                self.later(now + after, functools.partial(self.move, status))

    def later(self, at: float, event: Event) -> None:
        """
        Let something happen to the run, unless it is canceled before.

        :param at: when it is due, in seconds since 1970
        :param event: what happens then
        """
        with self.lock:
            self._timeline.add(at, event)

    def stay(self) -> None:
        """Drop what would have happened to the run by itself."""
        self._timeline.drop()

    def move(self, status: str, at: float, **shown: Any) -> None:
        """
        Move on to another status.

        :param status: the status
        :param at: when, in seconds since 1970
        :param shown: what the run shows then, where it is not what the status implies
        """
        self._state = replace(states.move(self._state, status, moment(at)), **shown)

    @property
    def _state(self) -> State:
        return self._history[-1]

    @_state.setter
    def _state(self, state: State) -> None:
        self._history.append(state)

    def _advance(self, now: float) -> None:
        """Let everything happen that is due."""
        if not self._timeline.empty:
            with self.lock:
                self._timeline.run_until(now)


def moment(at: float) -> datetime:
    """
    Return a time in UTC.

    :param at: the time, in seconds since 1970
    """
    return datetime.fromtimestamp(at, UTC)
