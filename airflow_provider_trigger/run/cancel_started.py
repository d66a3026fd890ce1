"""Cancel the runs that a task has started: those that are known, and those that only a search can find."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from airflow_provider_trigger.api.errors import AuthenticationError, ResponseError, TriggerDevError
from airflow_provider_trigger.api.limits import Deadline
from airflow_provider_trigger.api.runs import cancel_runs_in_bulk
from airflow_provider_trigger.cancel.cancellation import TIME_LIMIT, Cancellation
from airflow_provider_trigger.cancel.outcome import CancelOutcome, CancelResult, not_canceled
from airflow_provider_trigger.cancel.record import CancelSettings
from airflow_provider_trigger.defaults import BULK_ACTION_NAME, BULK_FROM_AT_A_STOP
from airflow_provider_trigger.run.search import LIST_LAG, RunFilter, Search, without_blocking
from airflow_provider_trigger.run.sending import find_by_key
from airflow_provider_trigger.run.started import StartedRuns
from airflow_provider_trigger.threads import begin

if TYPE_CHECKING:
    from airflow_provider_trigger.api.client import TriggerDevClient


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """How runs are canceled: all that differs between an error of the task and a stop by Airflow."""

    time_limit: float | None  # in seconds; None for the time that Airflow gives a task
    is_announced: bool  # the log names the runs before the first request: Airflow may kill the process
    follows: bool  # each run is checked until it is certain what became of it
    newest_first: bool  # a bulk action misses new runs
    pauses: tuple[float, ...]  # before each search by the tag, in seconds: the list lags behind
    share_of_search: float  # the part of the time that a search gets
    is_hurried: bool
    """
    A search begins while requests in flight are awaited, and one page of the list may take its whole share; a
    bulk action by the tag cancels what the list does not show yet, if all that it shows is ours.
    """


AFTER_AN_ERROR = Way(
    time_limit=TIME_LIMIT,
    is_announced=False,
    follows=True,
    newest_first=False,
    pauses=(0.0, LIST_LAG / 2, LIST_LAG / 2),
    share_of_search=0.5,
    is_hurried=False,
)
AFTER_A_STOP = Way(
    time_limit=None,
    is_announced=True,
    follows=False,
    newest_first=True,
    pauses=(0.0,),
    share_of_search=0.85,
    is_hurried=True,
)

# The part of the time for which requests in flight are awaited, and that of each further request.
_SHARE_OF_ANSWERS, _SHARE = 0.75, 0.5
_INTERVAL = 0.05
_LEFT = (CancelOutcome.FAILED, CancelOutcome.NOT_FOUND)


@dataclass(kw_only=True, slots=True)
class Stop:
    """The result of one cancel by the task itself."""

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
    search_error: Exception | None = None
    """Why the runs of an earlier try could not be searched."""


def announcement(started: StartedRuns) -> Stop | None:
    """Return which runs are about to be canceled; None for none."""
    unknown = sum(len(sending.requests) for sending in started.unanswered)
    if started.left or unknown:
        return Stop(tag=started.tag, begins_with=started.left, unknown=unknown)
    return None


class CancelOfStarted:
    """One cancel of the runs that a task has started; ``stop`` is its result."""

    def __init__(
        self,
        started: StartedRuns,
        client: TriggerDevClient,
        way: Way,
        deadline: Deadline,
        is_stopped: Callable[[], bool],
    ) -> None:
        self.stop = Stop(tag=started.tag)
        self._started = started
        self._client = client
        self._way = way
        self._deadline = deadline
        self._is_stopped = is_stopped
        started.found = set()  # a cancel before may have ended before it took what its search has found
        started.take_all()

    def run(self) -> None:
        """Cancel what has not ended; any error of a request is in the results."""
        started, way, stop = self._started, self._way, self.stop
        if not (left := started.left) and not started.unanswered and not started.is_earlier:
            return
        settings = CancelSettings(
            time_limit=self._deadline.remaining(time.monotonic()),
            bulk_from=BULK_FROM_AT_A_STOP,
            follows=way.follows,
            is_new=started.is_new,
        )
        ids = sorted(left, reverse=way.newest_first)  # ids sort by time (measured)
        work = Cancellation(self._client, ids, settings, is_stopped=self._is_stopped)
        try:
            self._client.breaker.has_worked = True  # a page in place of an answer passes
            work.run(without_blocking(self._further()))
        except AuthenticationError:
            pass  # the results say so
        except Exception as error:
            # Any error: the task ends all the same, for its own reason.
            stop.results = [not_canceled(run_id, error) for run_id in left or ["of this task"]]
            return
        stop.results = sorted(work.results, key=lambda result: result.run_id)
        started.ended |= work.accepted
        started.ended.update(result.run_id for result in stop.results if result.outcome not in _LEFT)
        stop.accepted = work.accepted if not way.follows and len(stop.results) > BULK_FROM_AT_A_STOP else None
        stop.bulk_ids = work.bulk.accepted_ids

    def answers(self) -> Iterator[list[str]]:
        """Wait a while for the requests in flight; yield all runs that are known now and then."""
        started, until = self._started, self._deadline.before(_SHARE_OF_ANSWERS, now=time.monotonic())
        # A single run is found by its key at once, where no retry finds it.
        is_cut_off = started.is_cut_off
        awaited = [each for each in started.sendings if not (is_cut_off and each.is_found_by_key)]
        is_over = False
        while not is_over:
            is_over = all(sending.is_done or sending.run_ids for sending in awaited)
            is_over = is_over or not until.remaining(time.monotonic())
            started.take_all()
            yield started.left
            time.sleep(0 if is_over else _INTERVAL)

    def count_unknown(self) -> None:
        """Note which requests may have started runs whose ids are not known."""
        unanswered, stop = self._started.unanswered, self.stop
        keys = [key for sending in unanswered for key in sending.keys]
        errors = [sending.error for sending in unanswered if isinstance(sending.error, ResponseError)]
        stop.unknown = sum(key not in self._started.found for key in keys)
        stop.have_keys = None not in keys
        stop.parts = [str(sending) for sending in unanswered if len(self._started.run_ids) > 1]
        stop.answer = errors[0] if errors else None

    def _further(self) -> Iterator[list[str]]:
        """Yield runs whose ids become known while others are being canceled."""
        yield self._find_by_keys()
        answers = self.answers()
        if self._way.is_hurried and not all(sending.is_done for sending in self._started.unanswered):
            search = begin(self._find_by_tag)
            while not search.done():  # a slow list may take most of the time
                yield next(answers, [])
            yield search.result()
        yield from answers
        yield self._find_by_tag()

    def _find_by_keys(self) -> list[str]:
        """Find the runs of single items by their keys; not after an error, as a retry finds them."""
        found: list[str] = []
        share = self._deadline.before(_SHARE, now=time.monotonic())
        for sending in self._started.unanswered if self._started.is_cut_off else ():
            if sending.is_found_by_key:
                [request] = sending.requests.values()
                with suppress(TriggerDevError):  # it stays unanswered, which is logged
                    sending.run_ids = (find_by_key(self._client, request, deadline=share),)
                    self._started.take_ids(sending)
                    found += sending.run_ids
        return found

    def _find_by_tag(self) -> list[str]:
        """Find the runs that no answer has shown; in a hurry, cancel also what the list does not show yet."""
        started, way = self._started, self._way
        keys = {key for each in started.unanswered for key in each.keys if key is not None} - started.found
        # Once each item has its run, no run of an earlier try is left: replaced runs are canceled first.
        is_earlier = None if started.run_ids and None not in started.run_ids else started.is_earlier
        if started.tag is None or not (keys or is_earlier):
            return []

        def belongs(key: str | None) -> bool:
            return key in keys or bool(is_earlier and is_earlier(key))

        share = self._deadline.before(way.share_of_search, now=time.monotonic())
        search = Search(
            self._client,
            RunFilter(tags=(started.tag,)).pages,
            belongs=belongs,
            skip=set(started.known_ids),
            deadline=Deadline(share.at, is_for_one=way.is_hurried),
        )
        search.run(pauses=way.pauses, is_enough=lambda: not is_earlier and keys <= search.keys)
        started.found.update(filter(belongs, search.keys))
        if is_earlier:  # for all others, the log says which items have no answer
            self.stop.search_error = search.error
        if way.is_hurried and keys - search.keys and not (search.error or search.others):
            self._cancel_by_tag(started.tag)
        return [run.id for run in search.ours]

    def _cancel_by_tag(self, tag: str) -> None:
        half = self._deadline.before(_SHARE, now=time.monotonic()).at  # what was found needs the rest
        call = cancel_runs_in_bulk(tag=tag, name=BULK_ACTION_NAME)
        with suppress(TriggerDevError):  # a server, or a key, may know no bulk actions
            deadline = Deadline(half, is_for_one=True)
            self.stop.bulk_ids_by_tag.append(self._client.call(call, deadline=deadline, patience=0))
