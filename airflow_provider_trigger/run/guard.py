"""Remember the runs that a task has started, and cancel them if the task ends first."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Self

from airflow_provider_trigger.api.errors import AuthenticationError, ResponseError, TriggerDevError
from airflow_provider_trigger.api.limits import Deadline
from airflow_provider_trigger.api.runs import cancel_runs_in_bulk
from airflow_provider_trigger.cancel.cancellation import TIME_LIMIT, Cancellation
from airflow_provider_trigger.cancel.outcome import CancelOutcome, CancelResult, not_canceled
from airflow_provider_trigger.cancel.record import BULK_LAG, CancelSettings
from airflow_provider_trigger.defaults import BULK_ACTION_NAME, BULK_FROM_AT_A_STOP
from airflow_provider_trigger.run.search import LIST_LAG, RunFilter, Search, without_blocking
from airflow_provider_trigger.run.sending import Sending, find_by_key
from airflow_provider_trigger.run.stop import CHECK_INTERVAL, StopNote, pause
from airflow_provider_trigger.threads import begin

if TYPE_CHECKING:
    from airflow_provider_trigger.api.client import TriggerDevClient

# How long the log of a cancel may come after its deadline, in seconds.
_GRACE = 0.8
# The part of the time for a cancel that requests in flight get to be answered, and a search gets; after a
# signal one page of the list may take it, and the rest is for a bulk action by the tag.
_SHARE_OF_ANSWERS, _SHARE, _SHARE_AT_A_STOP = 0.75, 0.5, 0.85
# Before each search for runs whose ids no answer has shown, in seconds.
_PAUSES = (0.0, LIST_LAG / 2, LIST_LAG / 2)
_INTERVAL = 0.05
_LEFT = (CancelOutcome.FAILED, CancelOutcome.NOT_FOUND)


@dataclass(kw_only=True, slots=True)
class Stop:
    """What came of one cancel by the task itself."""

    results: list[CancelResult] = field(default_factory=list)
    accepted: set[str] | None = None
    """The runs of which a cancel of their own was accepted, which no check follows; None where one does."""
    bulk_ids: list[str] = field(default_factory=list)  # of accepted bulk actions by the ids of the runs
    bulk_ids_by_tag: list[str] = field(default_factory=list)
    begins_with: list[str] | None = None
    """The runs whose cancel only begins; None for what came of it."""
    unknown: int = 0
    """How many runs there may be whose ids are not known."""
    have_keys: bool = True  # so that a retry finds these
    parts: list[str] = field(default_factory=list)
    """The items of the requests that may have started these."""
    answer: ResponseError | None = None  # to the first such request that was answered
    tag: str | None = None
    found: set[str | None] = field(default_factory=set)
    """The keys of runs that only the list has shown, and that are being canceled."""
    search_error: Exception | None = None
    """Why the runs of an earlier try could not be searched."""


class Guard:
    """
    The runs that a task has started; what ends the ``with`` statement before them cancels them.

    So does a stop, at once: a thread of its own looks for it, as the main thread may wait for Airflow.

    :param client: for canceling only, as another one may be busy with the requests of the task
    :param stop_time: how long a cancel may take after a signal, in seconds
    :param log_stop: logs that a cancel begins after a signal, and what came of each cancel
    """

    def __init__(
        self,
        client: TriggerDevClient,
        note: StopNote,
        *,
        cancels: bool,
        stop_time: float,
        log_stop: Callable[[Stop], object],
    ) -> None:
        self.run_ids: list[str | None] = []
        """In the order of the items; None for one that is not known, or not started."""
        self.sendings: list[Sending] = []  # each added before it is sent
        self.ended: set[str] = set()
        self.found: set[str | None] = set()
        """The keys of runs that only the list has shown."""
        self.is_earlier: Callable[[str | None], bool] | None = None
        """Whether a run with this idempotency key may be from an earlier try; None if there was none."""
        self.tag: str | None = None
        """What all runs of the task instance carry, to find those whose ids no answer has shown."""
        self._client = client
        self._note = note
        self._cancels = cancels
        self._stop_time = stop_time
        self._log_stop = log_stop
        self._shown_at: dict[str, float] = {}  # when an answer has shown the id of a new run
        self._is_released = False
        self._is_cut_off = False  # from outside, so that no retry takes care of what was started
        self._work_is_over, self._is_done = threading.Event(), threading.Event()

    def __enter__(self) -> Self:
        threading.Thread(target=self._run, name="trigger-dev-guard", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or self._is_released:
            self._cancels = False
            self._work_is_over.set()
        else:
            # What ends a task from outside, such as Airflow's timeout, is no Exception.
            self._is_cut_off |= not isinstance(error, Exception)
            self.cancel()

    @property
    def known_ids(self) -> list[str]:
        """The ids of all runs that are known, each once."""
        return list(dict.fromkeys(run_id for run_id in self.run_ids if run_id))

    @property
    def _left(self) -> list[str]:
        return [one for one in self.known_ids if one not in self.ended]

    @property
    def may_have_lost(self) -> bool:
        """Whether there may be a run whose id is not known and that no retry finds, as it has no key."""
        return any(None in one.keys for one in self.sendings if one.is_unanswered)

    def take_up(self, pushed: Iterable[str | None]) -> None:
        """Cancel the runs that an earlier process of the task has started, and whose ids are in its XCom."""
        self.run_ids = list(pushed)

    def take_ids(self, sending: Sending) -> None:
        """Take in the ids of the runs of a request."""
        for index, run_id in zip(sending.requests, sending.run_ids or (), strict=False):
            self.run_ids[index] = run_id
            self._shown_at.setdefault(run_id, time.monotonic())

    def _is_new(self, run_id: str) -> bool:
        return time.monotonic() < self._shown_at.get(run_id, -math.inf) + BULK_LAG

    def _take_all(self) -> None:
        for sending in self.sendings:
            self.take_ids(sending)

    @property
    def _unanswered(self) -> list[Sending]:
        # Where a single run could not be started, the error says what a retry finds.
        may_find = self._is_cut_off or len(self.run_ids) > 1
        return [sending for sending in self.sendings if may_find and sending.is_unanswered]

    def release(self) -> None:
        """Cancel nothing from now on: the runs have ended, or something else cancels them."""
        self._note.check()
        self._cancels, self._is_released = False, True

    def sleep(self, seconds: float) -> None:
        """Wait in a thread that starts runs; a ``StoppedError`` ends it once the work is over."""
        pause(seconds, is_stopped=lambda: self._note.is_set or self._work_is_over.is_set())

    def cancel(self) -> None:
        """Cancel the runs that have not ended, and wait until that is done. Raises no error of its own."""
        self._work_is_over.set()
        try:
            self._wait_until_done()
        finally:  # where a signal handler of Airflow's has raised something, the cancel comes to its end, too
            self._wait_until_done()

    def _wait_until_done(self) -> None:
        while not self._is_done.wait(CHECK_INTERVAL):
            if self._note.at is not None and time.monotonic() > self._note.at + self._stop_time + _GRACE:
                return

    def _run(self) -> None:
        """Wait until the work is over, and cancel what is left; where a stop comes meanwhile, begin again."""
        while not (self._note.is_set or self._work_is_over.wait(CHECK_INTERVAL)):
            pass
        time.sleep(_INTERVAL)  # then a request that another thread is just sending counts as sent
        is_stop = self._note.is_set
        try:
            self._cancel(is_stop=is_stop)
            if self._note.is_set and not is_stop:
                self._cancel(is_stop=True)
        finally:
            self._client.close()
            self._is_done.set()

    def _cancel(self, *, is_stop: bool) -> None:
        self._is_cut_off |= is_stop
        now = time.monotonic()
        deadline = Deadline.after(self._stop_time if is_stop else TIME_LIMIT, now=self._note.at or now)
        stop = Stop(tag=self.tag)
        self.found = stop.found  # an earlier cancel may have ended before it took what its search has found
        self._take_all()
        if not self._cancels:
            deque(self._answers(deadline), maxlen=0)
        elif self._left or self._unanswered or self.is_earlier:
            if is_stop:
                self._announce()
            self._cancel_runs(stop, deadline, is_stop=is_stop)
        if is_stop or not self._note.is_set:  # else the cancel after the stop says the rest
            self._count_unknown(stop)
        else:
            stop.results = [one for one in stop.results if one.run_id in self.ended]
        self._log_stop(stop)

    def _announce(self) -> None:
        """Log which runs are being canceled, before the first request: Airflow may kill the process."""
        begin = Stop(tag=self.tag, begins_with=self._left)
        begin.unknown = sum(len(sending.requests) for sending in self._unanswered)
        if self._left or begin.unknown:
            self._log_stop(begin)

    def _count_unknown(self, stop: Stop) -> None:
        unanswered = self._unanswered
        keys = [key for sending in unanswered for key in sending.keys]
        stop.unknown = sum(key not in stop.found for key in keys)
        stop.have_keys = None not in keys
        stop.parts = [str(sending) for sending in unanswered if len(self.run_ids) > 1]
        stop.answer = next((one.error for one in unanswered if isinstance(one.error, ResponseError)), None)

    def _cancel_runs(self, stop: Stop, deadline: Deadline, *, is_stop: bool) -> None:
        left = self._left
        settings = CancelSettings(
            time_limit=deadline.remaining(time.monotonic()),
            bulk_from=BULK_FROM_AT_A_STOP,
            follows=not is_stop,
            is_new=self._is_new,
        )
        # Ids sort by time (measured). A bulk action misses new runs, which so come first after a signal.
        ids = sorted(left, reverse=is_stop)
        work = Cancellation(self._client, ids, settings, is_stopped=lambda: self._note.is_set and not is_stop)
        try:
            self._client.breaker.has_worked = True  # a page in place of an answer passes
            work.run(without_blocking(self._further(stop, deadline, is_stop=is_stop)))
        except AuthenticationError:
            pass  # the results say so
        except Exception as error:
            # Any error: the task ends all the same, for its own reason.
            stop.results = [not_canceled(one, error) for one in left or ["of this task"]]
            return
        results, accepted = sorted(work.results, key=lambda one: one.run_id), work.accepted
        self.ended |= accepted
        self.ended.update(one.run_id for one in results if one.outcome not in _LEFT)
        stop.results = results
        stop.accepted = accepted if is_stop and len(results) > BULK_FROM_AT_A_STOP else None
        stop.bulk_ids = work.bulk.accepted_ids

    def _further(self, stop: Stop, deadline: Deadline, *, is_stop: bool) -> Iterator[list[str]]:
        """Yield runs whose ids become known while others are being canceled."""
        yield self._find_by_keys(deadline)
        answers = self._answers(deadline)
        if is_stop and not all(one.is_done for one in self._unanswered):
            search = begin(partial(self._find_by_tag, stop, deadline, is_stop=True))
            while not search.done():  # a slow list may take most of the time
                yield next(answers, [])
            yield search.result()
        yield from answers
        yield self._find_by_tag(stop, deadline, is_stop=is_stop)

    def _answers(self, deadline: Deadline) -> Iterator[list[str]]:
        """Wait a while for the requests in flight; yield all runs that are known now and then."""
        until = deadline.before(_SHARE_OF_ANSWERS, now=time.monotonic())
        # A single run is found by its key at once, where no retry finds it.
        awaited = [one for one in self.sendings if not (self._is_cut_off and one.is_found_by_key)]
        is_over = False
        while not is_over:
            is_over = all(one.is_done or one.run_ids for one in awaited)
            is_over = is_over or not until.remaining(time.monotonic())
            self._take_all()
            yield self._left
            time.sleep(0 if is_over else _INTERVAL)

    def _find_by_keys(self, deadline: Deadline) -> list[str]:
        """Find the runs of single items by their keys; not after an error, as a retry finds them."""
        found: list[str] = []
        share = deadline.before(_SHARE, now=time.monotonic())
        for sending in self._unanswered if self._is_cut_off else ():
            if sending.is_found_by_key:
                [request] = sending.requests.values()
                with suppress(TriggerDevError):  # it stays unanswered, which is logged
                    sending.run_ids = (find_by_key(self._client, request, deadline=share),)
                    self.take_ids(sending)
                    found += sending.run_ids
        return found

    def _find_by_tag(self, stop: Stop, deadline: Deadline, *, is_stop: bool) -> list[str]:
        """
        Return the ids of runs that no answer has shown, once the list shows them all.

        After a signal there is no time for that: a bulk action cancels what the list does not show yet, where
        it shows nothing alive that is not ours.
        """
        keys = {key for each in self._unanswered for key in each.keys if key is not None} - stop.found
        # Those of an earlier try are all known once each item has its run: what is replaced ends before.
        is_earlier = None if self.run_ids and None not in self.run_ids else self.is_earlier
        if self.tag is None or not (keys or is_earlier):
            return []

        def belongs(key: str | None) -> bool:
            return key in keys or bool(is_earlier and is_earlier(key))

        share = deadline.before(_SHARE_AT_A_STOP if is_stop else _SHARE, now=time.monotonic())
        search = Search(
            self._client,
            RunFilter(tags=(self.tag,)).pages,
            belongs=belongs,
            skip=set(self.known_ids),
            deadline=Deadline(share.at, is_for_one=is_stop),
        )
        search.run(
            pauses=_PAUSES[:1] if is_stop else _PAUSES,
            is_enough=lambda: not is_earlier and keys <= search.keys,
        )
        stop.found.update(filter(belongs, search.keys))
        if is_earlier:  # of others, the log says which items have no answer
            stop.search_error = search.error
        if is_stop and keys - search.keys and not (search.error or search.others):
            half = deadline.before(_SHARE, now=time.monotonic()).at  # what was found needs the rest
            share = Deadline(half, is_for_one=True)
            call = cancel_runs_in_bulk(tag=self.tag, name=BULK_ACTION_NAME)
            with suppress(TriggerDevError):  # a server, or a key, may know no bulk actions
                stop.bulk_ids_by_tag.append(self._client.call(call, deadline=share, patience=0))
        return [run.id for run in search.ours]
