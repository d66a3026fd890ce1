"""Find the runs that a Dag run, or one of its task instances, has started with this provider's operators."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from airflow_provider_trigger.api.endpoints.bulk_actions import MAX_SIZE
from airflow_provider_trigger.api.errors import TriggerDevError
from airflow_provider_trigger.log import Log
from airflow_provider_trigger.run.find import LIST_LAG, RunFilter, with_keys
from airflow_provider_trigger.sources.context import own_ti_of, starter_of
from airflow_provider_trigger.sources.run_ids import RunIds
from airflow_provider_trigger.sources.selected import while_waiting
from airflow_provider_trigger.sources.xcom import add_xcoms, starts_runs, why_no_xcom
from airflow_provider_trigger.wording import enumeration

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_trigger.api.client import TriggerDevClient
    from airflow_provider_trigger.api.deadline import Deadline

_LISTS = 2
# How long the next page may take until the runs of those before are canceled, in seconds.
_PAGE_WITHIN = 1.0


def started_by_xcom(context: Context) -> RunIds:
    """Return the runs whose ids are in XCom; empty where this context has no XCom."""
    ids = RunIds()
    if why_no_xcom(context) is None:
        dag: Any = context.get("dag")
        ti = own_ti_of(context)
        tasks = [ti.task] if ti is not None else (dag.tasks if dag else [])
        task_ids = [task.task_id for task in tasks if starts_runs(task)]
        if task_ids:
            add_xcoms(ids, context, task_ids, None)
            ids.empty.clear()  # most tasks of a Dag run that failed have not started a run
    return ids


def started_by_search(
    context: Context, ids: RunIds, client: TriggerDevClient, *, deadline: Deadline, log: Log, origin: str
) -> Iterator[list[str]]:
    """
    Yield the ids of runs that are alive, as many as a bulk action takes, which are canceled meanwhile.

    All pages are read twice, as the list lags. ``ids`` gets a sentence where the search fails; ``log`` names
    runs that carry the tag only, and are not canceled.
    """
    starter = starter_of(context)
    if starter is None:
        if reason := why_no_xcom(context):
            ids.failed.append(
                f"the runs of this Dag run cannot be found: XCom is not available ({reason}), and the "
                "context does not say when the Dag run started; give run_ids, or use a task's callback"
            )
        return
    known, others = set(ids.found), list[str]()
    listed = RunFilter(tags=(starter.tag,), only_alive=True)

    def pages(alive: RunFilter) -> Iterator[list[str]]:
        try:
            for page in alive.pages(client, deadline=deadline):
                new = [run for run in page if run.id not in known]
                runs = with_keys(client, new, deadline=deadline)
                ours = [run.id for run in runs if starter.has_started(run.idempotency_key)]
                known.update(run.id for run in runs)
                others.extend(run.id for run in runs if run.id not in ours)
                yield ours
        except TriggerDevError as error:
            ids.failed.append(f"the runs of this Dag run could not be listed: {error}")

    failures = len(ids.failed)
    for number in range(_LISTS):
        if number:
            time.sleep(min(LIST_LAG, deadline.remaining(time.monotonic())))
            listed = listed.read_again(now=time.time())
        yield from _gathered(pages(listed))
        if len(ids.failed) > failures:
            break
    if others:
        log.warning(
            "%sNot canceled, as they have the tag of this Dag run or task, but not its idempotency key "
            "(replays, or runs with a key of their own): %s",
            origin,
            enumeration(others),
        )


def _gathered(pages: Iterator[list[str]]) -> Iterator[list[str]]:
    """Join pages, until a bulk action is full or the next page takes too long."""
    found, until = list[str](), 0.0
    for page in while_waiting(pages):
        now = time.monotonic()
        until = now + _PAGE_WITHIN if page else until
        found += page
        while len(found) >= MAX_SIZE or (found and now >= until):
            yield found[:MAX_SIZE]
            found = found[MAX_SIZE:]
    if found:
        yield found
