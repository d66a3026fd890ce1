"""Which request goes out next. Pure: no I/O, no threads; the time comes from the exchange's clock."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_trigger.api.deadline import Deadline
from airflow_provider_trigger.api.endpoints.runs import cancel_run, retrieve_run
from airflow_provider_trigger.api.errors import (
    AuthenticationError,
    NotFoundError,
    NotSentError,
    ResponseError,
    TriggerDevError,
)
from airflow_provider_trigger.api.exchange import Exchange, Steps, Wait
from airflow_provider_trigger.api.failures import shows_that_server_works
from airflow_provider_trigger.api.http import Call
from airflow_provider_trigger.api.retry import LONGEST_DOUBT
from airflow_provider_trigger.cancel import bulk
from airflow_provider_trigger.cancel.outcome import ActionFor, CancelResult, End, no_action, result_of
from airflow_provider_trigger.cancel.queue import Queue
from airflow_provider_trigger.cancel.record import Action, BulkPart, RunRecord, next_action
from airflow_provider_trigger.cancel.settings import CancelSettings

# The part of the time limit in which failed cancels are repeated; the rest is for checking whether one
# arrived.
_SHARE_FOR_CANCELS = 0.8
# How long a check before a cancel may hold the cancel up, in seconds; it only spares waiting later.
_CHECK_BEFORE_WITHIN = 6.0


@dataclass(slots=True, eq=False)
class Job:
    """
    A call, or a bulk action, that is being made.

    :param action: what it is
    :param subject: what it is for
    :param steps: what to do for it
    :param sent_at: when its last request was sent, None before the first
    """

    action: Action
    subject: RunRecord | BulkPart
    steps: Steps[Any]
    sent_at: float | None = None


_Item = Job | tuple[Action, RunRecord | BulkPart]


def _take(queue: Queue[_Item], now: float, before: float) -> _Item | None:
    """Take the most urgent item, without the cancels of runs that a bulk action may be canceling."""
    while isinstance(item := queue.take(now, before=before), tuple):
        action, subject = item
        if action is not Action.CANCEL or isinstance(subject, BulkPart):
            break
        if not bulk.leave_to_bulk_action(subject):
            break
    return item


class Schedule:
    """
    Decide what goes out next for many runs, and take in what comes back. Not safe to use in several threads.

    :param exchange: makes the steps of each call
    :param records: of the runs
    :param settings: how to cancel
    :ivar awaits_more: whether :meth:`add` may still be called, so that it has not ended
    """

    def __init__(self, exchange: Exchange, records: Sequence[RunRecord], settings: CancelSettings) -> None:
        now = exchange.monotonic()
        self.end: End | None = None
        self.rejection: AuthenticationError | None = None
        self.awaits_more = False
        self._exchange = exchange
        self._records = list(records)
        self._settings = settings
        self._deadline = Deadline.after(settings.time_limit, now=now)
        self._cancels_until = self._deadline.before(_SHARE_FOR_CANCELS, now=now)
        self._queue: Queue[_Item] = Queue()
        self._unfinished = len(records)
        self._bulk_parts = bulk.BulkParts()
        self._begin(records, now)

    def add(self, run_ids: Iterable[str]) -> None:
        """
        Add runs while others are being canceled; those that it has already count once.

        :param run_ids: exact run ids
        """
        known = {record.run_id for record in self._records}
        records = [RunRecord(run_id) for run_id in dict.fromkeys(run_ids) if run_id not in known]
        self._records += records
        self._unfinished += len(records)
        self._begin(records, self._exchange.monotonic())

    def _begin(self, records: Sequence[RunRecord], now: float) -> None:
        if len(self._records) <= self._settings.bulk_from or not self._bulk_parts.may_work:
            self._put_next(records, now)
        else:
            self._bulk_parts.add(records)
            self._begin_bulk_parts()

    def _begin_bulk_parts(self) -> None:
        for part in self._bulk_parts.begin():
            self._put(Action.BULK_CANCEL, part)

    def take(self) -> Job | float | None:
        """Return the next job; or the seconds until there is one, perhaps infinite; or None at the end."""
        now = self._exchange.monotonic()
        if self.end is None and not self._unfinished and not self.awaits_more:
            self.end = End.FINISHED
        if self.check_deadline() is not None:
            return None
        # A bulk action is checked first: checks of its runs could use up the rate limit.
        before = Action.CHECK if self._bulk_parts.are_canceling else math.inf
        item = _take(self._queue, now, before)
        if item is None:
            return min(self._queue.next_at(), self._deadline.at) - now
        return item if isinstance(item, Job) else Job(*item, self._steps(*item))

    def check_deadline(self) -> End | None:
        """Return why it has ended, None if it has not."""
        if self.end is None and not self._deadline.remaining(self._exchange.monotonic()):
            self.end = End.TIME_LIMIT
        return self.end

    def _steps(self, action: Action, subject: RunRecord | BulkPart) -> Steps[Any]:
        """Make the steps of a job; an id that cannot be sent shows at the first of them."""
        if isinstance(subject, BulkPart):
            name = self._settings.bulk_action_name
            return (yield from bulk.bulk_steps(self._exchange, subject, name=name, deadline=self._deadline))
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
        return Deadline(min(self._deadline.at, until))

    def _patience(self, action: Action, record: RunRecord) -> float | None:
        """Return how long a call is repeated, in seconds; None for as long as any call."""
        if action is Action.CHECK_TERMINATION or (action is not Action.CANCEL and not record.cancels):
            # It is repeated anyway; or it only spares waiting later, before the cancel; or it follows a bulk
            # action, and the run gets a cancel of its own.
            return 0.0
        until = self._cancels_until if action is Action.CANCEL else self._deadline
        return None if math.isinf(until.at) else until.remaining(self._exchange.monotonic())

    def sent(self, job: Job) -> None:
        """
        Take in that a request of a job goes out now.

        :param job: from :meth:`take`
        """
        if job.action is Action.CANCEL and job.sent_at is None and isinstance(job.subject, RunRecord):
            job.subject.note_sent()
        if isinstance(job.subject, BulkPart):
            job.subject.is_sent = True
            self._begin_bulk_parts()
        job.sent_at = self._exchange.monotonic()

    def park(self, job: Job, wait: Wait) -> None:
        """
        Put a job aside for some time.

        :param job: from :meth:`take`
        :param wait: how long, and why
        """
        now = self._exchange.monotonic()
        if isinstance(job.subject, RunRecord):
            job.subject.last_error = wait.error
        elif job.subject.is_stalled:
            self._put_next(job.subject.take_waiting(), now)
        at = now + wait.seconds
        if isinstance(wait.error, AuthenticationError):
            # Its next try shows whether the key is rejected. Nothing else is sent meanwhile.
            self._queue.hold_for(job, urgency=job.action, at=at, until=at + LONGEST_DOUBT)
            return
        if self._queue.is_held_for(job):
            self._queue.release()
        self._queue.put(job, urgency=job.action, at=at)

    def finish(self, job: Job, result: Any = None, error: TriggerDevError | None = None) -> None:
        """
        Take in how a job ended.

        :param job: from :meth:`take`
        :param result: of the call
        :param error: why it failed, None if it did not
        """
        now = self._exchange.monotonic()
        if shows_that_server_works(error) or self._queue.is_held_for(job):
            self._queue.release()
        if isinstance(error, AuthenticationError) and self._exchange.key_is_rejected and self.end is None:
            self.end, self.rejection = End.KEY_REJECTED, error
        if isinstance(error, NotSentError) and not self._deadline.remaining(now):
            return
        if isinstance(job.subject, BulkPart):
            self._finish_bulk(job.subject, error, now)
            return
        record = job.subject
        is_new = record.task_identifier is None  # no check has shown it
        if job.action is Action.CANCEL and isinstance(error, NotFoundError) and is_new:
            record.is_unknown = True
        elif job.action is Action.CANCEL:
            record.note_cancel(error, now=now)
        elif job.action is Action.CHECK_BEFORE:
            record.note_check_before(result, sent_at=job.sent_at or now)
        elif error is None:
            record.note_check(result, now=now)
        elif job.action is not Action.CHECK_TERMINATION:
            record.note_failed_check(error)
        self._put_next([record], now)

    def _finish_bulk(self, part: BulkPart, error: TriggerDevError | None, now: float) -> None:
        """Go on with the runs of a bulk action one by one."""
        part.is_over = True
        if part.id is not None:
            self._begin_bulk_parts()
            # It leaves out what was triggered last, which is named last as a rule.
            self._put_next(list(reversed(part.take_waiting())), now)
            return
        if isinstance(error, ResponseError) and error.status < 500:
            part.is_sent = False  # the server rejected it
        for one in self._bulk_parts.fail(part):
            for record in one.records:
                record.bulk = one if one.is_sent else None
            self._put_next(one.take_waiting(), now)

    def _put_next(self, records: Sequence[RunRecord], now: float) -> None:
        for record in records:
            following = next_action(record, self._settings, now=now)
            if following is None:
                self._unfinished -= 1
            else:
                self._put(following[0], record, at=following[1])

    def _put(self, action: Action, subject: RunRecord | BulkPart, *, at: float = -math.inf) -> None:
        self._queue.put((action, subject), urgency=action, at=at)

    def stop(self) -> None:
        """End early: nothing new is sent."""
        self.end = self.end or End.STOPPED

    def results(self, action_for: ActionFor = no_action) -> list[CancelResult]:
        """
        Return what is known of each run.

        :param action_for: adds to the error of a failed run what to do
        """
        breaker = self._exchange.breaker
        end, last_error = self.end or End.STOPPED, breaker.last_error if breaker.is_open else None
        return [result_of(record, end, last_error, action_for=action_for) for record in self._records]

    def progress(self) -> str:
        """Return how far it is, and the last error while the server does not respond."""
        count, last_error = len(self._records), self._exchange.breaker.last_error
        requested = sum(record.is_requested for record in self._records)
        finished = count - self._unfinished
        text = f"{requested} of {count} cancel requests sent, {finished} run{'s' * (finished != 1)} finished"
        return f"{text}; last error: {last_error}" if last_error else text
