"""Search for runs by what they have in common, once or several times, as the list of runs lags behind."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import wait
from dataclasses import KW_ONLY, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from airflow_provider_trigger.api.errors import OversizeError, ResponseError, TriggerDevError
from airflow_provider_trigger.api.limits import NEVER, Deadline
from airflow_provider_trigger.api.models import ListedRun
from airflow_provider_trigger.api.runs import MAX_PAGE_SIZE, Cursor, list_runs_page
from airflow_provider_trigger.api.statuses import ALIVE_STATUSES, todays_word
from airflow_provider_trigger.threads import begin

if TYPE_CHECKING:
    from airflow_provider_trigger.api.client import TriggerDevClient

log = logging.getLogger(__name__)

T = TypeVar("T")

ALL_TIMES = datetime.fromtimestamp(1, UTC)
"""Without a time, only the runs of the last 7 days are listed (measured)."""

LIST_LAG = 2.5
"""After these seconds, the list shows a run that was started: it lags 1 to 2 s behind (measured)."""

# A filter by status would drop runs whose status is new. So a search for runs that are alive reads this many
# pages of all runs, 75 ms each (measured), and only older runs with a filter.
_UNFILTERED_PAGES = 50
# Items have the metadata of their runs, up to 256 KB (measured): 100 of these are more than is read at once.
_SMALL_PAGE = 10
RECENT = timedelta(days=1)
"""Longer than any clock is wrong: for a second look, and before the start of a Dag run."""

_SERVER_REJECTS = 422  # a window that is too wide; newer servers do (read)
_WINDOWS = tuple(timedelta(days=days) for days in (30, 7, 1))  # which are tried then, one after another
_PAUSE = 0.1  # between two times that the caller can notice a stop, in seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class RunFilter:
    """The runs to list; an empty field allows any value."""

    tags: tuple[str, ...] = ()  # all of these, exactly
    statuses: Collection[str] = ()  # one of these, in today's words
    only_alive: bool = False  # as is a run whose status is new
    task_identifiers: tuple[str, ...] = ()  # one of these
    batch_id: str | None = None
    created_from: datetime = ALL_TIMES  # with a time zone
    is_whole: bool = False  # then it is an error if the server lists only newer ones

    def pages(
        self, client: TriggerDevClient, since: datetime = ALL_TIMES, deadline: Deadline = NEVER
    ) -> Iterator[list[ListedRun]]:
        """
        Yield the runs page by page, the newest first, as far as the list knows; a page may be empty.

        Where the server rejects so long a time, a warning says from when on runs are searched.
        """
        cursor, size, has_more = Cursor(), MAX_PAGE_SIZE, True
        created_from, windows = max(self.created_from, since), iter(_WINDOWS)
        while has_more:
            is_older = self.only_alive and cursor.pages >= _UNFILTERED_PAGES
            call = list_runs_page(
                page_size=size,
                tags=self.tags[:1],  # it would find runs with any of several (measured)
                statuses=sorted(ALIVE_STATUSES if is_older else self.statuses),
                task_identifiers=sorted(self.task_identifiers),
                batch_id=self.batch_id,
                created_from=created_from,
                after=cursor.after,
            )
            try:
                page = client.call(call, deadline=deadline)
            except OversizeError:
                if size == _SMALL_PAGE:
                    raise
                size = _SMALL_PAGE
                continue
            except ResponseError as error:
                is_too_wide = error.status == _SERVER_REJECTS and not (cursor.pages or self.is_whole)
                window = next(windows, None) if is_too_wide else None
                if window is None:
                    raise
                created_from = max(created_from, datetime.fromtimestamp(time.time(), UTC) - window)
                log.warning("Not searched are runs from before %s UTC: %s", f"{created_from:%F %T}", error)
                continue
            found = [run for run in page.runs if self._fits(run)]
            yield found
            has_more = cursor.advance(page, shows_new=bool(found) or not is_older)

    def _fits(self, run: ListedRun) -> bool:
        """Check again: the server ignores unknown filters; an item does not show its batch (measured)."""
        return (
            set(self.tags) <= set(run.tags)
            and not (self.only_alive and run.is_final)
            and (not self.statuses or todays_word(run.status) in self.statuses)
            and (not self.task_identifiers or run.task_identifier in self.task_identifiers)
            and (run.created_at is None or run.created_at >= self.created_from)
        )


@dataclass(eq=False)
class Search:
    """Look for runs that are alive, once or several times; each look adds what was not shown before."""

    client: TriggerDevClient
    source: Callable[[TriggerDevClient, datetime, Deadline], Iterator[list[ListedRun]]]
    """Yields runs page by page, of those that were created since a time; a page may be empty."""
    _: KW_ONLY
    belongs: Callable[[str | None], bool] = lambda key: True
    skip: Collection[str] = ()
    deadline: Deadline = NEVER
    is_stopped: Callable[[], bool] = lambda: False
    error: TriggerDevError | None = None
    """Why the last look could not read all pages."""
    _listed: dict[str, ListedRun] = field(default_factory=dict)
    _has_read_all: bool = False
    _due_at: float = 0.0

    @property
    def runs(self) -> list[ListedRun]:
        """All runs that were listed, but those to skip; without their metadata."""
        return list(self._listed.values())

    @property
    def ours(self) -> list[ListedRun]:
        """The runs that are alive, and belong by their idempotency key."""
        return list(filter(self._is_ours, self.runs))

    @property
    def others(self) -> list[str]:
        """The ids of runs that are alive, and do not belong, such as replays by someone else."""
        return [run.id for run in self.runs if not (run.is_final or self._is_ours(run))]

    @property
    def keys(self) -> set[str | None]:
        """The idempotency keys of all runs that were listed."""
        return {run.idempotency_key for run in self.runs}

    def _is_ours(self, run: ListedRun) -> bool:
        return not run.is_final and self.belongs(run.idempotency_key)

    def run(self, *, pauses: Sequence[float] = (0.0,), is_enough: Callable[[], bool] = lambda: False) -> None:
        """Look after each pause, in seconds, until that is enough or fails; no thread reads the pages."""
        for pause in pauses:
            time.sleep(pause)
            for _ in self._look():
                if is_enough():
                    return
            if self.error:
                return

    def pages(self) -> Iterator[list[ListedRun]]:
        """
        Look once, 2.5 s after the look before; yield what is found, and empty pages meanwhile.

        Once it is stopped, nothing more is sent; an end would look like a complete search, so there is none.
        """
        while self.is_stopped() or time.monotonic() < self._due_at:
            time.sleep(_PAUSE)
            yield []
        yield from without_blocking(self._look())

    def _look(self) -> Iterator[list[ListedRun]]:
        since = datetime.fromtimestamp(time.time(), UTC) - RECENT if self._has_read_all else ALL_TIMES
        self.error = None
        try:
            for page in self.source(self.client, since, self.deadline):
                yield self._take(page)
            self._has_read_all = True
        except TriggerDevError as error:
            # The list reads a database of its own, which can be down while all else works (measured).
            self.error = error
        now = time.monotonic()
        self._due_at = now + min(LIST_LAG, self.deadline.remaining(now))

    def _take(self, page: Iterable[ListedRun]) -> list[ListedRun]:
        """Return the runs of a page that were not shown before, are alive, and belong."""
        new = [run for run in page if run.id not in self._listed and run.id not in self.skip]
        runs = [replace(run, attributes={**run.attributes, "metadata": None}) for run in new]
        self._listed |= {run.id: run for run in runs}
        return list(filter(self._is_ours, runs))


def without_blocking(pages: Iterator[list[T]]) -> Iterator[list[T]]:
    """Yield pages that are read in daemon threads, and empty ones meanwhile, so that a stop is noticed."""
    while True:
        reply = begin(partial(next, pages, None))
        while not wait([reply], timeout=_PAUSE).done:
            yield []
        if (page := reply.result()) is None:
            return
        yield page
