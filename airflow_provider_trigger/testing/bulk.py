"""Bulk actions, and what they do to their runs, computed from the clock whenever somebody looks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from .environments import Environment
from .runs import Run, new_run_id


@dataclass(eq=False, kw_only=True)
class BulkAction:
    """
    One bulk action. All its runs have their turn together, at its end.

    :param id: its id
    :param type: ``CANCEL`` or ``REPLAY``
    :param environment: the environment it belongs to
    :param members: the runs that it saw when it was created
    :param name: the name that it was given
    :param created: when it was created, in seconds since 1970
    :param due: when it is done unless somebody aborts it
    :param clock: tells the time, in seconds since 1970
    """

    id: str
    type: str
    environment: Environment
    members: tuple[Run, ...] = field(repr=False)
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
        return datetime.fromtimestamp(self.created, UTC)

    @property
    def completed_at(self) -> datetime | None:
        """Return when it was done, ``None`` before and if it was aborted."""
        return datetime.fromtimestamp(self.due, UTC) if self.status == "COMPLETED" else None

    @property
    def counts(self) -> dict[str, int]:
        """Return how many runs it has, and how many of them it has dealt with."""
        total = len(self.members)
        if self.type == "REPLAY":
            return {"total": total, "success": total if self.status == "COMPLETED" else 0, "failure": 0}
        for run in self.members:
            _ = run.state  # whoever looks at a run lets happen what was due
        return {"total": total, "success": self._success, "failure": self._failure}

    def visit(self, over: bool) -> str | None:
        """
        Count a run whose turn to be canceled has come; return the reason, ``None`` to leave it alone.

        :param over: whether the run can no longer change
        """
        if self.aborted:
            return None
        if over:
            self._failure += 1
            return None
        self._success += 1
        return f"Bulk action {self.id} cancelled run"


class BulkActions(dict[str, BulkAction]):
    """
    All bulk actions, by id.

    :param runs: the server's runs, by id
    :param replay: triggers a run like the given one
    :param lock: guards the runs
    :param clock: tells the time, in seconds since 1970
    :param lag: tells for how many seconds after its creation a run isn't seen
    :param duration: tells how many seconds a bulk action takes
    """

    def __init__(
        self,
        *,
        runs: Mapping[str, Run],
        replay: Callable[[Run], Any],
        lock: threading.RLock,
        clock: Callable[[], float],
        lag: Callable[[], float],
        duration: Callable[[], float],
    ) -> None:
        super().__init__()
        self._runs = runs
        self._replay = replay
        self._lock = lock
        self._clock = clock
        self._lag = lag
        self._duration = duration
        self._replays: list[BulkAction] = []

    def visible(self, environment: Environment) -> dict[str, Run]:
        """
        Return the runs that a new bulk action can see: all but the youngest.

        :param environment: whose runs
        """
        latest = datetime.fromtimestamp(self._clock() - self._lag(), UTC)
        return {
            run.id: run
            for run in list(self._runs.values())
            if run.environment == environment and run.created_at <= latest
        }

    def create(
        self, type: str, members: Iterable[Run], *, environment: Environment, name: str | None = None
    ) -> BulkAction:
        """
        Begin a bulk action and return it.

        :param type: ``CANCEL`` or ``REPLAY``
        :param members: its runs
        :param environment: the environment it belongs to
        :param name: its name
        """
        now = self._clock()
        action = BulkAction(
            id="bulk_" + new_run_id().removeprefix("run_"),
            type=type,
            environment=environment,
            members=tuple(members),
            name=name,
            created=now,
            due=now + self._duration(),
            clock=self._clock,
        )
        if type == "REPLAY":
            self._replays.append(action)
        else:
            for run in action.members:
                run.cancel_later(action.due, action.visit)
        self[action.id] = action
        return action

    def abort(self, action: BulkAction) -> bool:
        """
        Abort a bulk action unless it is over; tell whether it was still pending.

        :param action: which one
        """
        with self._lock:
            pending = action.status == "PENDING"
            action.aborted = action.aborted or pending
            return pending

    def replay_due(self) -> None:
        """Trigger the runs of every replay that is done by now."""
        with self._lock:
            due = [action for action in self._replays if action.status != "PENDING"]
            self._replays = [action for action in self._replays if action not in due]
            for action in due:
                if not action.aborted:
                    for run in action.members:
                        self._replay(run)
