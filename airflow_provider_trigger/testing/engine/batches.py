"""Batches: runs that one request triggers, all at once if they are few, else one after another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from . import constants
from .agenda import Agenda
from .environments import Environment
from .ids import new_id
from .runs import ServerRun
from .server_time import ServerTime, moment
from .unset import UNSET


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchItem:
    """
    What one run of a batch is triggered with.

    :param payload: any JSON, ``UNSET`` for none
    :param options: the API's options in its own spelling
    :param can_be_triggered: whether the server can do it; if not, the run is a failed one
    """

    task_identifier: str
    payload: Any = UNSET
    options: Mapping[str, Any] = field(default_factory=dict)
    can_be_triggered: bool = True


@dataclass(eq=False, kw_only=True)
class Batch:
    """
    One batch.

    :param environment: the environment it belongs to
    :param run_count: how many items it has
    :param created: when it was created, in seconds since 1970
    """

    id: str
    environment: Environment
    run_count: int
    created: float
    agenda: Agenda = field(repr=False)
    # The runs of the items that have been processed, by the item's index, and when the last one was.
    _runs: dict[int, ServerRun] = field(default_factory=dict, init=False, repr=False)
    _updated: float = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._updated = self.created

    @property
    def status(self) -> str:
        """Return ``PENDING``; ``COMPLETED`` once all items are processed and its own runs are final."""
        return "PENDING" if self._ends is None else "COMPLETED"

    @property
    def runs(self) -> list[ServerRun]:
        """
        Return the runs of the items that have been processed by now, in the order of the items.

        They are new ones, or those that the items' idempotency keys stand for.
        """
        self.agenda.catch_up()
        return [run for _, run in sorted(self._runs.items())]

    @property
    def created_at(self) -> datetime:
        """Return when it was created."""
        return moment(self.created)

    @property
    def updated_at(self) -> datetime:
        """Return when its last item was processed or, once it is completed, when its last run ended."""
        ends = self._ends or []
        return max([moment(self._updated), *ends])

    @property
    def _ends(self) -> list[datetime] | None:
        """Return when its own runs ended, ``None`` before all have; those of other batches do not matter."""
        runs = self.runs
        states = [run.state for run in runs if run.batch_id == self.id]
        if len(runs) < self.run_count or not all(state.final for state in states):
            return None
        return [state.finished_at or state.updated_at for state in states]

    def add(self, index: int, run: ServerRun, *, at: float) -> None:
        """
        Add the run of an item.

        :param index: the item's place among the others, from 0 on
        :param at: when the item was processed, in seconds since 1970
        """
        self._runs[index] = run
        self._updated = at


# Triggers the run of an item of a batch, at the time at which it is called.
Start = Callable[[Batch, BatchItem], ServerRun]


class Batches(dict[str, Batch]):
    """All batches, by id."""

    def __init__(self, start: Start, *, time: ServerTime, agenda: Agenda) -> None:
        super().__init__()
        self._start = start
        self._time = time
        self._agenda = agenda

    def create(self, items: Sequence[BatchItem], *, environment: Environment) -> Batch:
        """
        Create a batch and return it; the runs of a large one follow one after another.

        :param environment: the environment it belongs to
        """
        now = self._time.now()
        batch = Batch(
            id=new_id("batch"),
            environment=environment,
            run_count=len(items),
            created=now,
            agenda=self._agenda,
        )
        self[batch.id] = batch
        pause = 0.0 if len(items) <= constants.BATCH_AT_ONCE else 1 / constants.BATCH_RATE
        for index, item in enumerate(items):
            at = self._time.after((index + 1) * pause, now)
            self._agenda.add(at, partial(self._process, batch, index, item))
        self._agenda.catch_up()
        return batch

    def _process(self, batch: Batch, index: int, item: BatchItem) -> None:
        batch.add(index, self._start(batch, item), at=self._time.now())
