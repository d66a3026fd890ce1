"""Cancel many runs; checks decide the outcome, never the cancel's 200, which says nothing (measured)."""

from __future__ import annotations

import heapq
import itertools
import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from queue import Empty, PriorityQueue, Queue
from typing import TYPE_CHECKING, Any

from airflow_provider_trigger.api import errors
from airflow_provider_trigger.api.errors import ActionFor
from airflow_provider_trigger.api.limits import PROBE_INTERVAL, Deadline, pause_after
from airflow_provider_trigger.api.models import Run
from airflow_provider_trigger.api.runs import can_be_queried, parts_of, query_runs
from airflow_provider_trigger.cancel.outcome import CancelResult, End, result_of
from airflow_provider_trigger.cancel.record import (
    LEAST,
    Action,
    BulkActions,
    CancelSettings,
    ForMany,
    RunRecord,
    State,
    next_step,
)
from airflow_provider_trigger.defaults import BULK_FROM_AT_A_STOP
from airflow_provider_trigger.log import counted, enumeration
from airflow_provider_trigger.threads import begin

if TYPE_CHECKING:
    from airflow_provider_trigger.api.client import TriggerDevClient

log = logging.getLogger(__name__)

TIME_LIMIT = 120.0
"""How long the cancel of runs is repeated that are no longer waited for, in seconds."""
# The part of the time limit in which failed cancels are repeated; the rest shows whether one arrived.
_SHARE_FOR_CANCELS = 0.8
# Then, while many runs are not confirmed, nothing more is sent but a query that shows what came of them.
_SHARE_BEFORE_QUERY = 0.9
# How often a stop is noticed while nothing is answered, and further runs are read, in seconds.
_INTERVAL = 0.1
# How often a request for many runs is repeated after a 429: a cancel of each run would use up more.
_MAX_REJECTIONS = 3
# How long requests in flight may still take once the work has ended, in seconds.
_GRACE = 0.5
_PROGRESS_INTERVAL = 10.0
# With a deadline, even one that never comes, a call waits for its turn however long the server is silent.
_FAR = 1e9


Task = RunRecord | ForMany


class Crew:
    """Send the requests of tasks, each once, up to ``count`` at a time; hand over the answers one by one."""

    def __init__(self, client: TriggerDevClient, count: int, deadline: Deadline) -> None:
        self.in_flight = 0
        self._deadline = deadline
        self._client = client
        self._count = 0
        self._tasks: PriorityQueue[tuple[int, int, Task | None]] = PriorityQueue()
        self._numbers = itertools.count()
        # Another kind of queue does not time out where a signal handler takes longer (3.11, measured).
        self._answers: Queue[tuple[Task, Any, BaseException | None]] = Queue()
        self._closed = threading.Event()
        try:
            while self._count < count:
                begin(self._work)
                self._count += 1
        except errors.NotSentError as error:
            if not self._count:
                raise
            log.warning("Working with %d of %d threads: %s", self._count, count, error)

    def begin(self, task: Task) -> None:
        """Send the request of a task as soon as no more urgent one waits; nothing once it is closed."""
        if not self._closed.is_set():
            self.in_flight += 1
            self._tasks.put((task.action, next(self._numbers), task))

    def answer(self, *, within: float) -> tuple[Task, Any, errors.TriggerDevError | None] | None:
        """Return a task and its result or error, None if nothing comes within so many seconds."""
        try:
            task, result, error = self._answers.get(timeout=max(within, 0.0))
        except Empty:
            return None
        self.in_flight -= 1
        if error is not None and not isinstance(error, errors.TriggerDevError):
            raise error  # a bug of ours
        return task, result, error

    def close(self) -> None:
        """Send nothing more; what is in flight is left to its timeout."""
        self._closed.set()
        with suppress(Empty):
            while True:
                self.in_flight -= self._tasks.get_nowait()[2] is not None
        for _ in range(self._count):
            self._tasks.put((-1, next(self._numbers), None))

    def _work(self) -> None:
        while (task := self._tasks.get()[2]) is not None:
            result: Any = None
            error: BaseException | None = None
            try:
                until = min(self._deadline.at, task.ends_at, time.monotonic() + _FAR)
                sleep = partial(self._sleep, task)
                result = self._client.call(task.call(), deadline=Deadline(until), patience=0, sleep=sleep)
            except errors.TriggerDevError as raised:
                error = raised.with_traceback(None)
            except BaseException as raised:
                error = raised
                self._closed.set()
            self._answers.put((task, result, error))

    def _sleep(self, task: Task, seconds: float) -> None:
        """Wait for a turn; 0 seconds say that the request goes out now."""
        if self._closed.is_set():
            raise errors.NotSentError("the work has ended")
        if seconds:
            self._closed.wait(seconds)
        else:
            task.note_sent(time.monotonic())


class Cancellation:
    """Cancel many runs: one thread decides all; what fails is due again later, and holds up no other run."""

    def __init__(
        self,
        client: TriggerDevClient,
        run_ids: Iterable[str],
        settings: CancelSettings,
        *,
        is_stopped: Callable[[], bool] = lambda: False,  # called several times a second, in run
        action_for: ActionFor = lambda error: None,
    ) -> None:
        self.client = client
        self.end: End | None = None  # why it ended, None before
        self.rejection: errors.AuthenticationError | None = None
        self._settings = settings
        self._is_stopped = is_stopped
        self._action_for = action_for
        now = time.monotonic()
        self._deadline = Deadline.after(settings.time_limit, now=now)
        self._cancels_until = self._deadline.before(_SHARE_FOR_CANCELS, now=now).at
        share = _SHARE_BEFORE_QUERY if settings.follows else 1.0
        self._query_at = self._deadline.before(share, now=now).at
        self.bulk = BulkActions(settings, self._deadline)
        self._further: Iterator[Iterable[str]] | None = None
        self._read_at = self._logged_at = now
        self.records: dict[str, RunRecord] = {}
        self._new: list[RunRecord] = []
        self._unfinished = 0
        self._later: list[tuple[float, int, Task]] = []  # a heap
        self._numbers = itertools.count()
        self._add(map(RunRecord, run_ids))

    @property
    def results(self) -> list[CancelResult]:
        """At any time: in the ids' order, then of descendants; a run that was not reached is ``failed``."""
        breaker, end = self.client.breaker, self.end or End.STOPPED
        last_error = breaker.last_error if breaker.is_open else None
        records = [record for record in self.records.values() if not record.had_ended]
        records.sort(key=lambda record: record.parent_run_id is not None)
        return [result_of(record, end, last_error, action_for=self._action_for) for record in records]

    @property
    def unsearched(self) -> list[str]:
        """Why descendants may be missing that were to be canceled, too."""
        if not self._settings.include_descendants:
            return []
        reasons = [] if self.finished else ["the search was not finished"]
        records = self.records.values()
        each = [f"{record.run_id} ({record.search_error})" for record in records if record.search_error]
        return reasons + ([f"these runs could not be checked: {enumeration(each)}"] if each else [])

    @property
    def accepted(self) -> set[str]:
        """The runs of which a cancel of their own was accepted."""
        return {record.run_id for record in self.records.values() if record.is_accepted}

    @property
    def finished(self) -> bool:
        """Whether the cancel came to its end: not stopped, no time limit reached, no key rejected."""
        return self.end in (End.FINISHED, End.NO_ANSWER)

    @property
    def stopped(self) -> bool:
        """Whether the cancel was stopped from outside before its end."""
        return self.end is End.STOPPED

    def run(self, further: Iterable[Iterable[str]] | None = None) -> list[CancelResult]:
        """Cancel the runs, and ``further`` ones, read meanwhile; a key that is rejected twice is raised."""
        self._further = None if further is None else iter(further)
        try:
            self._work()
        finally:
            self.end = self.end or End.STOPPED  # by an error, such as a timeout that a signal raises
        if self.rejection:
            raise self.rejection
        return self.results

    def _work(self) -> None:
        count = self._settings.max_concurrency
        if self._further is None and not self._settings.include_descendants:
            count = min(count, len(self.records))
        self._crew = Crew(self.client, count, self._deadline)
        try:
            while self._continues():
                self._take_answer(until=self._begin_due())
                self._read_further()
            self._crew.close()
            if self.end is End.TIME_LIMIT:
                self._confirm()
            elif self.end is End.STOPPED:
                self._read_at = 0.0
                self._read_further()  # what was found by then is in the results
            until = time.monotonic() + _GRACE
            while self._crew.in_flight and time.monotonic() < until:
                self._take_answer(until)
        finally:
            self._crew.close()

    def _continues(self) -> bool:
        now = time.monotonic()
        # A deadline of the work decides how long to wait for the server.
        patience = self.client.settings.retry_for if math.isinf(self._deadline.at) else math.inf
        if self.end is not None:
            return False
        if not self._unfinished and self._further is None:
            self.end = End.FINISHED
        elif self._is_stopped():
            self.end = End.STOPPED
        elif now >= (self._query_at if len(self._unconfirmed) >= LEAST else self._deadline.at):
            self.end = End.TIME_LIMIT
        elif self.client.breaker.has_failed_too_long(patience, monotonic=now):
            self.end = End.NO_ANSWER
        elif self.records and now - self._logged_at > _PROGRESS_INTERVAL:
            self._logged_at = now
            self._log_progress()
        return self.end is None

    @property
    def _unconfirmed(self) -> list[str]:
        """The runs that a query could show to have ended, in the last part of the time; none before."""
        if time.monotonic() < self._query_at:
            return []
        alive = [record for record in self.records.values() if not (record.seen and record.seen.is_final)]
        return [record.run_id for record in alive if record.cancels or record.is_in_bulk]

    def _confirm(self) -> None:
        """Let a query show which of the runs have ended by now; where it fails, they stay unconfirmed."""
        deadline = Deadline(self._deadline.at, is_for_one=True)
        with suppress(errors.TriggerDevError):
            for run_ids in parts_of(list(filter(can_be_queried, self._unconfirmed))):
                for run in self.client.call(query_runs(run_ids), deadline=deadline, patience=0):
                    if run.is_final:
                        self.records[run.id].note_check(run, now=time.monotonic())

    def _read_further(self) -> None:
        if self._further is None or time.monotonic() < self._read_at:
            return
        run_ids = next(self._further, None)
        if run_ids is None:
            self._further = None
        elif not self._add(RunRecord(run_id) for run_id in run_ids if run_id not in self.records):
            self._read_at = time.monotonic() + _INTERVAL

    def _add(self, records: Iterable[RunRecord]) -> bool:
        """Add runs, also while others are being canceled; those that it has already count once."""
        new = {record.run_id: record for record in records if record.run_id not in self.records}
        self.records |= new
        self._new += new.values()
        self._unfinished += len(new)
        return bool(new)

    def _begin_due(self) -> float:
        """Begin what is due, and return when to look again."""
        new, self._new = self._new, []
        if len(self.records) > self._settings.bulk_from and not self._settings.include_descendants:
            self.bulk.add(new, time.monotonic())
        for record in new:
            if record.bulk is None:
                self._plan(record)
        now = time.monotonic()
        for request in self.bulk.due(now):
            self._crew.begin(request)
        while self._later and self._later[0][0] <= now:
            self._crew.begin(heapq.heappop(self._later)[2])
        later_at = self._later[0][0] if self._later else math.inf
        return min(later_at, self.bulk.next_at, now + _INTERVAL)

    def _plan(self, record: RunRecord, *, earliest: float = 0.0) -> None:
        step = next_step(record, self._settings, now=time.monotonic())
        if step is None:
            self._unfinished -= 1
            return
        record.action, at, record.ends_at = step
        record.sent_at, record.failures = None, 0
        self._put(record, max(at, earliest))

    def _put(self, task: Task, at: float) -> None:
        heapq.heappush(self._later, (at, next(self._numbers), task))

    def _take_answer(self, until: float) -> None:
        answer = self._crew.answer(within=until - time.monotonic())
        if answer is None:
            return
        task, result, error = answer
        now = time.monotonic()
        if isinstance(error, errors.AuthenticationError) and self.client.key_is_rejected and self.end is None:
            self.end, self.rejection = End.KEY_REJECTED, error
        if isinstance(task, RunRecord):
            self._take(task, result, error, now)
        elif not (isinstance(error, errors.RateLimitError) and self._is_put_off(task, error, now)):
            for record in self.bulk.take(task, result, error, now):
                self._plan(record)

    def _take(self, record: RunRecord, result: Any, error: errors.TriggerDevError | None, now: float) -> None:
        if isinstance(error, errors.NotSentError) and not isinstance(error, errors.InvalidIdError):
            self._plan(record, earliest=now + PROBE_INTERVAL)
            return
        if error is not None and error is not self.rejection and self._is_repeated(record, error, now):
            return
        record.note(result, error, now=now)
        if self._settings.include_descendants and isinstance(result, Run):
            found = (RunRecord(run.id, record.run_id, not run.may_need_cancel) for run in result.children)
            record.found_at = now if self._add(found) else record.found_at
        self._plan(record)

    def _is_repeated(self, record: RunRecord, error: errors.TriggerDevError, now: float) -> bool:
        """Put the same request off where another try may help; return whether that is so."""
        is_once = record.action is Action.CHECK and not self._settings.follows
        if is_once or record.action is Action.CHECK_AGAIN:
            return False
        # Failures of another kind do not use up the tries of this one.
        is_same = record.last_error is not None and record.last_error.tries_allowed == error.tries_allowed
        record.failures, record.last_error = record.failures + 1 if is_same else 1, error
        remaining = self._deadline.remaining(now)
        pause = pause_after(record.failures, error.server_wait, remaining=remaining)
        until = self._cancels_until if record.action is Action.CANCEL else self._deadline.at
        if math.isinf(until):
            until = (record.sent_at or now) + self.client.settings.retry_for
        if record.failures >= error.tries_allowed or now + pause > until:
            return False
        self.client.log_retry(record.failures, pause, error)
        self._put(record, now + pause)
        return True

    def _is_put_off(self, task: ForMany, error: errors.RateLimitError, now: float) -> bool:
        """Put a request for many runs off that was rejected; return whether that is so."""
        task.rejections, task.state = task.rejections + 1, State.DUE
        pause = pause_after(task.rejections, error.server_wait, remaining=self._deadline.remaining(now))
        if task.rejections > _MAX_REJECTIONS or now + pause >= task.ends_at:
            return False
        self.client.log_retry(task.rejections, pause, error)
        self._put(task, now + pause)
        return True

    def _log_progress(self) -> None:
        """Log how far it is, and the last error while the server does not respond."""
        records, last_error = self.records.values(), self.client.breaker.last_error
        requested = sum(record.cancels > 0 or record.is_in_bulk for record in records)
        finished = counted(len(records) - self._unfinished, "run")
        last = f"; last error: {last_error}" if last_error else ""
        log.info("%d of %d cancel requests sent, %s finished%s", requested, len(records), finished, last)


def cancel_all(
    client: TriggerDevClient,
    run_ids: Iterable[str],
    time_limit: float,
    *,
    is_stopped: Callable[[], bool] = lambda: False,
    action_for: ActionFor = lambda error: None,
) -> dict[str, CancelResult]:
    """Cancel the runs of tasks that have ended; a rejected key is no error: the results say what to do."""
    settings = CancelSettings(time_limit=time_limit, bulk_from=BULK_FROM_AT_A_STOP)
    work = Cancellation(client, run_ids, settings, is_stopped=is_stopped, action_for=action_for)
    with suppress(errors.AuthenticationError):
        work.run()
    advice = action_for(work.rejection) if work.rejection else None
    results = {result.run_id: result for result in work.results}
    for run_id, result in results.items():
        if advice is not None and result.error is not None:
            results[run_id] = replace(result, error=f"{result.error}; {advice}")
    return results
