"""List runs by what they have in common, and find those that one Dag run or task instance has started."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from airflow_provider_trigger.api.deadline import NEVER, Deadline
from airflow_provider_trigger.api.endpoints.runs import check_run, list_runs_page
from airflow_provider_trigger.api.errors import TriggerDevError, UnexpectedAnswerError
from airflow_provider_trigger.api.models.runs import ListedRun, Run
from airflow_provider_trigger.api.models.statuses import ALIVE_STATUSES, todays_word
from airflow_provider_trigger.run.checks import call_each

if TYPE_CHECKING:
    from airflow_provider_trigger.api.client import TriggerDevClient

ALL_TIMES = datetime.fromtimestamp(1, UTC)
"""Without a time, only the runs of the last 7 days are listed (measured)."""

LIST_LAG = 2.5
"""After so many seconds, the list shows a run that was started: it lags 1 to 2 s behind (measured)."""

# A filter by status would drop runs whose status is new. So a search for runs that are alive reads so many
# pages of all runs, 75 ms each (measured), and only what is older with a filter.
_UNFILTERED_PAGES = 50
# A list whose cursors never end: so many pages of a search, or so many in a row without a run.
_MAX_PAGES = 1000
_MAX_EMPTY_PAGES = 100
# What a second search may leave out is older than any clock is wrong.
_RECENT = timedelta(days=1)


@dataclass(slots=True)
class Found:
    """Runs with a tag."""

    ours: list[ListedRun] = field(default_factory=list)
    """Those that are alive and whose key proves it."""
    others: list[str] = field(default_factory=list)
    """Ids of those that are alive and carry the tag only, as a replay by someone else does."""
    stopping: list[str] = field(default_factory=list)
    """Ids of those that are CANCELED, and whose worker may still execute, with any key."""
    error: TriggerDevError | None = None
    """Why the list could not be read to its end."""


def find_runs(
    client: TriggerDevClient,
    *,
    tag: str,
    is_ours: Callable[[str | None], bool],
    deadline: Deadline = NEVER,
) -> Found:
    """
    Find the runs with a tag that matter to a further try: a canceled one may still have a worker.

    The list lags 1 to 2 s behind (measured): a run that was started a moment ago may be missing.
    """
    found = Found()
    try:
        for page in RunFilter(tags=(tag,)).pages(client, deadline=deadline):
            found.stopping += [run.id for run in page if run.may_have_worker]
            for run in with_keys(client, [run for run in page if not run.is_final], deadline=deadline):
                if is_ours(run.idempotency_key):
                    found.ours.append(run)
                else:
                    found.others.append(run.id)
    except TriggerDevError as error:
        # The list reads a database of its own, which can be down while all else works (measured).
        found.error = error
    return found


def with_keys(
    client: TriggerDevClient, runs: Sequence[ListedRun], *, deadline: Deadline = NEVER
) -> list[ListedRun]:
    """Return those that are alive; a check shows the key of each that is listed without one."""
    unsure = [run.id for run in runs if run.idempotency_key is None]
    shown = call_each(client, check_run, unsure, deadline=deadline, patience=0)
    checked = [one if isinstance(one := shown.get(run.id), Run) else run for run in runs]
    return [run for run in checked if not run.is_final]


@dataclass(frozen=True, kw_only=True, slots=True)
class RunFilter:
    """What a run must have to be listed; a field that is empty allows any."""

    tags: tuple[str, ...] = ()
    """All of these, exactly."""
    statuses: Collection[str] = ()
    """One of these, in today's words."""
    only_alive: bool = False
    """A run whose status is new counts as alive."""
    task_identifiers: tuple[str, ...] = ()
    """One of these."""
    batch_id: str | None = None
    created_from: datetime = ALL_TIMES
    """With a time zone."""

    def read_again(self, *, now: float) -> RunFilter:
        """Return what to read of a list that was read a moment ago, and lags; ``now`` since 1970."""
        since = datetime.fromtimestamp(now, UTC) - _RECENT
        return replace(self, created_from=max(self.created_from, since))

    def pages(self, client: TriggerDevClient, *, deadline: Deadline = NEVER) -> Iterator[list[ListedRun]]:
        """
        Yield the runs page by page, the newest first, as far as the list knows; a page may be empty.

        The server gets one tag, as it finds runs with any of several (measured).
        """
        after, known, empty = None, set[str](), 0
        while True:
            is_older = self.only_alive and len(known) >= _UNFILTERED_PAGES
            call = list_runs_page(
                tags=self.tags[:1],
                statuses=sorted(ALIVE_STATUSES if is_older else self.statuses),
                task_identifiers=sorted(self.task_identifiers),
                batch_id=self.batch_id,
                created_from=self.created_from,
                after=after,
            )
            page = client.call(call, deadline=deadline)
            yield [run for run in page.runs if self._fits(run)]
            if page.next is None:  # a short page is not the last one (measured)
                return
            after, empty = page.next, 0 if page.runs else empty + 1
            is_too_long = empty >= _MAX_EMPTY_PAGES or (self.only_alive and len(known) >= _MAX_PAGES)
            if after in known or is_too_long:
                what = (
                    "the same page again" if after in known else f"{len(known) + 1} pages, with more to come"
                )
                text = f"{call.request} answered {what}, so that its list has no end"
                raise UnexpectedAnswerError(text, retryable=False)
            known.add(after)

    def _fits(self, run: ListedRun) -> bool:
        """Check again: the server ignores unknown filters; an item does not show its batch (measured)."""
        return (
            set(self.tags) <= set(run.tags)
            and not (self.only_alive and run.is_final)
            and (not self.statuses or todays_word(run.status) in self.statuses)
            and (not self.task_identifiers or run.task_identifier in self.task_identifiers)
            and (run.created_at is None or run.created_at >= self.created_from)
        )
