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
from airflow_provider_trigger.api.models import ChildRun, Run
from airflow_provider_trigger.api.retry import LONGEST_DOUBT, shows_that_server_works
from airflow_provider_trigger.cancel import bulk
from airflow_provider_trigger.cancel.confirmation import Confirmation, Confirmations
from airflow_provider_trigger.cancel.jobs import Calls, Job, Jobs, Subject
from airflow_provider_trigger.cancel.outcome import ActionFor, CancelResult, End, no_action, result_of
from airflow_provider_trigger.cancel.record import Action, BulkPart, RunRecord, next_action
from airflow_provider_trigger.cancel.search import Look, Search, record_of
from airflow_provider_trigger.cancel.settings import CancelSettings
from airflow_provider_trigger.wording import counted


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


class Schedule:
    """Decide what goes out next for many runs, and take in what comes back. Not safe in several threads."""

    def __init__(self, exchange: Exchange, settings: CancelSettings) -> None:
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
        self._confirmations = Confirmations(partial(self._put, Action.CONFIRM))
        self.search = Search(partial(self._put, Action.LOOK)) if settings.include_descendants else None
        # After a 401, nothing is sent but its next try, which shows whether the key is rejected.
        self._doubtful: Job | None = None
        self._doubtful_until = math.inf

    def add(self, run_ids: Iterable[str]) -> None:
        """Add runs, also while others are being canceled; those that it has already count once."""
        now, known = self._exchange.monotonic(), {record.run_id for record in self._records}
        new = [run_id for run_id in dict.fromkeys(run_ids) if run_id not in known]
        if self.search is not None:
            self.search.add(new, now=now)
        self._begin([RunRecord(run_id) for run_id in new], now)

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
            self._put(Action.BULK_CANCEL, part)

    def take(self) -> Job | float | None:
        """Return the next job; or the seconds until there is one, perhaps infinite; or None at the end."""
        now = self._exchange.monotonic()
        awaits_more = self.awaits_more or (self.search is not None and not self.search.is_over)
        if self.end is None and not self._unfinished and not awaits_more:
            self.end = End.FINISHED
        if self.check_deadline() is not None:
            return None
        if now >= self._doubtful_until:
            self._trust_key()
        job = self._take_job(now)
        if job is None:
            return min(self._jobs.next_at(), self._doubtful_until, self._calls.deadline.at) - now
        if job is self._doubtful:
            self._doubtful_until = now + LONGEST_DOUBT
        if job.sent_at is None:
            self._begin_job(job, now)
        return job

    def _take_job(self, now: float) -> Job | None:
        is_late, before = now >= self._calls.singly_from, math.inf
        if self._doubtful is not None:
            before = Action.BULK_CANCEL
        elif self._bulk_parts.are_canceling and not is_late:
            before = Action.CHECK  # checks could use up the rate limit of those of a bulk action
        while (job := self._jobs.take(now, before=before)) is not None:
            record = job.subject
            if not isinstance(record, RunRecord) or record.cancels or job.sent_at is not None:
                break
            if is_late and job.action in (Action.CHECK_LEFT_OUT, Action.CHECK):
                job.action = Action.CANCEL  # whatever a bulk action does
            is_overtaken = record.is_requested and not record.checks  # its bulk action has begun after all
            if is_late or not is_overtaken or job.action is not Action.CANCEL:
                break
            self._put_next(self._confirmations.add([record], now) if self._confirms else [record], now)
        return job

    def _begin_job(self, job: Job, now: float) -> None:
        if isinstance(job.subject, Confirmation):
            self._confirmations.begin(job.subject, now)
        elif isinstance(job.subject, Look) and job.subject.run_id is None and self.search is not None:
            checked = self.search.checked  # what only a query has confirmed has not shown its children
            open_runs = (
                one.run_id
                for one in self._records
                if one.may_have_children or (one.checks and one.run_id not in checked)
            )
            is_early = any(record.awaits_cancel for record in self._records)
            self.search.begin(job.subject, may_have_children=open_runs, is_early=is_early, now=now)
        job.steps = self._calls.steps(job.action, job.subject)

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
        if job is self._doubtful:
            self._trust_key()
        if isinstance(wait.error, AuthenticationError) and self._doubtful is None:
            self._doubtful = job
        self._jobs.put(job, at=now + wait.seconds, is_first=job is self._doubtful)

    def finish(self, job: Job, result: Any = None, error: TriggerDevError | None = None) -> None:
        """Take in how a job ended: with the result of its call, or an error."""
        now = self._exchange.monotonic()
        if shows_that_server_works(error) or job is self._doubtful:
            self._trust_key()
        if isinstance(error, AuthenticationError) and self._exchange.key_is_rejected and self.end is None:
            self.end, self.rejection = End.KEY_REJECTED, error
        if isinstance(error, NotSentError) and not self._calls.deadline.remaining(now):
            return
        if isinstance(job.subject, BulkPart):
            self._finish_bulk(job.subject, error, now)
        elif isinstance(job.subject, Confirmation):
            if self.search is not None and self.search.query_error is not None:
                result = ()  # a check of each shows its children, too
            self._put_next(self._confirmations.finish(job.subject, result, error, now=now), now)
        elif isinstance(job.subject, Look):
            if self.search is not None:
                self._add_children(self.search.finish(job.subject, result, error, now=now), now)
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
            if part.has_progress and self._confirms:
                left = self._confirmations.add(left, now)
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
                self._put(following[0], record, following[1])

    def _put(self, action: Action, subject: Subject, at: float = -math.inf) -> None:
        self._jobs.put(Job(action, subject), at=at)

    def _add_children(self, children: Iterable[ChildRun], now: float) -> None:
        self._begin([record_of(child, now=now) for child in children], now)

    def _trust_key(self) -> None:
        self._doubtful, self._doubtful_until = None, math.inf

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
        count, requested = len(self._records), sum(record.is_requested for record in self._records)
        finished = counted(count - self._unfinished, "run")
        text, last_error = f"{requested} of {count} cancel requests sent", self._exchange.breaker.last_error
        return f"{text}, {finished} finished" + (f"; last error: {last_error}" if last_error else "")
