"""
Cancel many runs in rounds: send what is due, take in the answers, and pause until more is due.

All is decided in the calling thread. Each request is sent once; what fails is due again later, so that it
holds up no other run.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import math
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from airflow_provider_trigger.api.errors import (
    AuthenticationError,
    InvalidIdError,
    NotSentError,
    TriggerDevError,
)
from airflow_provider_trigger.api.limits import PROBE_INTERVAL, Deadline
from airflow_provider_trigger.api.retry import pause_after
from airflow_provider_trigger.cancel import bulk
from airflow_provider_trigger.cancel.crew import Crew
from airflow_provider_trigger.cancel.outcome import End
from airflow_provider_trigger.cancel.record import Action, RunRecord, Shown, next_step
from airflow_provider_trigger.cancel.settings import CancelSettings
from airflow_provider_trigger.cancel.workers import Threads
from airflow_provider_trigger.wording import counted

if TYPE_CHECKING:
    from airflow_provider_trigger.api.client import TriggerDevClient

log = logging.getLogger(__name__)

# The part of the time limit in which failed cancels are repeated; the rest shows whether one arrived.
_SHARE_FOR_CANCELS = 0.8
# How often a stop is noticed while nothing is answered, and further runs are read, in seconds.
_INTERVAL = 0.1
# How long requests in flight may still take once the work has ended, in seconds.
_GRACE = 0.5
_PROGRESS_INTERVAL = 10.0


class Rounds:
    """
    The work of one cancellation.

    ``is_stopped`` is called several times a second, in the thread that calls :meth:`run`; ``threads`` exist
    already, None for its own.
    """

    def __init__(
        self,
        client: TriggerDevClient,
        run_ids: Iterable[str],
        settings: CancelSettings,
        *,
        is_stopped: Callable[[], bool],
        threads: Threads | None,
    ) -> None:
        self.end: End | None = None
        self.rejection: AuthenticationError | None = None
        self.records = {run_id: RunRecord(run_id) for run_id in run_ids}
        self._settings = settings
        self._client = client
        self._exchange = client.exchange
        self._is_stopped = is_stopped
        self._threads = threads
        now = self._now()
        self._deadline = Deadline.after(settings.time_limit, now=now)
        self._cancels_until = self._deadline.before(_SHARE_FOR_CANCELS, now=now).at
        self.bulk = bulk.BulkActions(settings, self._deadline, now=now)
        self._further: Iterator[Iterable[str]] | None = None
        self._read_at = self._logged_at = now
        self._new = list(self.records.values())
        self._unfinished = len(self._new)
        self._later: list[tuple[float, int, RunRecord]] = []
        self._numbers = itertools.count()

    def _now(self) -> float:
        return self._exchange.monotonic()

    def run(self, further: Iterable[Iterable[str]] | None) -> None:
        """Cancel the runs, and ``further`` ones, whose ids are read meanwhile."""
        self._further = None if further is None else iter(further)
        try:
            self._run()
        except BaseException:  # the caller's own, such as a timeout that a signal raises
            self.end = self.end or End.STOPPED
            raise

    def _run(self) -> None:
        if self._is_stopped():
            self.end = End.STOPPED
        count = self._settings.max_concurrency
        if self._further is None and not self._settings.include_descendants:
            count = min(count, len(self.records))
        threads = self._threads or Threads(count, name="trigger-dev")
        self._crew = Crew(self._client, threads, count, self._deadline)
        if self._threads is None:
            threads.close()  # each ends after its work
        try:
            while self._continues():
                self._begin_due()
                self._take_answer(until=self._next_at)
                self._read_further()
            self._crew.close()
            until = self._now() + _GRACE
            while self._crew.in_flight and self._now() < until:
                self._take_answer(until)
        finally:
            self._crew.close()

    def _continues(self) -> bool:
        """Return whether the work has not ended."""
        # Where the work has a deadline, that decides how long to wait for the server.
        now, patience = self._now(), self._exchange.retry_for if math.isinf(self._deadline.at) else math.inf
        if self.end is not None:
            return False
        if not self._unfinished and self._further is None:
            self.end = End.FINISHED
        elif self._is_stopped():
            self.end = End.STOPPED
        elif not self._deadline.remaining(now):
            self.end = End.TIME_LIMIT
        elif self._exchange.breaker.has_failed_too_long(patience, monotonic=now):
            self.end = End.NO_ANSWER
        elif now - self._logged_at > _PROGRESS_INTERVAL:
            self._logged_at = now
            self._log_progress()
        return self.end is None

    def _read_further(self) -> None:
        """Read further runs, where it is time."""
        if self._further is None or self._now() < self._read_at:
            return
        run_ids = next(self._further, None)
        found = [RunRecord(run_id) for run_id in run_ids or ()]
        self._add(found)
        self._further = None if run_ids is None else self._further
        self._read_at = self._now() + (0.0 if found else _INTERVAL)

    def _add(self, records: Iterable[RunRecord]) -> bool:
        """Add runs while others are being canceled; those that it has already count once."""
        new = {one.run_id: one for one in records if one.run_id not in self.records}
        self.records |= new
        self._new += new.values()
        self._unfinished += len(new)
        return bool(new)

    # What is sent

    def _begin_due(self) -> None:
        self._begin_new()
        now = self._now()
        for request in self.bulk.due(now):
            self._crew.begin(request)
        while self._later and self._later[0][0] <= now:
            self._crew.begin(heapq.heappop(self._later)[2])

    @property
    def _next_at(self) -> float:
        later_at = self._later[0][0] if self._later else math.inf
        return min(later_at, self.bulk.next_at, self._now() + _INTERVAL)

    def _begin_new(self) -> None:
        new, self._new = self._new, []
        alive = [record for record in new if not record.had_ended]
        is_many = len(self.records) > self._settings.bulk_from and len(alive) >= bulk.LEAST
        if is_many and self.bulk.may_work:
            self.bulk.add(alive)
            new = [record for record in new if record.had_ended]
        for record in new:
            self._plan(record, self._now())

    def _plan(self, record: RunRecord, now: float) -> None:
        """Decide what a run needs next."""
        step = next_step(record, self._settings, now=now)
        if step is None:
            self._unfinished -= 1
            return
        record.action, at, record.ends_at = step
        record.sent_at, record.failures = None, 0
        self._put(record, at, now)

    def _put(self, record: RunRecord, at: float, now: float) -> None:
        if at <= now:
            self._crew.begin(record)
        else:
            heapq.heappush(self._later, (at, next(self._numbers), record))

    # What follows from an answer

    def _take_answer(self, until: float) -> None:
        answer = self._crew.answer(within=until - self._now())
        if answer is None:
            return
        task, result, error = answer
        now = self._now()
        if isinstance(error, AuthenticationError) and self._exchange.key_is_rejected and self.end is None:
            self.end, self.rejection = End.KEY_REJECTED, error
        if isinstance(task, RunRecord):
            self._take(task, result, error, now)
            return
        for record in self.bulk.take(task, result, error, now):
            self._plan(record, now)

    def _take(self, record: RunRecord, result: Any, error: TriggerDevError | None, now: float) -> None:
        is_unsent = isinstance(error, NotSentError) and not isinstance(error, InvalidIdError)
        is_needless = record.is_needless
        if is_unsent and (self.end or not is_needless):
            self._put(record, now + PROBE_INTERVAL, now)
            return
        is_once = is_needless or (record.action is not Action.CANCEL and not self._settings.follows)
        is_final = error is None or is_once or error is self.rejection
        if error is not None and not is_final and self._is_repeated(record, error, now):
            return
        record.note(result, error, now=now)
        if self._settings.include_descendants and isinstance(result, Shown):
            has_news = self._add(map(RunRecord.of_child, result.children))
            record.found_at = now if has_news else record.found_at
        self._plan(record, now)

    def _is_repeated(self, record: RunRecord, error: TriggerDevError, now: float) -> bool:
        """Put the same request off where another try may help; return whether that is so."""
        # Failures of another kind do not use up the tries of this one.
        is_same = record.last_error is not None and record.last_error.tries_allowed == error.tries_allowed
        record.failures, record.last_error = record.failures + 1 if is_same else 1, error
        remaining = self._deadline.remaining(now)
        pause = pause_after(record.failures, error.server_wait, remaining=remaining)
        until = self._cancels_until if record.action is Action.CANCEL else self._deadline.at
        if math.isinf(until):
            until = (record.sent_at or now) + self._exchange.retry_for
        if record.failures >= error.tries_allowed or now + pause > until:
            return False
        self._exchange.log_retry(record.failures, pause, error)
        self._put(record, now + pause, now)
        return True

    def _log_progress(self) -> None:
        """Log how far it is, and the last error while the server does not respond."""
        records, last_error = self.records.values(), self._exchange.breaker.last_error
        requested = sum(one.cancels > 0 or one.is_in_bulk for one in records)
        finished = counted(len(records) - self._unfinished, "run")
        last = f"; last error: {last_error}" if last_error else ""
        log.info("%d of %d cancel requests sent, %s finished%s", requested, len(records), finished, last)
