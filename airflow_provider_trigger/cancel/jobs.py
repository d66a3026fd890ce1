"""What is done for runs: a queue by urgency, and the steps of each job. Pure."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from airflow_provider_trigger.api.deadline import Deadline
from airflow_provider_trigger.api.endpoints.runs import cancel_run, retrieve_run
from airflow_provider_trigger.api.exchange import Exchange, Steps
from airflow_provider_trigger.api.http import Call
from airflow_provider_trigger.cancel.bulk import bulk_steps
from airflow_provider_trigger.cancel.confirmation import Confirmation, confirmation_steps
from airflow_provider_trigger.cancel.record import Action, BulkPart, RunRecord
from airflow_provider_trigger.cancel.search import Look, look_steps
from airflow_provider_trigger.cancel.settings import CancelSettings

Subject = RunRecord | BulkPart | Confirmation | Look
"""What a job is for."""

# The part of the time limit in which failed cancels are repeated; the rest is for checking whether one
# arrived.
_SHARE_FOR_CANCELS = 0.8
# The part of it that is left to bulk actions and their checks.
_SHARE_FOR_BULK = 0.5
# How long a check before a cancel may hold the cancel up, in seconds; it only spares waiting later.
_CHECK_BEFORE_WITHIN = 6.0


class Calls:
    """Make the steps of each job."""

    def __init__(self, exchange: Exchange, settings: CancelSettings) -> None:
        now = exchange.monotonic()
        self.deadline = Deadline.after(settings.time_limit, now=now)
        self.singly_from = self.deadline.before(_SHARE_FOR_BULK, now=now).at
        """When each run that may be alive gets a cancel of its own, whatever a bulk action does."""
        self._exchange = exchange
        self._settings = settings
        self._cancels_until = self.deadline.before(_SHARE_FOR_CANCELS, now=now)

    def steps(self, action: Action, subject: Subject) -> Steps[Any]:
        """Make the steps of a job; an id that cannot be sent shows at the first of them."""
        if isinstance(subject, BulkPart):
            name, follows = self._settings.bulk_action_name, self._settings.follows
            steps = bulk_steps(self._exchange, subject, name=name, deadline=self.deadline, follows=follows)
            return (yield from steps)
        if isinstance(subject, Confirmation):
            return (yield from confirmation_steps(self._exchange, subject, deadline=self.deadline))
        if isinstance(subject, Look):
            return (yield from look_steps(self._exchange, subject, deadline=self.deadline))
        is_cancel = action is Action.CANCEL
        call: Call[Any] = cancel_run(subject.run_id) if is_cancel else retrieve_run(subject.run_id)
        deadline, patience = self._deadline_of(action, subject), self._patience(action, subject)
        return (yield from self._exchange.steps(call, deadline=deadline, patience=patience))

    def _deadline_of(self, action: Action, record: RunRecord) -> Deadline:
        until, timeout, acknowledged_at = math.inf, self._settings.termination_timeout, record.acknowledged_at
        if action is Action.CHECK_BEFORE:
            until = self._exchange.monotonic() + _CHECK_BEFORE_WITHIN
        elif action is Action.CHECK_TERMINATION and timeout is not None and acknowledged_at is not None:
            until = acknowledged_at + timeout
        return Deadline(min(self.deadline.at, until))

    def _patience(self, action: Action, record: RunRecord) -> float | None:
        """In seconds; None for as long as any call."""
        is_cancel = action is Action.CANCEL
        is_once = not is_cancel and not (record.cancels and self._settings.follows)
        if is_once or action is Action.CHECK_TERMINATION:
            # It is repeated anyway; or it only spares waiting later, before the cancel; or it follows a bulk
            # action, and the run gets a cancel of its own.
            return 0.0
        until = self._cancels_until if is_cancel else self.deadline
        return None if math.isinf(until.at) else until.remaining(self._exchange.monotonic())


T = TypeVar("T")


class Queue(Generic[T]):
    """Items by urgency, and of one urgency in their order; some become ready only at a later time."""

    def __init__(self) -> None:
        self._ready: list[tuple[int, int, T]] = []
        self._later: list[tuple[float, int, int, T]] = []
        self._numbers = itertools.count()
        self._held: _Held[T] | None = None

    def put(self, item: T, *, urgency: int, at: float = -math.inf) -> None:
        """Add an item."""
        heapq.heappush(self._later, (at, next(self._numbers), urgency, item))

    def take(self, now: float, *, before: float = math.inf) -> T | None:
        """Remove and return the most urgent item that is ready, None if there is none."""
        held = self._held
        if held is not None and not held.is_taken:
            if now < held.at:
                return None
            # Perhaps late, where the machine has stalled: the others wait for it as long as otherwise.
            held.is_taken, held.until = True, now + held.until - held.at
            return held.item
        if held is not None and now < held.until:
            return None
        self.release()
        while self._later and self._later[0][0] <= now:
            _, number, urgency, item = heapq.heappop(self._later)
            heapq.heappush(self._ready, (urgency, number, item))
        return heapq.heappop(self._ready)[2] if self._ready and self._ready[0][0] < before else None

    def next_at(self) -> float:
        """Return when the next item becomes ready, once none is; infinite if there is no other."""
        if self._held is not None:
            return self._held.until if self._held.is_taken else self._held.at
        return self._later[0][0] if self._later else math.inf

    def hold_for(self, item: T, *, urgency: int, at: float, until: float) -> None:
        """
        Add an item, and return no other one until :meth:`release`; of several such items the first counts.

        The others are returned again at ``until``, or as much later as the item is taken later than ``at``.
        """
        if self._held is not None and not self.is_held_for(item):
            self.put(item, urgency=urgency, at=at)
        else:
            self._held = _Held(item, urgency, at, until)

    def is_held_for(self, item: T) -> bool:
        """Return whether the others wait for an item."""
        return self._held is not None and self._held.item is item

    def release(self) -> None:
        """Return all items again."""
        held, self._held = self._held, None
        if held is not None and not held.is_taken:
            self.put(held.item, urgency=held.urgency, at=held.at)


@dataclass(slots=True)
class _Held(Generic[T]):
    item: T
    urgency: int
    at: float
    until: float
    is_taken: bool = False


_CHECKS = (Action.CHECK_LEFT_OUT, Action.CHECK)


@dataclass(slots=True, eq=False)
class Job:
    """A call, a bulk action or a look for descendants that is being made."""

    action: Action
    subject: Subject
    steps: Steps[Any]
    sent_at: float | None = None
    """When its last request was sent, on the monotonic clock; None before the first."""


Item = Job | tuple[Action, Subject]


class Jobs(Queue[Item]):
    """Jobs that wait, and what is to become a job; of a run, only what was put last."""

    def __init__(self) -> None:
        super().__init__()
        self.is_late = False
        """Whether a run that has no cancel of its own gets one in place of a check."""

    def put_next(self, action: Action, subject: Subject, at: float = -math.inf) -> None:
        """Let something become a job, at the earliest at a time on the monotonic clock."""
        if isinstance(subject, RunRecord):
            if self.is_late and action in _CHECKS and not subject.cancels:
                action = Action.CANCEL
            subject.queued = action
        self.put((action, subject), urgency=action, at=at)

    def take_next(self, now: float, *, before: float) -> Item | None:
        """Take the most urgent item."""
        while isinstance(item := self.take(now, before=before), tuple):
            action, subject = item
            if not isinstance(subject, RunRecord):
                break
            if subject.queued is action:
                subject.queued = None
                break
        return item

    def hurry(self, records: Iterable[RunRecord]) -> None:
        """From now on, cancel runs by themselves that a bulk action may have canceled, unchecked."""
        self.is_late = True
        for record in records:
            if record.queued in _CHECKS:
                self.put_next(record.queued, record)
