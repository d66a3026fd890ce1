"""Remember the runs that a task has started, and cancel them if the task ends first."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from airflow_provider_trigger.api.bulk_actions import cancel_runs_in_bulk
from airflow_provider_trigger.api.errors import ResponseError, TriggerDevError
from airflow_provider_trigger.api.limits import Deadline
from airflow_provider_trigger.cancel.cancellation import TIME_LIMIT, cancel_all
from airflow_provider_trigger.cancel.crew import Threads
from airflow_provider_trigger.cancel.outcome import CancelOutcome, CancelResult, not_canceled
from airflow_provider_trigger.defaults import BULK_ACTION_NAME, BULK_FROM_AT_A_STOP
from airflow_provider_trigger.run.search import LIST_LAG, RunFilter, Search
from airflow_provider_trigger.run.sending import Sending, find_by_key
from airflow_provider_trigger.run.stop import StoppedError, pause

if TYPE_CHECKING:
    from airflow_provider_trigger.api.client import TriggerDevClient

# Besides those that cancel: two that supervise a stop, one the cancel after an error that it interrupts, one
# that logs, and one that ends what the task waits for.
_FURTHER_THREADS = 5
# The part of the time for a cancel that requests in flight get to be answered.
_SHARE_OF_ANSWERS = 0.5
# Before each search for runs whose ids no answer has shown, in seconds.
_PAUSES = (0.0, LIST_LAG / 2, LIST_LAG / 2)
# How long a cancel may go on after its deadline, in seconds; Airflow 3 sends SIGKILL 5 s after the signal.
_GRACE = 0.7
# How long other requests of a stop wait for its first line, and for a bulk action by the tag, in seconds.
_FIRST_WAIT = 0.5
# The same for the list of the runs with the tag.
_LIST_TIME = 1.0
_INTERVAL = 0.01


@dataclass(kw_only=True, slots=True)
class Stop:
    """What came of one cancel by the task itself."""

    results: list[CancelResult] = field(default_factory=list)
    count: int = 0
    """Of the runs to cancel, where some have no check of their own, and so no result."""
    accepted: int = 0
    bulk_ids: list[str] = field(default_factory=list)
    """Of the bulk actions by these ids, or by the tag."""
    begins_with: list[str] | None = None
    """The runs whose cancel only begins; None for what came of it."""
    unknown: int = 0
    """How many runs there may be whose ids are not known."""
    have_keys: bool = True
    """Whether a retry finds them by their keys."""
    parts: list[str] = field(default_factory=list)
    """The items of the requests that may have started these."""
    answer: ResponseError | None = None
    """To the first such request that was answered."""
    tag: str | None = None
    search_error: Exception | None = None
    """Why the runs of an earlier try could not be searched."""


class Guard:
    """
    The runs that a task has started; an error that leaves the ``with`` statement cancels them.

    ``client`` is for canceling only: when the task is stopped, another one may be in use and hold its locks.
    So many cancels are in flight ``at_once``. ``time_limit`` is for a cancel after a signal, in seconds.
    ``log_stop`` logs that a cancel begins after a signal, and what came of each cancel.
    """

    def __init__(
        self,
        client: TriggerDevClient,
        *,
        at_once: int,
        cancels: bool,
        time_limit: float,
        log_stop: Callable[[Stop], object],
    ) -> None:
        self.run_ids: list[str | None] = []
        """In the order of the items; None for one that is not known, or not started."""
        self.sendings: list[Sending] = []
        """All requests so far that start runs, each added before it is sent."""
        self.ended: set[str] = set()
        """The runs that were seen to have ended."""
        self.is_earlier: Callable[[str | None], bool] | None = None
        """Whether a run with this idempotency key may be from an earlier try; None if there was none."""
        self.tag: str | None = None
        """What all runs of the task instance carry, to find those whose ids no answer has shown."""
        self.end_requests: Callable[[], None] = lambda: None
        """Lets the requests of the task's work fail at once."""
        self.is_stopped = False
        # Made before anything is sent, also for the start: a signal handler can start none.
        self.threads = Threads(at_once + _FURTHER_THREADS, name="trigger-dev-guard")
        self._at_once = at_once
        self._is_killed = False
        self._is_cut_off = False  # from outside, so that no retry takes care of what was started
        self._done: set[str] = set()  # what needs no other cancel
        self._found: set[str | None] = set()  # the keys of runs that only the list has shown
        self._unlogged: list[Stop] = []
        self._client = client
        self._cancels = cancels
        self._time_limit = time_limit
        self._log_stop = log_stop

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            # What ends a task from outside, such as Airflow's timeout, is no Exception.
            self._is_cut_off |= not isinstance(error, Exception)
            self.is_stopped = True  # the threads of the start send nothing more
            # After a signal, Airflow 3 kills the process while a cancel that failed is tried again.
            self._log_all()
            self.cancel()
        self._log_all()
        self.release()
        self._client.close()
        self.threads.close()

    # What was started

    @property
    def known_ids(self) -> list[str]:
        """The ids of all runs that are known, each once."""
        return list(dict.fromkeys(run_id for run_id in self.run_ids if run_id))

    @property
    def has_found(self) -> bool:
        """Whether a search has found a run whose id was not known."""
        return bool(self._found)

    @property
    def _left(self) -> list[str]:
        return [one for one in self.known_ids if one not in self.ended and one not in self._done]

    @property
    def age(self) -> float:
        """How old the oldest run that this try has started can be, in seconds."""
        return time.monotonic() - self.sendings[0].begun_at if self.sendings else 0.0

    def take_up(self, pushed: Any) -> None:
        """Cancel the runs that an earlier process of the task has started, and whose ids are in this XCom."""
        listed = pushed if isinstance(pushed, (list, tuple)) else [pushed]
        self.run_ids = [one if isinstance(one, str) else None for one in listed]

    def take_ids(self, sending: Sending) -> None:
        """Take in the ids of the runs of a request."""
        for index, run_id in zip(sending.requests, sending.run_ids or (), strict=False):
            self.run_ids[index] = run_id

    def collect_ids(self, deadline: Deadline | None = None) -> list[Sending]:
        """Wait a while for the requests in flight, and take in their ids; return those without an answer."""
        share = (deadline or self._deadline()).before(_SHARE_OF_ANSWERS, now=time.monotonic())
        # A single run is found by its key at once, where no retry finds it.
        awaited = [one for one in self.sendings if not (self._is_cut_off and one.is_found_by_key)]
        _wait_until(lambda: all(one.is_done or one.run_ids for one in awaited), share)
        for sending in self.sendings:
            self.take_ids(sending)
        return self._unanswered

    @property
    def _unanswered(self) -> list[Sending]:
        # Where a single run could not be started, the error says what a retry finds.
        may_find = self._is_cut_off or len(self.run_ids) > 1
        return [sending for sending in self.sendings if may_find and sending.is_unanswered]

    # While the task works

    def release(self) -> None:
        """Cancel nothing from now on: the runs have ended, or something else cancels them."""
        self._cancels = False

    def sleep(self, seconds: float) -> None:
        """Wait; a ``StoppedError`` ends the work of a task that was stopped."""
        pause(seconds, is_stopped=lambda: self.is_stopped)

    def raise_if_stopped(self) -> None:
        """End the work of a task that was stopped, by a ``StoppedError``."""
        if self.is_stopped:
            raise StoppedError

    # How they are stopped

    def stop(self) -> None:
        """
        Cancel the runs, within the time limit. Raises nothing.

        Safe in a signal handler, as Airflow 3 calls it: the interrupted thread may hold any lock, so it only
        hands over to threads that wait for it. One of them logs which runs are being canceled, as soon as it
        can; what came of it follows when the task's work continues, whose requests end in time for that. No
        connection is fetched there.
        """
        self.is_stopped = self._is_killed = self._is_cut_off = True
        self._client.may_fetch_key = False
        limit = self._deadline()
        try:
            if self._cancels:
                self._announce()
            with _logging_disabled():
                if not all(one.is_done for one in self._unanswered):
                    half = limit.before(_SHARE_OF_ANSWERS, now=time.monotonic())
                    self.cancel(half, waits=False)
                self.cancel(limit)
        finally:
            self._client.may_fetch_key = True
            self.threads.begin(self.end_requests)

    def _announce(self) -> None:
        for sending in self.sendings:
            self.take_ids(sending)
        stop = Stop(tag=self.tag, begins_with=self._left)
        stop.unknown = sum(len(sending.requests) for sending in self._unanswered)
        if self._left or stop.unknown:
            said: list[object] = []
            self.threads.begin(lambda: said.append(self._log_stop(stop)))
            _wait_until(lambda: bool(said), Deadline.after(_FIRST_WAIT, now=time.monotonic()))

    def cancel(self, deadline: Deadline | None = None, *, waits: bool = True) -> None:
        """Cancel the runs that have not ended; it ``waits`` for answers to starts. Raises no error."""
        deadline, stop, is_killed = deadline or self._deadline(), Stop(tag=self.tag), self._is_killed
        unanswered = self.collect_ids(deadline) if waits else self._unanswered
        if self._cancels and (self.known_ids or unanswered or self.is_earlier):
            done: list[bool] = []
            self.threads.begin(partial(self._find_and_cancel, stop, unanswered, deadline, done))
            _wait_until(lambda: bool(done), Deadline(deadline.at + _GRACE))
            if not done:
                left = self._left or ["of this task"]
                stop.results = [not_canceled(one, "there was no time left") for one in left]
            if self._is_killed and not is_killed:  # a signal came meanwhile: its stop says the rest
                stop.results = [one for one in stop.results if one.run_id not in self._done]
        unanswered = [one for one in unanswered if one.is_unanswered]
        keys = [key for sending in unanswered for key in sending.keys]
        if waits:
            stop.unknown = sum(key not in self._found for key in keys)
        stop.have_keys = None not in keys
        stop.parts = [str(sending) for sending in unanswered if len(self.run_ids) > 1]
        errors = (sending.error for sending in unanswered)
        stop.answer = next((error for error in errors if isinstance(error, ResponseError)), None)
        self._unlogged.append(stop)

    def _deadline(self) -> Deadline:
        # Without a signal, nothing has announced that the process is killed.
        seconds = self._time_limit if self._is_killed else TIME_LIMIT
        return Deadline.after(seconds, now=time.monotonic())

    def _find_and_cancel(
        self, stop: Stop, unanswered: Sequence[Sending], deadline: Deadline, done: list[bool]
    ) -> None:
        left: list[str] = []
        try:
            self._client.exchange.breaker.has_worked = True  # a page in place of an answer passes
            self._find_by_keys(unanswered, deadline)
            found = self._find_by_tag(stop, unanswered, deadline)
            left = [*self._left, *(one for one in found if one not in self._done)]
            if left:
                self._cancel(stop, left, deadline)
        except Exception as error:
            # Any error: the task ends all the same, for its own reason.
            stop.results = [not_canceled(one, error) for one in left or ["of this task"]]
        finally:
            done.append(True)

    def _find_by_keys(self, unanswered: Sequence[Sending], deadline: Deadline) -> None:
        """Find the runs of single items by their keys; not after an error, as a retry finds them."""
        share = deadline.before(_SHARE_OF_ANSWERS, now=time.monotonic())
        for sending in unanswered if self._is_cut_off else ():
            if sending.is_found_by_key:
                [request] = sending.requests.values()
                with suppress(TriggerDevError):  # it stays unanswered, which is logged
                    sending.run_ids = (find_by_key(self._client, request, deadline=share),)
                    self.take_ids(sending)

    def _find_by_tag(self, stop: Stop, unanswered: Sequence[Sending], deadline: Deadline) -> list[str]:
        """
        Return the ids of runs that no answer has shown, once the list shows them all.

        After a signal there is no time for that: a bulk action cancels what the list does not show yet, where
        it shows nothing alive that is not ours.
        """
        keys = {key for each in unanswered if each.is_unanswered for key in each.keys if key is not None}
        # Those of an earlier try are all known once each item has its run: what is replaced ends before.
        is_earlier = None if self.run_ids and None not in self.run_ids else self.is_earlier
        if self.tag is None or not (keys or is_earlier):
            return []

        def belongs(key: str | None) -> bool:
            return key in keys or bool(is_earlier and is_earlier(key))

        now = time.monotonic()
        share = deadline.before(_SHARE_OF_ANSWERS, now=now)
        search = Search(
            self._client,
            RunFilter(tags=(self.tag,)).pages,
            belongs=belongs,
            skip=self.known_ids,
            deadline=Deadline(min(share.at, now + _LIST_TIME)) if self._is_killed else share,
        )
        search.run(
            pauses=_PAUSES[:1] if self._is_killed else _PAUSES,
            is_enough=lambda: not is_earlier and keys <= search.keys,
            sleep=time.sleep,
        )
        self._found.update(filter(belongs, search.keys))
        if is_earlier:  # of others, the log says which items have no answer
            stop.search_error = search.error
        if self._is_killed and keys - search.keys and not (search.error or search.others):
            share = Deadline.after(_FIRST_WAIT, now=time.monotonic())
            call = cancel_runs_in_bulk(tag=self.tag, name=BULK_ACTION_NAME)
            with suppress(TriggerDevError):  # a server, or a key, may know no bulk actions
                stop.bulk_ids.append(self._client.call(call, deadline=share, patience=0))
        return [run.id for run in search.ours]

    def _cancel(self, stop: Stop, run_ids: Sequence[str], deadline: Deadline) -> None:
        is_killed, seconds = self._is_killed, deadline.remaining(time.monotonic())
        canceled = cancel_all(
            self._client,
            # Ids sort by time (measured). A bulk action misses new runs, which so come first after a signal.
            sorted(run_ids, reverse=is_killed),
            seconds,
            follows=not is_killed,
            max_concurrency=self._at_once,
            is_stopped=lambda: self._is_killed and not is_killed,
            threads=self.threads if is_killed else None,
        )
        self._done |= canceled.accepted
        self._done.update(one.run_id for one in canceled.results.values() if one.outcome not in _LEFT)
        stop.results = [canceled.results[one] for one in run_ids]
        if is_killed and len(run_ids) > BULK_FROM_AT_A_STOP:
            stop.results = [one for one in stop.results if one.run_id not in canceled.accepted]
            stop.count, stop.accepted = len(run_ids), len(canceled.accepted)
            stop.bulk_ids += canceled.bulk_ids

    def _log_all(self) -> None:
        while self._unlogged:
            self._log_stop(self._unlogged.pop(0))


_LEFT = (CancelOutcome.FAILED, CancelOutcome.NOT_FOUND)


def _wait_until(condition: Callable[[], bool], deadline: Deadline) -> None:
    """Wait without a lock, until a condition holds that is checked many times a second."""
    while not condition() and (left := deadline.remaining(time.monotonic())):
        time.sleep(min(left, _INTERVAL))


@contextmanager
def _logging_disabled() -> Iterator[None]:
    """
    Let no thread log anything: a handler could wait for a lock that the interrupted code holds.

    ``logging.disable`` is not enough: afterwards each logger checks again whether it is enabled, and waits
    for the module's lock to do so.
    """
    known = logging.root.manager.loggerDict
    loggers = [one for one in list(known.values()) if isinstance(one, logging.Logger) and not one.disabled]
    for logger in loggers:
        logger.disabled = True
    try:
        yield
    finally:
        for logger in loggers:
            logger.disabled = False
