"""List runs by what they have in common, and find those that one Dag run or task instance has started."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from airflow_provider_trigger.api.deadline import NEVER, Deadline
from airflow_provider_trigger.api.endpoints.runs import list_runs_page
from airflow_provider_trigger.api.errors import TriggerDevError, UnexpectedAnswerError
from airflow_provider_trigger.api.models.runs import ListedRun
from airflow_provider_trigger.api.models.statuses import ALIVE_STATUSES, RunStatus, todays_word

if TYPE_CHECKING:
    from airflow_provider_trigger.api.client import TriggerDevClient

ALL_TIMES = datetime.fromtimestamp(1, UTC)
"""Without a time, only the runs of the last 7 days are listed (measured)."""

LIST_LAG = 2.5
"""After so many seconds, the list shows a run that was started: it lags 1 to 2 s behind (measured)."""


@dataclass(slots=True)
class Found:
    """
    Runs with a tag.

    :param ours: those that are alive and whose key proves it
    :param others: the ids of those that are alive and carry the tag only, as a replay by someone else does
    :param stopping: the ids of those that are CANCELED, and whose worker may still execute, with any key
    :param error: why the list could not be read to its end, None if it was
    """

    ours: list[ListedRun] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    stopping: list[str] = field(default_factory=list)
    error: TriggerDevError | None = None


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

    :param client: for the environment
    :param tag: what all of them carry
    :param is_ours: whether a run's idempotency key proves it
    :param deadline: for all of it
    """
    found = Found()
    listed = RunFilter(tags=(tag,), statuses=ALIVE_STATUSES | {RunStatus.CANCELED})
    try:
        for run in (run for page in listed.pages(client, deadline=deadline) for run in page):
            if run.is_final:
                found.stopping += [run.id] if run.may_have_worker else []
            elif is_ours(run.idempotency_key):
                found.ours.append(run)
            else:
                found.others.append(run.id)
    except TriggerDevError as error:
        # The list reads a database of its own, which can be down while all else works (measured).
        found.error = error
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class RunFilter:
    """
    What a run must have to be listed; a field that is empty allows any.

    :param tags: all of these, exactly
    :param statuses: one of these, in today's words
    :param task_identifiers: one of these tasks
    :param batch_id: the batch that started it
    :param created_from: since when it exists, with a time zone
    """

    tags: tuple[str, ...] = ()
    statuses: Collection[str] = ()
    task_identifiers: tuple[str, ...] = ()
    batch_id: str | None = None
    created_from: datetime = ALL_TIMES

    def pages(self, client: TriggerDevClient, *, deadline: Deadline = NEVER) -> Iterator[list[ListedRun]]:
        """
        Yield the runs page by page, the newest first, as far as the list knows; a page may be empty.

        The server gets one tag, as it finds runs with any of several (measured).

        :param client: for the environment
        :param deadline: for all pages
        :raises TriggerDevError: the list failed
        """
        after = None
        while True:
            call = list_runs_page(
                tags=self.tags[:1],
                statuses=sorted(self.statuses),
                task_identifiers=sorted(self.task_identifiers),
                batch_id=self.batch_id,
                created_from=self.created_from,
                after=after,
            )
            page = client.call(call, deadline=deadline)
            yield [run for run in page.runs if self._fits(run)]
            if page.next is None:  # a short page is not the last one (measured)
                return
            if page.next == after:
                text = f"{call.request} answered the same page again, so that its list has no end"
                raise UnexpectedAnswerError(text, retryable=False)
            after = page.next

    def _fits(self, run: ListedRun) -> bool:
        """
        Check a run again: the server ignores filters that it does not know (measured).

        The batch cannot be checked: an item does not show it (measured).
        """
        return (
            set(self.tags) <= set(run.tags)
            and (not self.statuses or todays_word(run.status) in self.statuses)
            and (not self.task_identifiers or run.task_identifier in self.task_identifiers)
            and (run.created_at is None or run.created_at >= self.created_from)
        )
