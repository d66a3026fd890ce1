"""Find the runs that a selection means, or that a Dag run or task instance has started."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import KW_ONLY, dataclass, field
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Any

from airflow_provider_trigger._compat import may_pull_in_thread
from airflow_provider_trigger.api.errors import (
    AuthenticationError,
    NotFoundError,
    NotSentError,
    TriggerDevError,
)
from airflow_provider_trigger.api.limits import NEVER, Deadline
from airflow_provider_trigger.api.models import ListedRun, Run
from airflow_provider_trigger.api.runs import Batch, check_run, retrieve_batch
from airflow_provider_trigger.log import Log, counted
from airflow_provider_trigger.run.checks import call_each
from airflow_provider_trigger.run.identity import TaskInstanceIdentity
from airflow_provider_trigger.run.search import ALL_TIMES, RECENT, RunFilter, Search, without_blocking
from airflow_provider_trigger.sources.arguments import Selection
from airflow_provider_trigger.sources.context import starter_of
from airflow_provider_trigger.sources.run_ids import Reaction, RunIds, invalid_value, log_sources
from airflow_provider_trigger.sources.xcom import started_by_xcom, why_no_xcom

if TYPE_CHECKING:
    from datetime import datetime

    from airflow.sdk import Context

    from airflow_provider_trigger.api.client import TriggerDevClient
    from airflow_provider_trigger.cancel.cancellation import Cancellation
    from airflow_provider_trigger.run.identity import DagRunIdentity


# The part of the time in which pages are joined: single cancels keep the server from showing the next one.
_SHARE_TO_JOIN = 0.1


@dataclass(slots=True)
class SelectedRuns:
    """Find the runs of a selection that are alive; ``ids`` gets those found at first, and what is wrong."""

    selection: Selection
    ids: RunIds
    _: KW_ONLY
    log: Log
    on_empty: Reaction = "ignore"
    done: str = "canceled"  # what becomes of them, for messages
    is_stopped: Callable[[], bool] = lambda: False
    error: TriggerDevError | None = None  # of the first look
    _has_looked: bool = False
    _alive: set[str] = field(default_factory=set)  # the sources that had a run that was alive
    _problems: RunIds = field(default_factory=RunIds)  # of the last look

    def search(self, client: TriggerDevClient, *, needs_all: bool = False) -> Iterator[list[str]]:
        """
        Yield the ids of all that are found at first, then those of a second look, and empty lists meanwhile.

        More than ``max_runs`` are left alone. With ``needs_all``, so are all where a search fails, or a batch
        is unknown.
        """
        search = Search(client, self._pages, is_stopped=self.is_stopped)
        limit, given = self.selection.max_runs, len(self.ids.found)
        count = 0
        for page in search.pages():
            count += len(page)
            if count > limit:
                break
            if self.is_stopped():
                self._fail("not all runs were searched, as the task was stopped")
                break
            yield []  # given runs are being canceled meanwhile
        self._has_looked = True
        found, self.error = search.ours, search.error
        is_unknown = self._note(invalid=self._problems.invalid)
        if len(found) > limit:
            text = f"{self.selection} finds more than max_runs={limit} runs that are alive: none of these was"
            self._note(too_many=[f"{text} {self.done}. Select fewer runs, or set max_runs"])
            return
        self._log_found(found, "run")
        if found:
            self.ids.add([run.id for run in found], source=str(self.selection))
        if needs_all and (self.error or is_unknown):
            return
        if self.error:
            self._fail(f"not all runs could be searched: {self.error}")
        if not isinstance(self.error, AuthenticationError):
            yield self.ids.found[given:]
            yield from self._look_again(search)

    def note_end(self, work: Cancellation) -> None:
        """Say that there may be more runs, where the work has ended by an error amid the first look."""
        if work.end is not None and not self._has_looked:
            self.error = self.error or NotSentError(work.end.value)
            self._fail(f"not all runs were searched: {work.end.value}")

    def _look_again(self, search: Search) -> Iterator[list[str]]:
        """Yield the ids of runs that the list did not show at first, and empty lists meanwhile."""
        left = self.selection.max_runs - len(search.ours)
        for page in search.pages():
            new, left = page[: max(0, left)], left - len(page)
            self._log_found(new, "more run")
            yield [run.id for run in new]
        if search.error:
            self._fail(f"further runs could not be searched: {search.error}")
        elif not self._problems.invalid:
            self._note(empty=self._problems.empty)
        if left < 0:
            limit = f"max_runs={self.selection.max_runs}"
            self._fail(f"not {self.done}, as {limit} runs were found: {-left} more. Try again for these")
        self._note(failed=self._problems.failed)

    def _note(self, **problems: Any) -> bool:
        """Log what is wrong, by its kind, and keep it; return whether there is anything."""
        log_sources(self.log, RunIds(**problems), on_empty=self.on_empty)
        for kind, texts in problems.items():
            getattr(self.ids, kind).extend(texts)
        return any(problems.values())

    def _fail(self, text: str) -> None:
        self._note(failed=[f"{self.selection}: {text}"])

    def _log_found(self, runs: list[ListedRun], name: str) -> None:
        """Name all runs before anything is done to the first."""
        if runs:
            found, run_ids = counted(len(runs), name), ", ".join(run.id for run in runs)
            self.log.info("Found %s alive by %s: %s", found, self.selection, run_ids)

    def _pages(
        self, client: TriggerDevClient, since: datetime, deadline: Deadline
    ) -> Iterator[list[ListedRun]]:
        """Yield the runs by tags and of each batch; where one fails, all others, and then raise its error."""
        failed: TriggerDevError | None = None
        problems, sources = RunIds(), dict[str, Iterator[list[ListedRun]]]()
        if tags := self.selection.tags:
            runs = RunFilter(tags=tags, only_alive=True).pages(client, since, deadline)
            sources[f"no run that is alive has tags={list(tags)!r}"] = runs
        for batch_id in self.selection.batch_ids:
            sources[f"batch {batch_id!r} has no run that is alive"] = _batch(batch_id, client, problems)
        for if_empty, pages in sources.items():
            try:
                for page in pages:
                    if any(not run.is_final for run in page):
                        self._alive.add(if_empty)
                    yield page
            except AuthenticationError:
                raise
            except TriggerDevError as error:  # the list and the batches have databases of their own
                failed = failed or error
        problems.empty = [source for source in sources if source not in self._alive]
        self._problems = problems
        if failed:
            raise failed


def _batch(batch_id: str, client: TriggerDevClient, problems: RunIds) -> Iterator[list[ListedRun]]:
    """
    Yield the runs of a batch in its items' order, some ended.

    A batch names runs of earlier batches, too, that its items got by their keys, and which the list does not
    show with it; the list shows runs that a large batch does not name yet (measured). What only one of them
    has is checked. Where the list fails, the error is raised after what the batch names.
    """
    try:
        batch = client.call(retrieve_batch(batch_id))
    except NotFoundError:
        reason = "the environment of the secret key has no such batch"
        unknown = invalid_value(batch_id, source="batch_ids", kind="batch id", reason=reason)
        problems.invalid.append(str(unknown))
        return
    named, listed, failed = dict.fromkeys(batch.run_ids), dict[str, ListedRun](), None
    is_incomplete = len(batch.run_ids) < batch.run_count
    try:
        listed = _listed(batch, client)
    except TriggerDevError as error:
        failed = error if is_incomplete else None
    checked = call_each(client, check_run, sorted(named.keys() ^ listed.keys()))
    found: list[ListedRun] = []
    for run_id in {**named, **listed}:
        run = checked.get(run_id) or listed[run_id]
        if isinstance(run, TriggerDevError):
            # A run that was named, but never made, is not found (measured).
            if run_id not in named or isinstance(run, AuthenticationError):
                failed = failed or run
            elif not isinstance(run, NotFoundError):
                found.append(ListedRun(id=run_id, status="", task_identifier="", attributes={}))
        elif run_id in named or (isinstance(run, Run) and run.batch_id == batch.id):
            found.append(run)
    yield found
    if batch.status in ("PENDING", "PROCESSING") and is_incomplete:
        exist = f"{len(batch.run_ids)} of its {batch.run_count} runs exist"
        text = f"batch {batch_id!r} is still being created: {exist}. Try again for the others"
        problems.failed.append(text)
    if failed:
        raise failed


def _listed(batch: Batch, client: TriggerDevClient) -> dict[str, ListedRun]:
    """Return what the list shows for a batch, nothing of a server that ignores that filter, and shows all."""
    listed: dict[str, ListedRun] = {}
    for page in RunFilter(batch_id=batch.id).pages(client):
        listed |= {run.id: run for run in page}
        if len(listed) > max(batch.run_count, len(batch.run_ids)):
            return {}
    return listed


def started(
    context: Context, ids: RunIds, client: TriggerDevClient, *, deadline: Deadline, log: Log, origin: str
) -> Iterator[list[str]]:
    """
    Add the runs that a Dag run or task instance has started, by its tag and by XCom; yield all at times.

    ``log`` names runs that carry the tag only. XCom is read in threads, as no read can be ended.
    """
    starter, reading = starter_of(context), started_by_xcom(ids, context)
    if starter is None:
        if reason := why_no_xcom(context):
            ids.failed.append(
                f"the runs of this Dag run cannot be found: XCom is not available ({reason}), and the "
                "context does not say when the Dag run started; give run_ids, or use a task's callback"
            )
        yield from reading
        return
    # Reading XCom needs the rest of the time.
    search = _by_tag(starter, client, deadline=deadline.before(1 / 2, now=time.monotonic()))
    hold = _SHARE_TO_JOIN * deadline.remaining(time.monotonic())
    looks = _look_twice(search, ids, starter.tag, hold=hold)
    if may_pull_in_thread():
        reads = _in_time(without_blocking(reading), search, ids, deadline)
        # Both yield nothing, or all so far.
        yield from (max(found, key=len) for found in zip_longest(looks, reads, fillvalue=list[str]()))
    else:
        yield from chain(looks, _in_time(reading, search, ids, deadline))
    _name_others(search, ids, log, origin)


def lacking(
    ids: RunIds,
    client: TriggerDevClient,
    *,
    deadline: Deadline = NEVER,
    is_stopped: Callable[[], bool] = lambda: False,
    log: Log,
    origin: str = "",
) -> Iterator[list[str]]:
    """Add the runs of tasks that have pushed the ids of some only, by their tags; yield the new ones."""
    for starter in ids.lacking:
        text = "%sTask %r has pushed the ids of some of its runs only: searching for the others by its tag %s"
        log.info(text, origin, starter.task_id, starter.tag)
        search = _by_tag(starter, client, deadline=deadline, is_stopped=is_stopped)
        known = len(ids.found)
        for _ in _look_twice(search, ids, starter.tag):
            yield ids.found[known:]
            known = len(ids.found)
        _name_others(search, ids, log, origin)


def _by_tag(
    starter: DagRunIdentity | TaskInstanceIdentity, client: TriggerDevClient, **options: Any
) -> Search:
    dag_run = starter.dag_run if isinstance(starter, TaskInstanceIdentity) else starter
    # A test of a Dag has the start_date that the user gives.
    start = None if dag_run.is_test else dag_run.start_date
    created_from = start - RECENT if start else ALL_TIMES
    runs = RunFilter(tags=(starter.tag,), only_alive=True, created_from=created_from)
    return Search(client, runs.pages, belongs=starter.has_started, **options)


def _name_others(search: Search, ids: RunIds, log: Log, origin: str) -> None:
    if others := [run_id for run_id in search.others if run_id not in ids.found]:
        log.warning(
            "%sNot canceled, as they have the tag of this Dag run or task, but not its idempotency key "
            "(replays, or runs with a key of their own): %s",
            origin,
            ", ".join(others),
        )


def _look_twice(search: Search, ids: RunIds, tag: str, *, hold: float = 0.0) -> Iterator[list[str]]:
    """Yield the ids of runs that carry the tag, pages within ``hold`` seconds together; the list lags."""
    error: TriggerDevError | None = None
    for _ in range(2):
        due_at = time.monotonic() + hold
        for page in search.pages():
            if page:
                ids.add([run.id for run in page], source="the list of runs")
            is_due = (now := time.monotonic()) >= due_at
            yield ids.found if is_due else []
            due_at = now + hold if is_due else due_at
        yield ids.found
        error = search.error and (error or search.error)
        if isinstance(error, AuthenticationError):
            break
    if error:
        ids.failed.append(f"the runs with the tag {tag} could not be listed: {error}")


def _in_time(
    reading: Iterator[list[str]], search: Search, ids: RunIds, deadline: Deadline
) -> Iterator[list[str]]:
    """Read XCom; after the deadline only where the search, whose time is over then, has failed."""
    for found in reading:
        yield found
        if not search.error and not deadline.remaining(time.monotonic()):
            ids.failed.append("XCom was not read to its end: the time limit was reached")
            return
