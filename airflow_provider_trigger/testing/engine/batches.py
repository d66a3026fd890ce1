"""Batches: runs that one request triggers, all at once if they are few, else one after another."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from . import settings
from .environments import Environment
from .runs import ServerRun, new_id
from .server_time import Agenda, ServerTime, moment
from .settings import UNSET

NOT_TRIGGERED = "BATCH_ITEM_COULD_NOT_TRIGGER"
ITEM_TOO_LARGE = "PAYLOAD_TOO_LARGE"


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchItem:
    """What an item's run is triggered with, unless a ``failure``, an error's code, keeps it from that."""

    task_identifier: str
    payload: Any = UNSET
    options: Mapping[str, Any] = field(default_factory=dict)
    failure: str | None = None


@dataclass(eq=False, kw_only=True)
class Batch:
    """
    One batch.

    :param environment: the environment it belongs to
    :param run_count: how many items it has
    :param created: when it was created, in seconds since 1970
    :param streamed: whether its items come after it; it is processed only once it has all
    """

    id: str
    environment: Environment
    run_count: int
    created: float
    agenda: Agenda = field(repr=False)
    streamed: bool = False
    # The indexes of the items that it has, and when the last of them is processed.
    _items: set[int] = field(default_factory=set, init=False, repr=False)
    _due: float = field(init=False, repr=False)
    # How many requests with items have come.
    requests: int = field(default=0, init=False, repr=False)
    # The runs of the items that have been processed, by the item's index, and when the last one was.
    _runs: dict[int, ServerRun] = field(default_factory=dict, init=False, repr=False)
    _updated: float = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._updated = self._due = self.created

    @property
    def status(self) -> str:
        """Return ``PENDING``, of a streamed one ``PROCESSING`` once all items came, or ``COMPLETED``."""
        if self.streamed and self.sealed and self.processed_at is None:
            return "PROCESSING"
        return "PENDING" if self._ends is None else "COMPLETED"

    @property
    def sealed(self) -> bool:
        """Return whether it has all of its items."""
        return self.item_count == self.run_count

    @property
    def item_count(self) -> int:
        """Return how many items it has."""
        return len(self._items)

    @property
    def runs(self) -> list[ServerRun]:
        """Return the runs of the items processed by now, in order; a key may stand for an older one."""
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
    def processed_at(self) -> datetime | None:
        """Return when all items were processed, ``None`` before."""
        return moment(self._updated) if len(self.runs) == self.run_count else None

    @property
    def _ends(self) -> list[datetime] | None:
        """Return when its own runs ended, ``None`` before all have; those of other batches do not matter."""
        states = [run.state for run in self.runs if run.batch_id == self.id]
        if self.processed_at is None or not all(state.final for state in states):
            return None
        return [state.finished_at or state.updated_at for state in states]

    def plan(self, index: int, *, now: float, pause: float) -> float | None:
        """Take an item; return when it is processed, ``None`` if it was there already."""
        if index in self._items:
            return None
        self._items.add(index)
        self._due = max(self._due, now) + pause
        return self._due

    def add(self, index: int, run: ServerRun, *, at: float) -> None:
        """Add the run of an item."""
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
        self._keys: set[tuple[Environment, str]] = set()

    def create(self, items: Sequence[BatchItem], *, environment: Environment) -> Batch:
        """Create a batch and return it; the runs of a large one follow one after another."""
        batch = self._add(len(items), environment=environment)
        rate = math.inf if len(items) <= settings.BATCH_AT_ONCE else settings.BATCH_RATE
        for index, item in enumerate(items):
            self._process(batch, index, item, after=1 / rate)
        self._agenda.catch_up()
        return batch

    def open(self, run_count: int, *, environment: Environment, key: str | None = None) -> Batch | None:
        """Create a batch without items and return it; ``None`` if there is one with its key."""
        if key:
            if (environment, key) in self._keys:
                return None
            self._keys.add((environment, key))
        return self._add(run_count, environment=environment, streamed=True)

    def stream(self, batch: Batch, index: int, item: BatchItem) -> bool:
        """Add an item to such a batch, and let its run follow; return whether the item is a new one."""
        return self._process(batch, index, item, after=1 / settings.BATCH_RATE)

    def is_free(self, batch: Batch) -> bool:
        """Count a request that adds items, and return whether it costs no token."""
        batch.requests += 1
        until = self._time.after(settings.BATCH_FREE_FOR, batch.created)
        return batch.requests <= settings.BATCH_FREE_REQUESTS and self._time.now() < until

    def _add(self, run_count: int, *, environment: Environment, streamed: bool = False) -> Batch:
        batch = Batch(
            id=new_id("batch"),
            environment=environment,
            run_count=run_count,
            created=self._time.now(),
            agenda=self._agenda,
            streamed=streamed,
        )
        self[batch.id] = batch
        return batch

    def _process(self, batch: Batch, index: int, item: BatchItem, *, after: float) -> bool:
        at = batch.plan(index, now=self._time.now(), pause=self._time.after(after, 0))
        if at is None:
            return False
        if batch.streamed and item.failure == NOT_TRIGGERED:
            at = self._time.after(settings.BATCH_TRIES, at)
        self._agenda.add(at, partial(self._start_run, batch, index, item))
        return True

    def _start_run(self, batch: Batch, index: int, item: BatchItem) -> None:
        batch.add(index, self._start(batch, item), at=self._time.now())
