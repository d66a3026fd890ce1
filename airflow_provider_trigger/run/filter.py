"""What runs have in common that are listed together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from airflow_provider_trigger.api.deadline import NEVER, Deadline
from airflow_provider_trigger.api.models.runs import ListedRun
from airflow_provider_trigger.run.find import ALL_TIMES, list_pages

if TYPE_CHECKING:
    from airflow_provider_trigger.api.client import TriggerDevClient


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
    statuses: tuple[str, ...] = ()
    task_identifiers: tuple[str, ...] = ()
    batch_id: str | None = None
    created_from: datetime = ALL_TIMES

    def pages(self, client: TriggerDevClient, *, deadline: Deadline = NEVER) -> Iterator[list[ListedRun]]:
        """
        Yield the runs page by page, the newest first; a page may be empty.

        The server gets one tag, as it finds runs with any of several (measured).

        :param client: for the environment
        :param deadline: for all pages
        :raises TriggerDevError: the list failed
        """
        pages = list_pages(
            client,
            tag=self.tags[0] if self.tags else None,
            statuses=self.statuses,
            task_identifiers=self.task_identifiers,
            batch_id=self.batch_id,
            created_from=self.created_from,
            deadline=deadline,
        )
        for page in pages:
            yield [run for run in page if self._fits(run)]

    def _fits(self, run: ListedRun) -> bool:
        """Check a run again: the server ignores filters that it does not know (measured)."""
        return (
            set(self.tags) <= set(run.tags)
            and (not self.statuses or run.status in self.statuses)
            and (not self.task_identifiers or run.task_identifier in self.task_identifiers)
        )
