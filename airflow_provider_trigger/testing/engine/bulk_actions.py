"""Bulk actions, and what they do to their runs, computed from the clock whenever they are read."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from .environments import Environment
from .live_state import moment
from .runs import ServerRun, new_id


@dataclass(eq=False, kw_only=True)
class BulkAction:
    """
    One bulk action.

    :param id: its id
    :param type: ``CANCEL`` or ``REPLAY``
    :param environment: the environment it belongs to
    :param members: the runs that it saw when it was created
    :param name: the name that it was given
    :param created: when it was created, in seconds since 1970
    :param due: when its last run is processed; infinity for never
    :param clock: returns the time, in seconds since 1970
    """

    id: str
    type: str
    environment: Environment
    members: tuple[ServerRun, ...] = field(repr=False)
    name: str | None
    created: float
    due: float
    clock: Callable[[], float] = field(repr=False)
    aborted: bool = field(default=False, init=False)
    _success: int = field(default=0, init=False, repr=False)
    _failure: int = field(default=0, init=False, repr=False)

    @property
    def status(self) -> str:
        """Return ``PENDING``, ``COMPLETED`` or ``ABORTED``."""
        if self.aborted:
            return "ABORTED"
        return "COMPLETED" if self.clock() >= self.due else "PENDING"

    @property
    def created_at(self) -> datetime:
        """Return when it was created."""
        return moment(self.created)

    @property
    def completed_at(self) -> datetime | None:
        """Return when it was completed, ``None`` before and if it was aborted."""
        return moment(self.due) if self.status == "COMPLETED" else None

    @property
    def counts(self) -> dict[str, int]:
        """Return how many runs it has, and how many of them it has processed."""
        total = len(self.members)
        if self.type == "REPLAY":
            return {"total": total, "success": total if self.status == "COMPLETED" else 0, "failure": 0}
        for run in self.members:
            _ = run.state  # reading a run lets happen what is due
        return {"total": total, "success": self._success, "failure": self._failure}

    def process(self, terminated: bool) -> str | None:
        """
        Count a run; return the reason to cancel it, ``None`` to leave it alone.

        :param terminated: whether the run can no longer change
        """
        if self.aborted:
            return None
        if terminated:
            self._failure += 1
            return None
        self._success += 1
        return f"Bulk action {self.id} cancelled run"


class BulkSettings(Protocol):
    """
    How bulk actions behave; read at each use, as a test may change it.

    :param bulk_lag: for how many seconds after its creation a run isn't seen
    :param bulk_duration: seconds until a bulk action processes its runs, ``None`` for never
    :param bulk_rate: runs that it then processes per second, ``None`` for all at once
    """

    bulk_lag: float
    bulk_duration: float | None
    bulk_rate: float | None


class BulkActions(dict[str, BulkAction]):
    """
    All bulk actions, by id.

    :param settings: how they behave
    :param runs: the server's runs, by id
    :param replay: triggers a run like the given one
    :param lock: guards the runs
    :param clock: returns the time, in seconds since 1970
    """

    def __init__(
        self,
        settings: BulkSettings,
        *,
        runs: Mapping[str, ServerRun],
        replay: Callable[[ServerRun], Any],
        lock: threading.RLock,
        clock: Callable[[], float],
    ) -> None:
        super().__init__()
        self._settings = settings
        self._runs = runs
        self._replay = replay
        self._lock = lock
        self._clock = clock
        self._replays: list[BulkAction] = []

    def visible(self, environment: Environment) -> dict[str, ServerRun]:
        """
        Return the runs that a new bulk action can see: all but the youngest.

        :param environment: whose runs
        """
        latest = moment(self._clock() - self._settings.bulk_lag)
        return {
            run.id: run
            for run in list(self._runs.values())
            if run.environment == environment and run.created_at <= latest
        }

    def create(
        self, type: str, members: Iterable[ServerRun], *, environment: Environment, name: str | None = None
    ) -> BulkAction:
        """
        Begin a bulk action and return it.

        :param type: ``CANCEL`` or ``REPLAY``
        :param members: its runs
        :param environment: the environment it belongs to
        :param name: its name
        """
        now, members = self._clock(), tuple(members)
        times = self._times(now, len(members))
        action = BulkAction(
            id=new_id("bulk"),
            type=type,
            environment=environment,
            members=members,
            name=name,
            created=now,
            due=times[-1],
            clock=self._clock,
        )
        if type == "REPLAY":
            self._replays.append(action)
        else:
            for run, at in zip(members, times[1:], strict=True):
                run.cancel_later(at, action.process)
        self[action.id] = action
        return action

    def _times(self, now: float, count: int) -> list[float]:
        """Return when a bulk action begins to process its runs, and when each of them is processed."""
        duration, rate = self._settings.bulk_duration, self._settings.bulk_rate
        start = math.inf if duration is None else now + duration
        return [start if rate is None else start + number / rate for number in range(count + 1)]

    def abort(self, action: BulkAction) -> bool:
        """
        Abort a bulk action unless it is completed; return whether it was still pending.

        :param action: which one
        """
        with self._lock:
            for run in action.members:
                _ = run.state  # what is due until now isn't aborted
            pending = action.status == "PENDING"
            action.aborted = action.aborted or pending
            return pending

    def replay_due(self) -> None:
        """Trigger the runs of every replay that is completed by now."""
        with self._lock:
            due = [action for action in self._replays if action.status != "PENDING"]
            self._replays = [action for action in self._replays if action not in due]
            for action in due:
                if not action.aborted:
                    for run in action.members:
                        self._replay(run)
