"""What is known of each run that is being canceled, and which request comes next for it. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from sys import intern
from typing import Any, NamedTuple

from airflow_provider_trigger.api.bulk_actions import BulkAction
from airflow_provider_trigger.api.errors import NotFoundError, NotSentError, TriggerDevError
from airflow_provider_trigger.api.http import Call, Response
from airflow_provider_trigger.api.models import ChildRun, Run
from airflow_provider_trigger.api.runs import cancel_run, retrieve_run
from airflow_provider_trigger.cancel.settings import CancelSettings

RECHECK_AFTER = (0.5, 1.0, 2.0, 4.0)
"""Pauses before checking again, in seconds: a check just after the cancel may show an outdated status."""

MAX_CANCELS = 2
"""A run that is still alive after all checks gets one more cancel."""

LOOK_INTERVAL, LOOKS_FOR = 1.2, 2.4
"""How often and how long a canceled run is checked for what it still starts, in seconds."""

FRESH_FOR = 3.0
"""How old a check may be when the cancel is acknowledged, in seconds, to show what the cancel found."""

LAST_CHECK_BEFORE = 1.0
"""
How long before the end of a wait for termination its last check is sent, in seconds; less if it is short.
"""

# How long a check before a cancel may hold the cancel up, in seconds; it only spares waiting later.
_CHECK_BEFORE_WITHIN = 6.0


class Action(IntEnum):
    """What is sent for a run, the most urgent first."""

    CANCEL = 1
    CHECK_BEFORE = 2
    CHECK = 3
    CHECK_AGAIN = 4
    """Of a run that has ended, for its termination, and for what it still starts."""


class Seen(NamedTuple):
    """What the last check showed."""

    status: str
    is_final: bool
    is_canceled: bool
    is_terminated: bool


class Shown(NamedTuple):
    """What a check shows, without what can be large: many answers may wait until they are taken in."""

    run: Run
    children: list[ChildRun]


class Before(NamedTuple):
    """A check before the cancel that showed the run without a worker."""

    checked_at: float
    started_at: datetime | None
    attempt_count: int


@dataclass(slots=True, eq=False)
class BulkPart:
    """One bulk action, and the runs it is for."""

    records: Sequence[RunRecord]
    is_sent: bool = False
    """Whether it may have reached the server."""
    id: str | None = None
    accepted_at: float = math.inf
    action: BulkAction | None = None
    ended_at: float = math.inf
    """When it was seen to have ended."""
    seen_canceled: int = 0
    """How many of its runs were seen as CANCELED while it was followed."""

    def __str__(self) -> str:
        if self.id is None:
            return "a bulk action that was not answered"
        count = f" ({self.done} of {len(self.records)} runs canceled)" if self.done else ""
        return f"bulk action {self.id}{count}"

    @property
    def done(self) -> int:
        """How many runs it has handled at least, as far as its counts can be true."""
        return max(min(self.action.done if self.action else 0, len(self.records)), self.seen_canceled)


@dataclass(slots=True, eq=False)
class RunRecord:
    """One run: what was sent, what came back, what was seen. Times are on the monotonic clock."""

    run_id: str
    parent_run_id: str | None = None
    """Of a descendant of a given run: the run that has started it."""
    had_ended: bool = False
    """Of a descendant: whether it had when it was found; it is only checked for what it has started."""
    action: Action = Action.CANCEL
    """What is sent next, or is under way."""
    ends_at: float = math.inf
    """Until when that may take."""
    sent_at: float | None = None
    """When that was sent first; None before."""
    failures: int = 0
    """Of that, in a row, of one kind."""
    last_error: TriggerDevError | None = None
    """Of that, while it is repeated."""
    before: Before | None = None
    """What a check before the cancel showed, where it proves something."""
    is_checked_before: bool = False
    """Whether that check was made, or failed."""
    bulk: BulkPart | None = None
    is_left_out: bool = False
    """Whether its bulk action has left it out, as far as is known."""
    cancels: int = 0
    """How many cancels of this run alone were sent; one that was repeated counts once."""
    acknowledged_at: float | None = None
    """When a cancel was acknowledged last, or seen to have arrived."""
    cancel_error: TriggerDevError | None = None
    checks: int = 0
    """How many since the last cancel, to which :attr:`check_error` and :attr:`seen` belong as well."""
    check_error: TriggerDevError | None = None
    seen: Seen | None = None
    shows_children: bool = False
    """Whether a check of this run alone has ended, which shows what it has started."""
    found_at: float = -math.inf
    """When a run was found last that it has started."""
    task_identifier: str | None = None
    """None if no check has shown it."""
    is_unknown: bool = False
    """Whether this key's environment has no such run."""

    @classmethod
    def of_child(cls, child: ChildRun) -> RunRecord:
        """Return the record of a run that another one has started."""
        return cls(child.id, parent_run_id=child.parent_id, had_ended=not child.may_need_cancel)

    @property
    def urgency(self) -> int:
        """Of its next request; the lowest goes first."""
        return self.action

    @property
    def is_needless(self) -> bool:
        """Whether its request need not be repeated: another check, or a cancel, follows anyway."""
        if self.action is Action.CHECK:
            return not (self.cancels or self.seen or self.had_ended)  # a bulk action may have canceled it
        return self.action is not Action.CANCEL

    @property
    def is_in_bulk(self) -> bool:
        """Whether a bulk action may have canceled it."""
        return self.bulk is not None and self.bulk.is_sent

    @property
    def is_accepted(self) -> bool:
        """Whether a cancel of this run alone was accepted."""
        return self.cancels > 0 and self.cancel_error is None and self.acknowledged_at is not None

    @property
    def is_unconfirmed(self) -> bool:
        """Whether the cancel was requested, and no check shows what came of it."""
        has_arrived = self.acknowledged_at is not None or self.is_in_bulk
        return has_arrived and not (self.seen or self.cancel_error)

    def until(self, now: float) -> float:
        """Return until when its next request may take that begins now."""
        return now + _CHECK_BEFORE_WITHIN if self.action is Action.CHECK_BEFORE else self.ends_at

    def call(self) -> Call[Any]:
        """Return its next request."""
        return cancel_run(self.run_id) if self.action is Action.CANCEL else _check(self.run_id)

    def note_sent(self, now: float) -> None:
        """Take in that a request goes out: what was checked before a cancel says nothing of later."""
        if self.sent_at is not None:
            return  # it is repeated
        self.sent_at = now
        if self.action is Action.CANCEL:
            self.cancels += 1
            self.checks = 0
            self.seen = self.cancel_error = self.check_error = None

    def note(self, result: Any, error: TriggerDevError | None, *, now: float) -> None:
        """Take in how its request ended, with a result or an error."""
        self.last_error = None
        if self.action is Action.CANCEL:
            self._note_cancel(error, now)
        elif self.action is Action.CHECK_BEFORE:
            self.is_checked_before = True
            if error is None and result.run.is_without_worker:
                run = result.run
                self.before = Before(self.sent_at or now, run.started_at, run.attempt_count)
        else:
            self.shows_children = True
            if error is None:
                self.note_check(result.run, now=now)
            elif self.action is Action.CHECK:
                self.checks += 1
                self.check_error = error

    def _note_cancel(self, error: TriggerDevError | None, now: float) -> None:
        if isinstance(error, NotFoundError) and self.task_identifier is None:
            self.is_unknown = True
            return
        self.cancel_error = error
        if error is None:
            self.acknowledged_at = now
        if self.before and (error or now - self.before.checked_at > FRESH_FOR):
            self.before = None

    def note_check(self, run: Run, *, now: float) -> None:
        """Take in a check after the cancel, or what a query shows."""
        self.checks += 1
        self.check_error = None
        if self.acknowledged_at is None:
            self.acknowledged_at = now  # a bulk action's cancel, or one whose answer was lost
        self.task_identifier = intern(run.task_identifier)
        if self.seen and self.seen.is_final and not run.is_final:
            return  # an outdated answer: no run leaves a final status
        is_terminated = run.is_terminated or self._had_no_worker(run)
        self.seen = Seen(intern(run.status), run.is_final, run.is_canceled, is_terminated)

    def _had_no_worker(self, run: Run) -> bool:
        """Whether the cancel found the run without a worker: no worker has taken it up since the check."""
        before = self.before
        if before is None or not run.is_canceled:
            return False
        return (before.attempt_count, before.started_at) == (run.attempt_count, run.started_at)


def _check(run_id: str) -> Call[Shown]:
    call = retrieve_run(run_id)

    def read(response: Response) -> Shown:
        run = call.read(response)
        return Shown(run.without_contents(), run.children)

    return Call(request=call.request, read=read)


class Step(NamedTuple):
    """A request, the earliest time for it, and until when it may take."""

    action: Action
    at: float
    ends_at: float = math.inf


def next_step(record: RunRecord, settings: CancelSettings, *, now: float) -> Step | None:
    """Return what a run needs next; None when nothing is left to do."""
    if record.had_ended:
        return None if record.shows_children else Step(Action.CHECK, now)
    if record.is_unknown or isinstance(record.cancel_error, NotSentError):
        return None
    if record.seen and record.seen.is_final:
        return _follow(record, record.seen, settings, now=now)
    if not record.cancels:
        return _first(record, settings, now=now)
    if record.check_error or (not settings.follows and (record.checks or record.is_left_out)):
        return None
    if not record.checks or (not record.cancel_error and record.checks <= len(RECHECK_AFTER)):
        return Step(Action.CHECK, now + (RECHECK_AFTER[record.checks - 1] if record.checks else 0.0))
    is_useless = record.cancel_error is not None and not record.cancel_error.retryable
    return Step(Action.CANCEL, now) if record.cancels < MAX_CANCELS and not is_useless else None


def _first(record: RunRecord, settings: CancelSettings, *, now: float) -> Step:
    """Decide about a run that has had no cancel of its own, and is not known to have ended."""
    part = record.bulk
    if part is not None and part.done and not (record.is_left_out or record.checks):
        return Step(Action.CHECK, now)
    # After the cancel a suspended run and one that executes look the same (measured). Where a bulk action was
    # tried first, a check before would be outdated.
    if settings.termination_timeout is not None and part is None and not record.is_checked_before:
        return Step(Action.CHECK_BEFORE, now)
    return Step(Action.CANCEL, now)


def _follow(record: RunRecord, seen: Seen, settings: CancelSettings, *, now: float) -> Step | None:
    """Check a run that has ended for what it has started, and until it is terminated, as is wanted."""
    if settings.include_descendants and not record.shows_children:
        return Step(Action.CHECK, now)  # only a query has shown it
    if not seen.is_canceled or seen.is_terminated:
        return None
    acknowledged_at, steps = record.acknowledged_at or now, list[Step]()
    if settings.include_descendants and now < max(acknowledged_at, record.found_at) + LOOKS_FOR:
        steps.append(Step(Action.CHECK_AGAIN, now + LOOK_INTERVAL))
    if (timeout := settings.termination_timeout) is not None:
        end = acknowledged_at + timeout
        last_check = end - min(LAST_CHECK_BEFORE, timeout / 10)
        if now < last_check:
            steps.append(Step(Action.CHECK_AGAIN, min(now + settings.poll_interval, last_check), end))
    return min(steps, key=lambda step: step.at, default=None)
