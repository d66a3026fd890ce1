"""
Poll for all runs that are waited for on one connection. A single thread decides; other threads only send.

A query is about 1 s behind, and can lose the end of a run permanently (measured): so each run gets a single
check now and then, too.
"""

from __future__ import annotations

import math
import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from operator import attrgetter
from queue import Empty, Queue
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider_trigger.api.errors import (
    NotFoundError,
    NotSentError,
    RateLimitError,
    ResponseError,
    TriggerDevError,
    root_of,
)
from airflow_provider_trigger.api.http import Call
from airflow_provider_trigger.api.limits import Deadline
from airflow_provider_trigger.api.models import Run
from airflow_provider_trigger.api.runs import (
    QUERY_TIMEOUT,
    UNKNOWN_RUN_ID,
    can_be_queried,
    check_run,
    list_newest_runs,
    retrieve_run,
)
from airflow_provider_trigger.cancel.cancellation import TIME_LIMIT, cancel_all
from airflow_provider_trigger.cancel.outcome import CancelResult, not_canceled
from airflow_provider_trigger.log import Log
from airflow_provider_trigger.run import checks
from airflow_provider_trigger.run.polled import Checked, PolledRun, check_interval
from airflow_provider_trigger.run.stop import pause
from airflow_provider_trigger.run.wait import Wait, WaitResult, WaitSettings
from airflow_provider_trigger.run.wait_outcome import WaitOutcome
from airflow_provider_trigger.threads import begin, in_threads

if TYPE_CHECKING:
    from airflow_provider_trigger.api.client import TriggerDevClient

# Up to this number of runs, a check of each costs a worker less than a query for all.
_WATCHED_ALONE = 20
_SHARE_OF_TIME = 0.25  # of the server's time that a query may take
# Up to this number of failures in a row, queries go on, if they have worked or the server answers 429.
_FAILED_ROUNDS = 3

# All in seconds.
_GATHER = 0.25  # so that waits that begin together share their requests
TURN = 0.5  # between two turns of the loop
QUERY_INTERVAL = 2.0
_ALL_INTERVAL = 10.0  # between two queries for all of many runs; the others show only ended ones
_PAUSE = 10.0  # between two queries where they fail
_BACKGROUND_INTERVAL = 1.0  # between two checks of single runs while queries work
_ROUND = 30.0  # between two rounds in which all runs are checked, as an end was lost
_NOT_SENT_PAUSE = 1.0  # after a check that was not sent: the circuit breaker is open
_PATIENCE = 10.0  # for a last check, and a call that shows whether the server works
_OUTAGE_INTERVAL = 30.0  # between two calls that show whether the server works, while it does not
_CANCEL_PAUSE = 2.0  # before cancels that failed are repeated
# In an outage each cancellation takes long, and has threads of its own: later runs share the next one.
_MAX_CANCELS = 8

T = TypeVar("T")

OnCanceled = Callable[[str, CancelResult], object]


class Watch:
    """
    The loop; it calls ``make``, ``query`` and ``cancel`` in any thread.

    :param query: makes queries; None for no queries: then each run gets single checks
    :param cancel: cancels runs within some seconds
    :param turn: between two turns of the loop, in seconds
    """

    def __init__(
        self,
        make: Callable[..., Any],
        *,
        query: Callable[..., Any] | None,
        cancel: Callable[[Sequence[str], float], Mapping[str, CancelResult]],
        check: Callable[[str], Call[Run]] = check_run,
        max_checks: int = checks.CONCURRENCY,
        turn: float = TURN,
    ) -> None:
        self.error: BaseException | None = None  # of a crash
        self._make, self._query, self._cancel, self._check = make, query, cancel, check
        self._inbox: Queue[Callable[[], object]] = Queue()
        self._is_closed = False
        self._turn = turn
        self._free = max_checks  # how many more checks may begin
        self._cancels = 0  # how many cancellations are under way
        self._runs: dict[str, PolledRun] = {}
        self._waits_for: dict[str, list[Wait]] = {}  # by run id
        self._waits: dict[Wait, None] = {}
        self._changed: set[Wait] = set()
        self._due: deque[PolledRun] = deque()
        self._to_cancel: list[str] = []
        self._reports: dict[str, list[OnCanceled]] = {}  # by the id of a run that is being canceled
        self._works: bool | None = None  # whether queries work; None for not known yet
        self._query_failures = 0
        now = time.monotonic()
        self._turn_at = self._background_at = now
        self._query_at = now + _GATHER
        self._cancel_at = 0.0
        self._all_queried_at = self._held_until = self._outage_until = self._recheck_from = -math.inf

    def add(self, wait: Wait) -> None:
        """Poll for the runs of a wait until it is over."""
        self._inbox.put(partial(self._add, wait))
        if self.error is not None:
            self._fail(wait, self.error)

    def remove(self, wait: Wait) -> None:
        """Poll no more for a wait."""
        self._inbox.put(partial(self._remove, wait))

    def cancel(self, run_ids: Iterable[str], report: OnCanceled) -> None:
        """Cancel runs, together with those of other tasks; ``report`` gets the result of each."""
        self._inbox.put(partial(self._want_cancel, list(run_ids), report))

    def close(self) -> None:
        """End the loop; requests in flight end by themselves."""
        self._is_closed = True
        self._inbox.put(lambda: None)

    def run(self, *, is_stopped: Callable[[], bool] = lambda: False) -> None:
        """Work until it is closed, or raise StoppedError."""
        try:
            while not self._is_closed:
                pause(0, is_stopped=is_stopped)
                self._proceed()
                with suppress(Empty):
                    self._inbox.get(timeout=_GATHER if self._to_cancel else self._turn)()
        except BaseException as error:
            self._crash(error)
            raise

    def _crash(self, error: BaseException) -> None:
        self.error = error
        while not self._inbox.empty():
            with suppress(Exception):  # perhaps the same error
                self._inbox.get()()
        for wait in list(self._waits):
            self._fail(wait, error)
        for run_id, reports in self._reports.items():
            for report in reports:
                report(run_id, not_canceled(run_id, f"the watch of its connection crashed: {error!r}"))

    def _fail(self, wait: Wait, error: BaseException) -> None:
        # A new one for each wait: a shared one's traceback would grow with each that raises it.
        wait.end(RuntimeError(f"the status checks of its connection crashed: {error!r}"))

    def _proceed(self) -> None:
        self._take_in()
        if (now := time.monotonic()) >= self._turn_at:
            self._turn_at = now + self._turn
            self._changed.update(wait for wait in self._waits if now >= wait.due)
            self._begin_query(now)
            self._due = deque(self._due_checks(now))
        waits, self._changed = self._changed, set()
        for wait in waits & self._waits.keys():
            if not wait.is_over and (run_ids := wait.proceed(now)):
                self._want_cancel(run_ids, partial(self._canceled, wait))
            if wait.is_over:
                self._remove(wait)
        self._begin_checks(now)
        if self._to_cancel and now >= self._cancel_at and self._cancels < _MAX_CANCELS:
            run_ids, self._to_cancel = self._to_cancel, []
            self._cancels += 1
            self._begin(partial(self._cancel_all, run_ids), partial(self._cancel_ended, run_ids))

    def _take_in(self) -> None:
        while not self._inbox.empty():
            self._inbox.get()()

    def _add(self, wait: Wait) -> None:
        now = time.monotonic()
        self._waits[wait] = None
        self._changed.add(wait)
        for run_id in wait.run_ids:
            if (polled := self._runs.get(run_id)) is None:
                polled = PolledRun(run_id, added_at=now, born_at=now, is_listed=can_be_queried(run_id))
                self._runs[run_id] = polled
            self._waits_for.setdefault(run_id, []).append(wait)
            intervals = filter(None, (polled.poll_interval, wait.settings.poll_interval))
            polled.poll_interval = min(intervals, default=None)
        wait.begin(self._runs, now=now, wall=time.time())
        if len(self._waits) == 1:
            self._turn_at = now

    def _remove(self, wait: Wait) -> None:
        self._waits.pop(wait, None)
        for run_id in wait.run_ids:
            waits = self._waits_for.get(run_id, [])
            if wait in waits:
                waits.remove(wait)
                if not waits:
                    del self._runs[run_id], self._waits_for[run_id]

    def _begin(self, work: Callable[[], T], done: Callable[[T | TriggerDevError], object]) -> None:
        """Begin some work in a thread; then ``done`` is called in this one."""

        def take(reply: Future[T]) -> None:
            try:
                result: T | TriggerDevError = reply.result()
            except TriggerDevError as error:  # any other one is a bug of ours, which ends all waits
                result = error.with_traceback(None)
            done(result)

        try:
            begin(work).add_done_callback(lambda reply: self._inbox.put(partial(take, reply)))
        except NotSentError as error:
            self._inbox.put(partial(done, error))

    def _begin_query(self, now: float) -> None:
        if self._query is None or now < self._query_at:
            return
        if run_ids := [run_id for run_id in self._runs if can_be_queried(run_id)]:
            self._query_at = math.inf  # until it is answered
            # After a failure, query all runs: rows show that a changed key is the right one.
            is_whole = self._query_failures or now >= self._all_queried_at + _ALL_INTERVAL
            only_ended = not (is_whole or len(run_ids) <= checks.QUERY_ABOVE)
            work = partial(checks.query_all, self._query, run_ids, only_ended=only_ended)
            self._begin(work, partial(self._queried, run_ids, now, only_ended))

    def _queried(
        self, run_ids: Sequence[str], sent_at: float, only_ended: bool, reply: list[Run] | TriggerDevError
    ) -> None:
        now = time.monotonic()
        if isinstance(reply, TriggerDevError):
            self._query_failed(reply, now)
            return
        if self._works is False:
            self._recheck_from = now  # what ended while they failed may be missing permanently
        self._works, self._query_failures = True, 0
        took = min(now - sent_at, QUERY_TIMEOUT)  # the rest was spent waiting for a turn
        self._query_at = sent_at + max(QUERY_INTERVAL, took / _SHARE_OF_TIME)
        self._all_queried_at = self._all_queried_at if only_ended else sent_at
        listed = {run.id: run for run in reply}
        for run_id in listed if only_ended else run_ids:
            polled = self._runs.get(run_id)
            if polled is not None and polled.take_query(listed.get(run_id), sent_at=sent_at, now=now):
                self._notify(polled, now)

    def _query_failed(self, error: TriggerDevError, now: float) -> None:
        self._query_failures += 1
        may_pass = self._works or isinstance(error, RateLimitError)
        if may_pass and self._query_failures <= _FAILED_ROUNDS:
            self._query_at = now + QUERY_INTERVAL
        else:
            self._works, self._query_at = False, now + _PAUSE

    def _due_checks(self, now: float) -> list[PolledRun]:
        is_queried = self._query is not None and self._works is not False
        idle = [polled for polled in self._runs.values() if not polled.is_checking]
        due = [
            polled
            for polled in idle
            if polled.unchecked_since < self._recheck_from or polled.is_due(now, is_queried=is_queried)
        ]
        if not due and self._works and idle and now >= self._background_at:
            self._background_at = now + _BACKGROUND_INTERVAL
            polled = min(idle, key=attrgetter("unchecked_since"))
            age = polled.unchecked_since - polled.born_at
            due = [polled] if now >= polled.unchecked_since + check_interval(age) else []
        return sorted(due, key=lambda polled: (not polled.must_check, polled.unchecked_since))

    def _begin_checks(self, now: float) -> None:
        while self._due and self._free and now >= self._held_until:
            polled = self._due.popleft()
            if not polled.is_checking and self._runs.get(polled.run_id) is polled:
                self._free -= 1
                is_wanted, polled.must_check, polled.is_checking = polled.must_check, False, True
                is_doubtful = now >= self._outage_until and any(
                    wait.is_too_long(polled.answered_since, now) for wait in self._waits_for[polled.run_id]
                )
                call = self._check(polled.run_id)
                work = partial(_check_once, self._make, call, is_wanted=is_wanted, is_doubtful=is_doubtful)
                self._begin(work, partial(self._checked, polled.run_id, now, is_wanted))

    def _checked(
        self, run_id: str, sent_at: float, is_wanted: bool, result: Checked | TriggerDevError
    ) -> None:
        self._free += 1
        if (polled := self._runs.get(run_id)) is None:
            return
        checked = Checked(result) if isinstance(result, TriggerDevError) else result
        reply, polled.is_checking, now = checked.reply, False, time.monotonic()
        if checked.server_works is False:
            self._outage_until = now + _OUTAGE_INTERVAL
        if isinstance(reply, NotSentError) and reply.retryable and not polled.must_check:
            self._held_until = now + _NOT_SENT_PAUSE
        if isinstance(reply, Run) and polled.has_lost_end(reply, now) and now >= self._recheck_from + _ROUND:
            self._recheck_from = now  # others may be lost, too
        is_queried = self._works is True
        if polled.take_check(checked, sent_at=sent_at, now=now, is_wanted=is_wanted, is_queried=is_queried):
            self._notify(polled, now)

    def _notify(self, polled: PolledRun, now: float) -> None:
        self._changed.update(self._waits_for[polled.run_id])
        for wait in self._waits_for[polled.run_id]:
            wait.heard(polled, now)
        if polled.run is not None and polled.run.is_final:
            del self._runs[polled.run_id], self._waits_for[polled.run_id]

    def _want_cancel(self, run_ids: Iterable[str], report: OnCanceled) -> None:
        if not self._to_cancel:
            self._cancel_at = time.monotonic() + _GATHER
        for run_id in run_ids:
            if run_id not in self._reports:
                self._reports[run_id] = []
                self._to_cancel.append(run_id)
            self._reports[run_id].append(report)

    def _cancel_all(self, run_ids: Sequence[str]) -> None:
        """Cancel runs, and repeat what may pass: if the server answers 500, a cancellation ends early."""
        until, left = time.monotonic() + TIME_LIMIT, list(run_ids)
        while left:
            try:
                results = self._cancel(left, until - time.monotonic())
            except Exception as error:  # a bug of ours, or that the event loop is gone
                results = {run_id: not_canceled(run_id, repr(error)) for run_id in left}
            is_over = time.monotonic() + _CANCEL_PAUSE >= until
            left = [] if is_over else [run_id for run_id in left if results[run_id].retryable]
            done = {run_id: result for run_id, result in results.items() if run_id not in left}
            self._inbox.put(partial(self._report_results, done))
            if left:
                time.sleep(_CANCEL_PAUSE)

    def _cancel_ended(self, run_ids: list[str], reply: object) -> None:
        self._cancels -= 1
        if isinstance(reply, NotSentError):  # no thread could be started
            self._to_cancel += run_ids
            self._cancel_at = time.monotonic() + _CANCEL_PAUSE

    def _report_results(self, results: Mapping[str, CancelResult]) -> None:
        for run_id, result in results.items():
            for report in self._reports.pop(run_id, ()):
                report(run_id, result)

    def _canceled(self, wait: Wait, run_id: str, result: CancelResult) -> None:
        if wait in self._waits:
            self._changed.add(wait)
            wait.take_cancel(run_id, result, time.monotonic())


def _check_once(make: Callable[..., Any], call: Call[Run], *, is_wanted: bool, is_doubtful: bool) -> Checked:
    """Check a run; if no check may ever show it, also check whether the server works."""
    reply = checks.reply_of(make, call, patience=_PATIENCE if is_wanted else 0)
    error = root_of(reply) if isinstance(reply, TriggerDevError) else None
    if error is None or not (is_doubtful and checks.is_answer(error)):
        return Checked(reply)
    # A gateway that is busy may answer some paths all the same.
    is_busy = isinstance(error, ResponseError) and error.status > 500
    proof: Call[Any] = check_run(UNKNOWN_RUN_ID) if is_busy else list_newest_runs()
    # With a deadline, a call is sent although the checks have opened the circuit breaker.
    deadline = Deadline.after(_PATIENCE, now=time.monotonic())
    shown = checks.reply_of(make, proof, deadline=deadline, patience=0)
    if isinstance(shown, TriggerDevError) and not isinstance(shown, NotFoundError):
        return Checked(reply, server_works=False)
    # Once more, as an outage may have ended in between.
    reply = checks.reply_of(make, call, deadline=deadline, patience=0)
    return Checked(reply, server_works=True)


def wait_for_runs(
    run_ids: Sequence[str],
    settings: WaitSettings,
    client: TriggerDevClient,
    *,
    log: Log,
    is_stopped: Callable[[], bool] = lambda: False,
    on_ended: Callable[[str], object] = lambda run_id: None,
    turn: float = TURN,
) -> dict[str, WaitOutcome]:
    """Wait in this thread; return the outcome of each run, by run id, or raise StoppedError."""

    def end(result: WaitResult) -> None:
        results.append(result)
        watch.close()

    results: list[WaitResult] = []
    watch = Watch(
        client.call,
        query=client.call if len(run_ids) > _WATCHED_ALONE else None,
        cancel=partial(cancel_all, client, is_stopped=is_stopped),
        # The outputs of several runs are fetched later: together they may be too large to keep.
        check=retrieve_run if len(run_ids) == 1 else check_run,
        turn=turn,
    )
    watch.add(Wait(run_ids, settings, log, report=end, on_ended=on_ended))
    watch.run(is_stopped=is_stopped)
    [result] = results
    if isinstance(result, Exception):
        raise result
    return result


class Pokes:
    """The wait of a sensor that is not deferred: each poke is one round of checks."""

    def __init__(
        self, run_ids: Sequence[str], settings: WaitSettings, *, log: Log, ends_early: bool = True
    ) -> None:
        now, self._log = time.monotonic(), log
        self._results: list[WaitResult] = []
        self._wait = Wait(run_ids, settings, log, report=self._results.append, ends_early=ends_early)
        self._runs = {run_id: PolledRun(run_id, added_at=now, born_at=now) for run_id in self._wait.run_ids}
        self._outage_until = -math.inf
        self._wait.begin(self._runs, now=now, wall=time.time())

    @property
    def is_rejected(self) -> bool:
        """Whether the last check of a run was answered with 401, 403 or 404."""
        return any(self._runs[run_id].rejected_since is not None for run_id in self._wait.left)

    def once(self, client: TriggerDevClient) -> dict[str, WaitOutcome] | None:
        """
        Check the runs that have not ended, in this thread; if a query shows many runs, check only some.

        Returns the outcome of each run once the wait is over. Before, it logs how many are left, and returns
        None.

        :raises TriggerDevError: a run was never seen, and another check of it is useless
        """
        wait, sent_at = self._wait, time.monotonic()
        run_ids, shown = wait.left, checks.query_many(client, wait.left)
        if shown is not None:
            for run_id in run_ids:
                run = self._runs[run_id]
                if run.take_query(shown.get(run_id), sent_at=sent_at, now=time.monotonic()):
                    wait.heard(run, time.monotonic())
            # The query lacks new runs, and can lose an end.
            at_random = random.sample(wait.left, len(wait.left))
            run_ids = sorted(at_random, key=shown.__contains__)[: checks.CONCURRENCY]
        try:
            for run_id, (begun_at, checked) in in_threads(
                partial(self._check, client), run_ids, checks.CONCURRENCY
            ):
                self._take(run_id, begun_at, checked)
        except NotSentError as error:  # no thread could be started
            for run_id in run_ids:
                self._take(run_id, sent_at, Checked(error))
        if not wait.is_over:
            wait.proceed(time.monotonic())
        for result in self._results:
            if isinstance(result, Exception):
                raise result
            return result
        self._log.info("%d of %d runs have not ended yet", len(wait.left), len(wait.run_ids))
        return None

    def _check(self, client: TriggerDevClient, run_id: str) -> tuple[float, Checked]:
        sent_at, since = time.monotonic(), self._runs[run_id].answered_since
        is_doubtful = sent_at >= self._outage_until and self._wait.is_too_long(since, sent_at)
        return sent_at, _check_once(client.call, check_run(run_id), is_wanted=True, is_doubtful=is_doubtful)

    def _take(self, run_id: str, sent_at: float, checked: Checked) -> None:
        run, now = self._runs[run_id], time.monotonic()
        if checked.server_works is False:
            self._outage_until = now + _OUTAGE_INTERVAL
        run.take_check(checked, sent_at=sent_at, now=now, is_wanted=True, is_queried=False)
        self._wait.heard(run, now)
