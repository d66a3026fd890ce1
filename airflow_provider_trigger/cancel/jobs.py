"""What is done for runs: jobs by urgency, and the steps of each. Pure."""

from __future__ import annotations

import heapq
import itertools
import math
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_trigger.api.exchange import Exchange, Steps
from airflow_provider_trigger.api.http import Call
from airflow_provider_trigger.api.limits import Deadline
from airflow_provider_trigger.api.query import query_runs
from airflow_provider_trigger.api.runs import cancel_run, retrieve_run
from airflow_provider_trigger.cancel.bulk import bulk_steps
from airflow_provider_trigger.cancel.confirmation import Confirmation
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
            settings, until = self._settings, self.singly_from
            steps = bulk_steps(self._exchange, subject, settings, deadline=self.deadline, singly_from=until)
            return (yield from steps)
        if isinstance(subject, Confirmation):
            query = query_runs([record.run_id for record in subject.records])
            return (yield from self._exchange.steps(query, deadline=self.deadline, patience=0))
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


@dataclass(slots=True, eq=False)
class Job:
    """A call, a bulk action, a query or a look for descendants, which waits or is being made."""

    action: Action
    subject: Subject
    steps: Steps[Any] = field(init=False)
    """Unset until it begins."""
    sent_at: float | None = None
    """When its last request was sent, on the monotonic clock; None before the first."""


_FIRST = -1  # more urgent than any action


class Jobs:
    """Jobs by urgency, and of one urgency in their order; some become ready only at a later time."""

    def __init__(self) -> None:
        self._ready: list[tuple[int, int, Job]] = []
        self._later: list[tuple[float, int, int, Job]] = []
        self._numbers = itertools.count()

    def put(self, job: Job, *, at: float = -math.inf, is_first: bool = False) -> None:
        """Add a job that is ready at a time on the monotonic clock; with ``is_first`` it precedes all."""
        urgency = _FIRST if is_first else job.action
        heapq.heappush(self._later, (at, next(self._numbers), urgency, job))

    def take(self, now: float, *, before: float = math.inf) -> Job | None:
        """Remove and return the most urgent job that is ready and precedes an action, None without one."""
        while self._later and self._later[0][0] <= now:
            _, number, urgency, job = heapq.heappop(self._later)
            heapq.heappush(self._ready, (urgency, number, job))
        return heapq.heappop(self._ready)[2] if self._ready and self._ready[0][0] < before else None

    def next_at(self) -> float:
        """Return when the next job becomes ready, once none is; infinite if there is no other."""
        return self._later[0][0] if self._later else math.inf
