"""Find the runs that one Dag run or one task instance has started, by their tag."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from airflow_provider_trigger.api.deadline import NEVER, Deadline
from airflow_provider_trigger.api.endpoints.runs import list_runs_page, retrieve_run
from airflow_provider_trigger.api.errors import TriggerDevError
from airflow_provider_trigger.api.models.runs import ListedRun, Run
from airflow_provider_trigger.run.checks import call_each

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
    :param stopping: those that are CANCELED, and whose worker may still execute, with any key or none
    :param error: why one or more could not be checked, None if all were
    """

    ours: list[Run] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    stopping: list[Run] = field(default_factory=list)
    error: TriggerDevError | None = None


def find_runs(
    client: TriggerDevClient,
    *,
    tag: str,
    is_ours: Callable[[str | None], bool],
    statuses: Collection[str],
    deadline: Deadline = NEVER,
) -> Found:
    """
    Find the runs with a tag, and check each.

    The list lags 1 to 2 s behind (measured): a run that was started a moment ago may be missing.

    :param client: for the environment
    :param tag: what all of them carry
    :param is_ours: whether a run's idempotency key proves it
    :param statuses: which ones to list
    :param deadline: for all of it
    :raises TriggerDevError: the list failed
    """
    found = Found()
    pages = list_pages(client, tag=tag, statuses=statuses, deadline=deadline)
    run_ids = [run.id for page in pages for run in page]
    for run in call_each(client, retrieve_run, run_ids, deadline=deadline).values():
        if isinstance(run, TriggerDevError):
            found.error = found.error or run
        elif run.is_terminated:
            continue
        elif run.is_final:
            found.stopping.append(run)
        elif is_ours(run.idempotency_key):
            found.ours.append(run)
        else:
            found.others.append(run.id)
    return found


def list_pages(
    client: TriggerDevClient,
    *,
    tag: str | None = None,
    statuses: Collection[str] = (),
    task_identifiers: Collection[str] = (),
    batch_id: str | None = None,
    created_from: datetime = ALL_TIMES,
    deadline: Deadline = NEVER,
) -> Iterator[list[ListedRun]]:
    """
    Yield all runs that have all of this in common, page by page, as far as the list knows.

    :param client: for the environment
    :param tag: exactly as sent; None for any
    :param statuses: one of these, as the API spells them; empty for any
    :param task_identifiers: one of these tasks; empty for any
    :param batch_id: the batch that started them; None for any
    :param created_from: since when, with a time zone
    :param deadline: for all pages
    :raises TriggerDevError: the list failed
    """
    after = None
    while True:
        call = list_runs_page(
            tags=[] if tag is None else [tag],
            statuses=sorted(statuses),
            task_identifiers=sorted(task_identifiers),
            batch_id=batch_id,
            created_from=created_from,
            after=after,
        )
        page = client.call(call, deadline=deadline)
        yield page.runs
        after = page.next
        if after is None:  # a short page is not the last one (measured)
            return
