"""Bulk actions that cancel runs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial

from .environments import Environment
from .life import Life
from .runs import ServerRun, new_id
from .server_time import ServerTime, moment
from .settings import BULK_CHUNK, Settings


@dataclass(eq=False, kw_only=True)
class BulkAction:
    """
    One bulk action.

    :param environment: the environment it belongs to
    :param members: the runs that it saw when it was created
    :param name: the name that it was given
    :param created: when it was created, in seconds since 1970
    :param due: when its last run is processed; infinity for never
    """

    id: str
    environment: Environment
    members: tuple[ServerRun, ...] = field(repr=False)
    name: str | None
    created: float
    due: float
    time: ServerTime = field(repr=False)

    @property
    def status(self) -> str:
        """Return ``PENDING`` or ``COMPLETED``."""
        return "COMPLETED" if self.time.now() >= self.due else "PENDING"

    @property
    def created_at(self) -> datetime:
        """Return when it was created."""
        return moment(self.created)

    @property
    def completed_at(self) -> datetime | None:
        """Return when it was completed, ``None`` before."""
        return moment(self.due) if self.status == "COMPLETED" else None

    @property
    def counts(self) -> dict[str, int]:
        """Return how many runs it has, and how many of them it says it has canceled or found terminated."""
        alive = [found for run in self.members if (found := run.life.bulk.get(self.id)) is not None]
        if self.status == "PENDING":
            del alive[len(alive) // BULK_CHUNK * BULK_CHUNK :]
        return {"total": len(self.members), "success": alive.count(True), "failure": alive.count(False)}


class BulkActions(dict[str, BulkAction]):
    """All bulk actions, by id."""

    def __init__(self, settings: Settings, *, runs: Mapping[str, ServerRun], time: ServerTime) -> None:
        super().__init__()
        self._settings = settings
        self._runs = runs
        self._time = time

    def create(
        self, run_ids: Iterable[str], *, environment: Environment, name: str | None = None
    ) -> BulkAction:
        """Begin to cancel runs, and return the bulk action; it ignores ids of runs that it cannot see."""
        now = self._time.now()
        latest = moment(self._time.after(-self._settings.bulk_lag, now))
        named = [self._runs[run_id] for run_id in dict.fromkeys(run_ids) if run_id in self._runs]
        members = [run for run in named if run.environment == environment and run.created_at <= latest]
        times = self._times(now, len(members))
        action = BulkAction(
            id=new_id("bulk"),
            environment=environment,
            members=tuple(members),
            name=name,
            created=now,
            due=times[-1],
            time=self._time,
        )
        for run, at in zip(members, times[1:], strict=True):
            run.later(at, partial(_process, run, action.id), bulk_id=action.id)
        self[action.id] = action
        return action

    def _times(self, now: float, count: int) -> list[float]:
        """Return when a bulk action begins to process its runs, and when each of them is processed."""
        duration, rate = self._settings.bulk_duration, self._settings.bulk_rate
        start = math.inf if duration is None else self._time.after(duration, now)
        return [
            start if rate is None else self._time.after(number / rate, start) for number in range(count + 1)
        ]


def _process(run: ServerRun, bulk_id: str, life: Life, at: float) -> Life:
    """Cancel a run that is not terminated, and note whether it was."""
    alive = not life.terminated
    life = replace(life, bulk={**life.bulk, bulk_id: alive})
    return run.canceled(life, at, reason=f"Bulk action {bulk_id} cancelled run") if alive else life
