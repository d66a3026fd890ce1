"""How to cancel, what is known of each run that is being canceled, and its next request. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, ClassVar, NamedTuple

from airflow_provider_trigger import defaults
from airflow_provider_trigger.api.errors import NotFoundError, NotSentError, TriggerDevError
from airflow_provider_trigger.api.http import Call
from airflow_provider_trigger.api.models import Run
from airflow_provider_trigger.api.runs import cancel_run, retrieve_run

CHECKS_AFTER = (0.0, 0.5, 1.0, 2.0, 4.0)
"""Pauses before the checks of a run, in seconds: one just after the cancel may show an outdated status."""

MAX_CANCELS = 2
"""A run that is still alive after all checks gets one more cancel."""

LOOK_INTERVAL, LOOKS_FOR = 1.2, 2.4
"""How often and how long a canceled run is checked for what it still starts, in seconds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CancelSettings:
    """How to cancel runs; times are in seconds."""

    max_concurrency: int = defaults.MAX_CONCURRENCY
    time_limit: float | None = None
    """For all of it; None for as long as it needs."""
    termination_timeout: float | None = None
    """How long to wait until a canceled run is terminated, after its cancel; None to not wait."""
    poll_interval: float = defaults.POLL_INTERVAL
    """Between two status checks of a run while waiting."""
    bulk_from: int = defaults.BULK_FROM
    """Of more runs than so many, bulk actions cancel most; not with descendants, which only checks show."""
    follows: bool = True
    """Whether canceled runs are checked until it is certain what became of them; else each of a few once, and
    of many none: each gets a cancel of its own besides the bulk action."""
    include_descendants: bool = False


class Action(IntEnum):
    """What is sent, the most urgent first."""

    FOR_MANY = 0
    """See :class:`ForMany`."""
    CANCEL = 1
    CHECK = 2
    CHECK_AGAIN = 3
    """Of a run that has ended, for its termination, and for what it still starts."""


@dataclass(slots=True, eq=False)
class ForMany:
    """A request for many runs: a bulk action, or a query of what these have done."""

    call: Callable[[], Call[Any]]
    run_ids: Sequence[str]
    ends_at: float = math.inf  # until when it may take
    is_sent: bool = False  # whether it may have reached the server, and was not rejected
    id: str | None = None  # of a bulk action; None until the server has accepted it
    action: ClassVar[Action] = Action.FOR_MANY

    def note_sent(self, _: float) -> None:
        """Take in that it goes out."""
        self.is_sent = True


@dataclass(slots=True, eq=False)
class RunRecord:
    """One run: what was sent, what came back, what was seen. Times are on the monotonic clock."""

    run_id: str
    parent_run_id: str | None = None  # of a descendant of a given run: the run that has started it
    had_ended: bool = False
    """Of a descendant: whether it had when it was found; it is only checked for what it has started."""
    action: Action = Action.CANCEL  # what is sent next, or is under way
    ends_at: float = math.inf  # until when that may take
    sent_at: float | None = None  # when that was sent first; None before
    failures: int = 0  # of that, in a row, of one kind
    last_error: TriggerDevError | None = None  # of that, while it is repeated
    bulk: ForMany | None = None
    cancels: int = 0  # how many cancels of this run alone were sent; one that was repeated counts once
    acknowledged_at: float | None = None  # when a cancel was acknowledged last, or seen to have arrived
    cancel_error: TriggerDevError | None = None
    checks: int = 0
    """How many since the last cancel, to which :attr:`check_error` and :attr:`seen` belong as well."""
    check_error: TriggerDevError | None = None
    seen: Run | None = None  # what the last check showed
    found_at: float = -math.inf  # when a run was found last that it has started
    task_identifier: str | None = None  # None if no check has shown it
    is_unknown: bool = False  # whether this key's environment has no such run

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

    def call(self) -> Call[Any]:
        """Return its next request."""
        return cancel_run(self.run_id) if self.action is Action.CANCEL else retrieve_run(self.run_id)

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
            if isinstance(error, NotFoundError) and self.task_identifier is None:
                self.is_unknown = True
                return
            self.cancel_error = error
            self.acknowledged_at = self.acknowledged_at if error else now
        elif error is None:
            self.note_check(result, now=now)
        elif self.action is Action.CHECK:
            self.checks += 1
            self.check_error = error

    def note_check(self, run: Run, *, now: float) -> None:
        """Take in a check after the cancel, or what a query shows."""
        self.checks += 1
        self.check_error = None
        if self.acknowledged_at is None:
            self.acknowledged_at = now  # a bulk action's cancel, or one whose answer was lost
        self.task_identifier = run.task_identifier
        if not (self.seen and self.seen.is_final and not run.is_final):  # no run leaves a final status
            self.seen = run.without_contents()


class Step(NamedTuple):
    """A request, the earliest time for it, and until when it may take."""

    action: Action
    at: float
    ends_at: float = math.inf


def next_step(record: RunRecord, settings: CancelSettings, *, now: float) -> Step | None:
    """Return what a run needs next; None when nothing is left to do."""
    if record.had_ended:
        return None if record.checks else Step(Action.CHECK, now)
    if record.is_unknown or isinstance(record.cancel_error, NotSentError):
        return None
    if record.seen and record.seen.is_final:
        return _follow(record, record.seen, settings, now=now)
    if not record.cancels:
        return Step(Action.CANCEL, now)
    if record.check_error or (not settings.follows and (record.checks or record.bulk)):
        return None
    most = 1 if record.cancel_error else len(CHECKS_AFTER)
    if record.checks < most:
        return Step(Action.CHECK, now + CHECKS_AFTER[record.checks])
    is_useless = record.cancel_error is not None and not record.cancel_error.retryable
    return Step(Action.CANCEL, now) if record.cancels < MAX_CANCELS and not is_useless else None


def _follow(record: RunRecord, seen: Run, settings: CancelSettings, *, now: float) -> Step | None:
    """Check a run that has ended for what it has started, and until it is terminated, as is wanted."""
    if not seen.is_canceled or seen.is_terminated:
        return None
    acknowledged_at, steps = record.acknowledged_at or now, list[Step]()
    if settings.include_descendants and now < max(acknowledged_at, record.found_at) + LOOKS_FOR:
        steps.append(Step(Action.CHECK_AGAIN, now + LOOK_INTERVAL))
    if (timeout := settings.termination_timeout) is not None:
        end = acknowledged_at + timeout
        last_check = end - min(1.0, timeout / 10)  # it takes some time
        if now < last_check:
            steps.append(Step(Action.CHECK_AGAIN, min(now + settings.poll_interval, last_check), end))
    return min(steps, key=lambda step: step.at, default=None)
