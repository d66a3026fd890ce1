"""Find the runs of a selection that are alive, in order to cancel exactly these."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING, TypeVar

from airflow_provider_trigger.api.errors import AuthenticationError, TriggerDevError
from airflow_provider_trigger.api.models.runs import ListedRun
from airflow_provider_trigger.log import Log
from airflow_provider_trigger.run.find import LIST_LAG, RunFilter
from airflow_provider_trigger.sources.batch_runs import BatchRuns
from airflow_provider_trigger.sources.problems import Reaction, log_sources
from airflow_provider_trigger.sources.run_ids import RunIds
from airflow_provider_trigger.sources.search_terms import Selection
from airflow_provider_trigger.wording import counted

if TYPE_CHECKING:
    from airflow_provider_trigger.api.client import TriggerDevClient

T = TypeVar("T")

# How often the caller can notice a stop, in seconds, and the shortest pause.
_PAUSE, _LEAST_PAUSE = 0.1, 0.01
# A selection that finds too many runs is counted up to so many times as many as are allowed.
_COUNTED = 10
_IDS_IN_A_LINE = 50

_BY_TAGS = "tags"


class TooManyRunsError(ValueError):
    """A selection finds more runs than it may."""


class SelectedRuns:
    """
    Find the runs of a selection twice, as the list lags: at first, and again while those are being canceled.

    Their tags or batch are compared before they are handed over. ``ids`` gets the runs that are found at
    first, and what is wrong. With ``on_empty``, finding none is an error in the log.
    """

    def __init__(
        self,
        selection: Selection,
        ids: RunIds,
        *,
        log: Log,
        on_empty: Reaction = "ignore",
        is_stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self._selection = selection
        self._ids = ids
        self._log = log
        self._on_empty: Reaction = on_empty
        self._is_stopped = is_stopped
        self._known: set[str] = set()
        self._batches = BatchRuns(self.note)
        self._with_runs: set[str] = set()
        self._due_at = 0.0
        self._is_complete = False
        self.error: TriggerDevError | ValueError | None = None
        """Why the first search failed."""

    def search(self, client: TriggerDevClient, *, needs_all: bool = False) -> Iterator[list[str]]:
        """
        Yield the ids of all that are found at first, then those of a second search; raise nothing.

        With ``needs_all``, a search that fails, or an unknown batch, leaves all runs alone.
        """
        given = len(self._ids.found)
        try:
            self.find(client)
        except (TriggerDevError, ValueError) as error:
            self.error = error
        except BaseException:  # Airflow's own, such as a timeout
            self._log.error("The search was ended before it was complete")
            raise
        if isinstance(self.error, ValueError) or (needs_all and (self.error or self._ids.invalid)):
            return
        if self.error is not None:
            text = f"{self._selection}: not all runs could be searched: {self.error}"
            self.note(RunIds(failed=[text]))
        if not isinstance(self.error, AuthenticationError):
            yield self._ids.found[given:]
            yield from self.further(client)

    def find(self, client: TriggerDevClient) -> None:
        """Find the runs, and name each in the log; an error keeps those that were found by then."""
        limit, found, count = self._selection.max_runs, list[ListedRun](), 0
        try:
            for page in while_waiting(self._pages(client)):
                found += page[: limit - len(found)]
                count += len(page)
                if self._is_stopped() or count > limit * _COUNTED:
                    break
            else:
                self._is_complete = True
        except TriggerDevError:
            if count <= limit:
                raise
        finally:
            if found and count <= limit:
                self._log_found(found, "run")
                self._ids.add([run.id for run in found], source=str(self._selection))
            self._due_at = time.monotonic() + LIST_LAG
        if count > limit:
            number = f"{count} runs" if self._is_complete else f"at least {count} runs"
            text = f"{self._selection} finds {number} that are alive, more than max_runs={limit}"
            raise TooManyRunsError(f"{text}: none of these was canceled. Select fewer runs, or set max_runs")
        if not self._is_complete:
            text = f"{self._selection}: not all runs were searched, as the task was stopped"
            self.note(RunIds(failed=[text]))

    def further(self, client: TriggerDevClient) -> Iterator[list[str]]:
        """
        Yield the ids of runs that the list did not show at first; it is read again 2.5 s later.

        Meanwhile it yields empty lists, several times a second. It raises nothing: ``ids`` says where the
        list fails, how many runs above ``max_runs`` are left alone, and which batches may get more runs.
        """
        # Once the task was stopped, nothing more is sent; but an end here would look like a complete search.
        while self._is_stopped() or time.monotonic() < self._due_at:
            time.sleep(min(_PAUSE, max(_LEAST_PAUSE, self._due_at - time.monotonic())))
            yield []
        count, left, failed = len(self._known), 0, list[str]()
        try:
            for page in while_waiting(self._pages(client)):
                new = page[: max(0, self._selection.max_runs - count)]
                count, left = count + len(new), left + len(page) - len(new)
                self._log_found(new, "more run")
                yield [run.id for run in new]
        except TriggerDevError as error:
            failed.append(f"{self._selection}: further runs could not be searched: {error}")
        empty = [] if failed else self._describe_empty()
        self.note(RunIds(failed=[*failed, *self._describe_left(left)], empty=empty))

    def note(self, problems: RunIds) -> None:
        """Log what was found besides runs, and add it to ``ids``."""
        log_sources(self._log, problems, on_empty=self._on_empty)
        self._ids.invalid += problems.invalid
        self._ids.failed += problems.failed
        self._ids.empty += problems.empty

    def _describe_left(self, left: int) -> list[str]:
        sentences = []
        if left:
            limit = f"as {self._selection} has found max_runs={self._selection.max_runs} runs"
            sentences.append(f"not canceled, {limit}: {left} more. Cancel these again")
        for batch in self._batches.incomplete:
            exist = f"{len(batch.run_ids)} of its {batch.run_count} runs exist"
            text = f"batch {batch.id!r} is still being created: {exist}"
            sentences.append(f"{text}. Cancel it again for the others")
        return sentences

    def _describe_empty(self) -> list[str]:
        sentences = {one: f"batch {one!r} has no run that is alive" for one in self._batches.found}
        if self._selection.tags:
            sentences[_BY_TAGS] = f"no run that is alive has tags={list(self._selection.tags)!r}"
        return [sentence for source, sentence in sentences.items() if source not in self._with_runs]

    def _pages(self, client: TriggerDevClient) -> Iterator[list[ListedRun]]:
        """Yield the runs that are alive and were not found before; a page may be empty."""
        failed: TriggerDevError | None = None
        for source in self._sources(client):
            try:
                yield from source
            except AuthenticationError:
                raise
            except TriggerDevError as error:  # the list and the batches have databases of their own
                failed = failed or error
        if failed:
            raise failed

    def _sources(self, client: TriggerDevClient) -> Iterator[Iterator[list[ListedRun]]]:
        if self._selection.tags:
            tagged = RunFilter(tags=self._selection.tags, only_alive=True)
            tagged = tagged.read_again(now=time.time()) if self._is_complete else tagged
            yield (self._new(page, source=_BY_TAGS) for page in tagged.pages(client))
        for batch_id in self._selection.batch_ids:
            yield self._of_batch(batch_id, client)

    def _of_batch(self, batch_id: str, client: TriggerDevClient) -> Iterator[list[ListedRun]]:
        yield self._new(self._batches.runs_of(batch_id, client, skip=self._known), source=batch_id)

    def _new(self, runs: Iterable[ListedRun], *, source: str) -> list[ListedRun]:
        alive = [run for run in runs if not run.is_final]
        if alive:
            self._with_runs.add(source)
        new = [run for run in alive if run.id not in self._known]
        self._known.update(run.id for run in new)
        return new

    def _log_found(self, runs: list[ListedRun], name: str) -> None:
        """Name all runs before the first is canceled, those that are alike in lines of up to 50."""
        if runs:
            self._log.info("Found %s alive by %s", counted(len(runs), name), self._selection)
        alike: dict[tuple[str, str], list[str]] = {}
        for run in runs:
            alike.setdefault((run.task_identifier, run.status), []).append(run.id)
        for (task, status), run_ids in alike.items():
            what = f"of Trigger.dev task {task!r}" if task else "of an unknown task"
            for start in range(0, len(run_ids), _IDS_IN_A_LINE):
                part = run_ids[start : start + _IDS_IN_A_LINE]
                text = "%d %s, %s: %s"
                self._log.info(text, len(part), what, status or "status unknown", ", ".join(part))


def while_waiting(pages: Iterator[list[T]]) -> Iterator[list[T]]:
    """
    Yield pages as they come, and meanwhile empty ones, several times a second, so that a stop is noticed.

    Each is read in a daemon thread, when it is needed: a request that is not answered takes 30 s, a used-up
    rate limit 10 s.
    """
    while True:
        reply: Future[list[T] | None] = Future()
        threading.Thread(target=_read, args=(pages, reply), name="trigger-dev-search", daemon=True).start()
        while not wait([reply], timeout=_PAUSE).done:
            yield []
        page = reply.result()
        if page is None:
            return
        yield page


def _read(pages: Iterator[list[T]], reply: Future[list[T] | None]) -> None:
    try:
        reply.set_result(next(pages, None))
    except BaseException as error:
        reply.set_exception(error)  # the thread that reads the pages raises it
