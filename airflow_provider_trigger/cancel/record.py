"""What is known of each run that is being canceled, and which request comes next for it. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from sys import intern
from typing import NamedTuple

from airflow_provider_trigger.api.bulk_actions import BulkAction
from airflow_provider_trigger.api.errors import NotSentError, TriggerDevError
from airflow_provider_trigger.api.models import Run
from airflow_provider_trigger.cancel.settings import CancelSettings

RECHECK_AFTER = (0.5, 1.0, 2.0, 4.0)
"""Pauses before checking again, in seconds: a check just after the cancel may show an outdated status."""

MAX_CANCELS = 2
"""A run that is still alive after all checks gets one more cancel."""

FRESH_FOR = 3.0
"""How old a check may be when the cancel is acknowledged, in seconds, to show what the cancel found."""

LAST_CHECK_BEFORE = 1.0
"""
How long before the end of a wait for termination its last check is sent, in seconds; less if it is short.
"""


class Action(IntEnum):
    """What a run needs next, the most urgent first."""

    BULK_CANCEL = 0
    CONFIRM = 1  # by a query that many runs are canceled: one request, which can spare many cancels
    CANCEL = 2
    LOOK = 3
    """Look for descendants, which are to be canceled, too."""
    CHECK_BEFORE = 4
    CHECK_LEFT_OUT = 5
    """Check a run that a bulk action may have left out: it is likely to need a cancel of its own."""
    CHECK = 6
    CHECK_TERMINATION = 7


class Seen(NamedTuple):
    """What the last check showed."""

    status: str
    is_final: bool
    is_canceled: bool
    is_terminated: bool


class Before(NamedTuple):
    """A check before the cancel that showed the run without a worker."""

    checked_at: float
    started_at: datetime | None
    attempt_count: int | None
    """None where it was not shown."""


@dataclass(slots=True, eq=False)
class BulkPart:
    """One bulk action, and the runs it is for."""

    records: Sequence[RunRecord]
    is_sent: bool = False
    """Whether it may have reached the server."""
    id: str | None = None
    action: BulkAction | None = None
    is_stalled: bool = False
    """Whether it has made no progress for some time, so that its runs are canceled alone."""
    is_over: bool = False
    """Whether it is no longer checked; it may continue."""
    seen_canceled: int = 0
    """How many runs a query has shown as CANCELED while its counts stood still."""
    is_queried: bool = True
    """False once a query has failed: it is waited for patiently, as its counts say little."""
    progressed_at: float = -math.inf
    """When any bulk action has made progress, on the monotonic clock: the server may work on others first."""
    siblings: Sequence[BulkPart] = ()
    """All bulk actions that were begun."""
    waiting: list[RunRecord] = field(default_factory=list)
    """Runs that get no request of their own before it is over or stalled."""

    def __post_init__(self) -> None:
        self.waiting = list(self.records)

    def __str__(self) -> str:
        if self.id is None:
            return "a bulk action that was not answered"
        count = max(min(self.action.success, len(self.records)), self.seen_canceled) if self.action else 0
        return f"bulk action {self.id}" + (
            f" ({count} of {len(self.records)} runs canceled)" if count > 0 else ""
        )

    @property
    def done(self) -> int:
        """How many runs it has handled at least, as far as its counts can be true."""
        return max(min(self.action.done, len(self.records)), self.seen_canceled) if self.action else 0

    @property
    def has_progress(self) -> bool:
        """Whether it has handled any run, so that it may have canceled each of them."""
        return self.done > 0

    @property
    def has_done_nothing(self) -> bool:
        """Whether it has handled no run for so long that it seems to do nothing."""
        return self.is_stalled and not self.has_progress

    @property
    def is_needed(self) -> bool:
        """Whether any run may still be canceled by it alone."""
        return any(not record.cancels and not record.cancel_error for record in self.records)

    def take_waiting(self) -> list[RunRecord]:
        """Return the runs that wait for it, which no longer wait."""
        waiting, self.waiting = self.waiting, []
        return waiting


@dataclass(slots=True, eq=False)
class RunRecord:
    """One run: what was sent, what came back, what was seen."""

    run_id: str
    parent_run_id: str | None = None
    """Of a descendant of a given run: the run that has started it."""
    before: Before | None = None
    """What a check before the cancel showed, where it proves something."""
    is_checked_before: bool = False
    """Whether that check was made, or failed."""
    bulk: BulkPart | None = None
    cancels: int = 0
    """How many cancels of this run alone were sent."""
    acknowledged_at: float | None = None
    """When a cancel was acknowledged last, or seen to have arrived, on the monotonic clock."""
    cancel_error: TriggerDevError | None = None
    checks: int = 0
    """How many since the last cancel, to which :attr:`check_error` and :attr:`seen` belong as well."""
    check_error: TriggerDevError | None = None
    seen: Seen | None = None
    task_identifier: str | None = None
    """None if no check has shown it."""
    last_error: TriggerDevError | None = None
    """Of the request that is being repeated."""
    is_unknown: bool = False
    """Whether this key's environment has no such run."""

    @property
    def is_requested(self) -> bool:
        """Whether the cancel may have reached the server."""
        return self.cancels > 0 or (self.bulk is not None and self.bulk.has_progress)

    @property
    def is_accepted(self) -> bool:
        """Whether a cancel of this run alone was accepted."""
        return self.cancels > 0 and self.cancel_error is None and self.acknowledged_at is not None

    @property
    def awaits_cancel(self) -> bool:
        """Whether its cancel has neither arrived nor failed, as far as is known."""
        return self.acknowledged_at is None and self.cancel_error is None and not self.is_unknown

    @property
    def may_have_children(self) -> bool:
        """Whether it may have started other runs since its last check."""
        return self.checks > 0 and not (self.seen and self.seen.is_terminated) and not self.is_unknown

    def note_check_before(self, run: Run | None, *, sent_at: float) -> None:
        """Take in a check before the cancel, None if it failed."""
        self.is_checked_before = True
        if run is not None and run.is_without_worker:
            self.before = Before(sent_at, run.started_at, run.attempt_count)

    def note_sent(self) -> None:
        """Take in that a cancel goes out: what was checked before it says nothing of the time after it."""
        self.cancels += 1
        self.checks = 0
        self.seen = self.cancel_error = self.check_error = None

    def note_cancel(self, error: TriggerDevError | None, *, now: float) -> None:
        """Take in how a cancel ended, None if it was acknowledged."""
        self.cancel_error, self.last_error = error, None
        if error is None:
            self.acknowledged_at = now
        if self.before and (error or now - self.before.checked_at > FRESH_FOR):
            self.before = None

    def note_check(self, run: Run, *, now: float) -> None:
        """Take in a check after the cancel."""
        self.checks += 1
        self.check_error = self.last_error = None
        if self.acknowledged_at is None:
            self.acknowledged_at = now  # a bulk action's cancel, or one whose answer was lost
        self.task_identifier = intern(run.task_identifier)
        if self.seen and self.seen.is_final and not run.is_final:
            return  # an outdated answer: no run leaves a final status
        self.seen = Seen(
            intern(run.status),
            run.is_final,
            run.is_canceled,
            run.is_terminated or self._had_no_worker(run),
        )

    def note_failed_check(self, error: TriggerDevError) -> None:
        """Take in a check that failed; it takes nothing back that was seen before."""
        self.checks += 1
        self.check_error = error

    def _had_no_worker(self, run: Run) -> bool:
        """Whether the cancel found the run without a worker: no worker has taken it up since the check."""
        before = self.before
        if before is None or not run.is_canceled:
            return False
        same_attempt = before.attempt_count in (None, run.attempt_count)
        return same_attempt and before.started_at == run.started_at


def next_action(record: RunRecord, settings: CancelSettings, *, now: float) -> tuple[Action, float] | None:
    """Return what a run needs next, and the earliest time for it; None when nothing is left to do."""
    if record.is_unknown or isinstance(record.cancel_error, NotSentError):
        return None
    if not record.is_requested:
        # After the cancel a suspended run and one that executes look the same (measured). Where a bulk action
        # was tried first, a check before would be outdated.
        waits = settings.termination_timeout is not None
        is_checked_first = waits and not record.is_checked_before and record.bulk is None
        return (Action.CHECK_BEFORE if is_checked_first else Action.CANCEL), now
    if not record.checks:
        part = record.bulk
        may_be_left_out = not record.cancels and part is not None and part.done < len(part.records)
        return (Action.CHECK_LEFT_OUT if may_be_left_out else Action.CHECK), now
    seen = record.seen
    if seen and seen.is_final:
        return _wait_for_termination(record, seen, settings, now=now)
    if record.cancels and (record.check_error or not settings.follows):
        return None
    return _cancel_again_or_recheck(record, now=now)


def _wait_for_termination(
    record: RunRecord, seen: Seen, settings: CancelSettings, *, now: float
) -> tuple[Action, float] | None:
    timeout = settings.termination_timeout
    if timeout is None or not seen.is_canceled or seen.is_terminated:
        return None
    last_check = (record.acknowledged_at or now) + timeout
    last_check -= min(LAST_CHECK_BEFORE, timeout / 10)
    if last_check <= now:
        return None
    return Action.CHECK_TERMINATION, min(now + settings.poll_interval, last_check)


def _cancel_again_or_recheck(record: RunRecord, *, now: float) -> tuple[Action, float] | None:
    """Decide about a run that was seen alive, or that could not be checked after a bulk action."""
    may_cancel = record.cancels < MAX_CANCELS
    if not record.cancels:
        return Action.CANCEL, now  # a bulk action may have left it out
    if record.cancel_error:
        return (Action.CANCEL, now) if may_cancel and record.cancel_error.retryable else None
    if record.checks <= len(RECHECK_AFTER):
        return Action.CHECK, now + RECHECK_AFTER[record.checks - 1]
    return (Action.CANCEL, now) if may_cancel else None
