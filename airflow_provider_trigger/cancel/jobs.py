"""What is done for runs, and what comes next by urgency. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from airflow_provider_trigger.api.exchange import Steps
from airflow_provider_trigger.cancel.calls import Subject
from airflow_provider_trigger.cancel.queue import Queue
from airflow_provider_trigger.cancel.record import Action, RunRecord

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
