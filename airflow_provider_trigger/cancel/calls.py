"""The steps of each job of a cancellation, and until when its calls may go on. Pure."""

from __future__ import annotations

import math
from typing import Any

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
