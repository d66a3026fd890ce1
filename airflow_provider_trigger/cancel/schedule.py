"""Which request goes out next. Pure: no I/O, no threads; the time comes from the exchange's clock."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from airflow_provider_trigger.api.errors import (
    AuthenticationError,
    NotFoundError,
    NotSentError,
    ResponseError,
    TriggerDevError,
)
from airflow_provider_trigger.api.exchange import Exchange, Wait
from airflow_provider_trigger.api.failures import shows_that_server_works
from airflow_provider_trigger.api.models.related_runs import ChildRun
from airflow_provider_trigger.api.models.runs import Run
from airflow_provider_trigger.api.retry import LONGEST_DOUBT
from airflow_provider_trigger.cancel import bulk
from airflow_provider_trigger.cancel.confirmation import Confirmation, Confirmations
from airflow_provider_trigger.cancel.jobs import Calls, Job, Jobs
from airflow_provider_trigger.cancel.outcome import ActionFor, CancelResult, End, no_action, result_of
from airflow_provider_trigger.cancel.record import Action, BulkPart, RunRecord, next_action
from airflow_provider_trigger.cancel.search import Look, Search, record_of
from airflow_provider_trigger.cancel.settings import CancelSettings
from airflow_provider_trigger.wording import counted


def _begin_look(search: Search, look: Look, records: Sequence[RunRecord], now: float) -> None:
    open_runs = [record.run_id for record in records if record.may_have_children]
    is_early = any(record.awaits_cancel for record in records)
    search.begin(look, may_have_children=open_runs, is_early=is_early, now=now)


def _note_call(job: Job, record: RunRecord, result: Any, error: TriggerDevError | None, now: float) -> None:
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


def _progress(records: Sequence[RunRecord], unfinished: int) -> str:
    count, requested = len(records), sum(record.is_requested for record in records)
    finished = count - unfinished
    return f"{requested} of {count} cancel requests sent, {counted(finished, 'run')} finished"


class Schedule:
    """Decide what goes out next for many runs, and take in what comes back. Not safe in several threads."""

    def __init__(self, exchange: Exchange, records: Sequence[RunRecord], settings: CancelSettings) -> None:
        now = exchange.monotonic()
        self.end: End | None = None
        self.rejection: AuthenticationError | None = None
        self.awaits_more = False  # whether :meth:`add` may still be called, so that it has not ended
        self._exchange = exchange
        self._records: list[RunRecord] = []
        self._settings = settings
        self._calls = Calls(exchange, settings)
        self._jobs = Jobs()
        self._unfinished = 0
        self._bulk_parts = bulk.BulkParts()
        self._confirmations = Confirmations(partial(self._jobs.put_next, Action.CONFIRM))
        self.search = (
            Search(partial(self._jobs.put_next, Action.LOOK)) if settings.include_descendants else None
        )
        self._add(records, now)

    def add(self, run_ids: Iterable[str]) -> None:
        """Add runs while others are being canceled; those that it has already count once."""
        known = {record.run_id for record in self._records}
        records = [RunRecord(run_id) for run_id in dict.fromkeys(run_ids) if run_id not in known]
        self._add(records, self._exchange.monotonic())

    def _add(self, records: Sequence[RunRecord], now: float) -> None:
        if self.search is not None:
            self.search.add([record.run_id for record in records], now=now)
        self._begin(records, now)

    def _add_children(self, children: Iterable[ChildRun], now: float) -> None:
        self._begin([record_of(child, now=now) for child in children], now)

    def _begin(self, records: Sequence[RunRecord], now: float) -> None:
        self._records += records
        self._unfinished += len(records)
        is_few = len(self._records) <= self._settings.bulk_from or len(records) < bulk.LEAST
        if is_few or not self._bulk_parts.may_work:
            self._put_next(records, now)
        else:
            self._bulk_parts.add(records)
            self._begin_bulk_parts()

    def _begin_bulk_parts(self) -> None:
        for part in self._bulk_parts.begin():
            self._jobs.put_next(Action.BULK_CANCEL, part)

    def take(self) -> Job | float | None:
        """Return the next job; or the seconds until there is one, perhaps infinite; or None at the end."""
        now = self._exchange.monotonic()
        awaits_more = self.awaits_more or (self.search is not None and not self.search.is_over)
        if self.end is None and not self._unfinished and not awaits_more:
            self.end = End.FINISHED
        if self.check_deadline() is not None:
            return None
        if not self._jobs.is_late and now >= self._calls.singly_from:
            self._jobs.hurry(self._records)
        # A bulk action is checked first: checks of its runs could use up the rate limit.
        before = Action.CHECK if self._bulk_parts.are_canceling else math.inf
        item = self._jobs.take_next(now, before=before)
        if item is None:
            return min(self._jobs.next_at(), self._calls.deadline.at) - now
        if isinstance(item, Job):
            return item
        action, subject = item
        if isinstance(subject, Look) and self.search is not None:
            _begin_look(self.search, subject, self._records, now)
        elif isinstance(subject, Confirmation):
            self._confirmations.begin(subject, now)
        return Job(action, subject, self._calls.steps(action, subject))

    def check_deadline(self) -> End | None:
        """Return why it has ended, None if it has not."""
        if self.end is None and not self._calls.deadline.remaining(self._exchange.monotonic()):
            self.end = End.TIME_LIMIT
        return self.end

    def sent(self, job: Job) -> None:
        """Take in that a request of a job goes out now."""
        if job.action is Action.CANCEL and job.sent_at is None and isinstance(job.subject, RunRecord):
            job.subject.note_sent()
        if isinstance(job.subject, BulkPart):
            job.subject.is_sent = True
            self._begin_bulk_parts()
        job.sent_at = self._exchange.monotonic()

    def park(self, job: Job, wait: Wait) -> None:
        """Put a job aside for some time."""
        now = self._exchange.monotonic()
        if isinstance(job.subject, RunRecord):
            job.subject.last_error = wait.error
        elif isinstance(job.subject, BulkPart) and job.subject.is_stalled:
            self._put_next(job.subject.take_waiting(), now)
        at = now + wait.seconds
        if isinstance(wait.error, AuthenticationError):
            # Its next try shows whether the key is rejected. Nothing else is sent meanwhile.
            self._jobs.hold_for(job, urgency=job.action, at=at, until=at + LONGEST_DOUBT)
            return
        if self._jobs.is_held_for(job):
            self._jobs.release()
        self._jobs.put(job, urgency=job.action, at=at)

    def finish(self, job: Job, result: Any = None, error: TriggerDevError | None = None) -> None:
        """Take in how a job ended: with the result of its call, or an error."""
        now = self._exchange.monotonic()
        if shows_that_server_works(error) or self._jobs.is_held_for(job):
            self._jobs.release()
        if isinstance(error, AuthenticationError) and self._exchange.key_is_rejected and self.end is None:
            self.end, self.rejection = End.KEY_REJECTED, error
        if isinstance(error, NotSentError) and not self._calls.deadline.remaining(now):
            return
        if isinstance(job.subject, BulkPart):
            self._finish_bulk(job.subject, error, now)
        elif isinstance(job.subject, Confirmation):
            done = self._confirmations.finish(job.subject, result, error, now=now, notes_ends=self._confirms)
            self._put_next(done, now)
        elif isinstance(job.subject, Look):
            if self.search is not None:
                self._add_children(self.search.finish(job.subject, error, now=now), now)
        else:
            self._finish_call(job, job.subject, result, error, now)

    def _finish_call(
        self, job: Job, record: RunRecord, result: Any, error: TriggerDevError | None, now: float
    ) -> None:
        _note_call(job, record, result, error, now)
        left = [record]
        if job.action is Action.CANCEL and record.cancels == 1 and self._confirms:
            if not self._settings.follows:
                self._unfinished -= 1
                return
            left = left if error else self._confirmations.add(left, now)
        self._put_next(left, now)
        if self.search is not None and isinstance(result, Run):
            self._add_children(self.search.take_run(result, now=now), now)

    def _finish_bulk(self, part: BulkPart, error: TriggerDevError | None, now: float) -> None:
        """Continue with the runs of a bulk action one by one."""
        part.is_over = True
        if part.id is not None:
            self._begin_bulk_parts()
            left = part.take_waiting()
            if self._settings.follows:
                left.reverse()  # it leaves out what was triggered last, which is named last as a rule
            unsent = part.take_unsent() if part.has_progress else []
            if unsent or (part.has_progress and self._confirms):
                left = self._confirmations.add([*left, *unsent], now)
            self._put_next(left, now)
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
                self._jobs.put_next(following[0], record, following[1])

    @property
    def _confirms(self) -> bool:
        return len(self._records) > self._settings.confirm_from

    def stop(self) -> None:
        """End early: nothing new is sent."""
        self.end = self.end or End.STOPPED

    def results(self, action_for: ActionFor = no_action) -> list[CancelResult]:
        """Return what is known of each run, of descendants last."""
        breaker = self._exchange.breaker
        end, last_error = self.end or End.STOPPED, breaker.last_error if breaker.is_open else None
        records = sorted(self._records, key=lambda record: record.parent_run_id is not None)
        return [result_of(record, end, last_error, action_for=action_for) for record in records]

    @property
    def accepted(self) -> set[str]:
        """The runs of which a cancel of their own was accepted."""
        return {record.run_id for record in self._records if record.is_accepted}

    @property
    def bulk_ids(self) -> list[str]:
        """The bulk actions that were accepted."""
        return self._bulk_parts.accepted_ids

    def progress(self) -> str:
        """Return how far it is, and the last error while the server does not respond."""
        text, last_error = _progress(self._records, self._unfinished), self._exchange.breaker.last_error
        return f"{text}; last error: {last_error}" if last_error else text
