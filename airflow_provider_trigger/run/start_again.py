"""Start a run after an earlier try of the same task, whose run may be alive."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from airflow_provider_trigger.api.deadline import Deadline
from airflow_provider_trigger.api.endpoints.runs import cancel_run, retrieve_run
from airflow_provider_trigger.api.models.runs import Run
from airflow_provider_trigger.log import Log
from airflow_provider_trigger.run.checks import check_visible, wait_until_terminated
from airflow_provider_trigger.run.identity import RunKey
from airflow_provider_trigger.run.request import TaskRequest
from airflow_provider_trigger.run.search import RunFilter, Search
from airflow_provider_trigger.run.start import Started, start_run, take_up
from airflow_provider_trigger.wording import enumeration

if TYPE_CHECKING:
    from airflow_provider_trigger.api.client import TriggerDevClient

# For the search for earlier runs, in seconds: the idempotency key finds most of them all the same.
_SEARCH_TIME = 10.0
# Before each look for a new run, in seconds; it is listed after 1 to 2 s (measured).
_PAUSES = (1.0, 1.0, 1.0)
_MAY_RUN = (
    "A run %s may still be running: the list of runs %s. Check the dashboard, and cancel a run that you do "
    "not need"
)
_BEFORE_A_CLEAR = "from before a clear of this task"


def start_run_of(
    key: RunKey,
    client: TriggerDevClient,
    request: TaskRequest,
    *,
    cancels: bool,
    log: Log,
    sleep: Callable[[float], None] = time.sleep,
    on_id: Callable[[str | None], object] = lambda run_id: None,
) -> Started:
    """
    Start the run of a task instance that has had a try before.

    Where it was cleared while its run was alive, and no trigger was there to cancel the run, it has another
    key now: that run is canceled, or, without ``cancels``, returned; one of another Trigger.dev task is
    canceled as well. A new one starts once the workers of canceled ones have stopped. A run from before its
    Dag run was cleared cannot be distinguished from one of another Airflow: a warning names it.
    """
    found = find_earlier_runs(key, client, log=log)
    if run := _cancel_replaced_runs(found, key, client, request, cancels=cancels, log=log, on_id=on_id):
        return take_up(run, log=log)
    wait_until_terminated(client, check_visible(client, found.stopping), log=log, sleep=sleep)
    started = start_run(client, request, log=log, sleep=sleep, on_id=on_id)
    if key.cleared_after and started.run is None and not found.error:
        _warn_if_list_is_behind(started.run_id, key, client, log=log, sleep=sleep)
    return started


def find_earlier_runs(key: RunKey, client: TriggerDevClient, *, log: Log) -> Search:
    """Find the runs that earlier tries have left, as far as the list knows; warn of others."""
    found = _search(key, client, checks_keys=True)
    found.run()
    if found.error:
        # The idempotency key finds all others.
        which = _BEFORE_A_CLEAR if key.cleared_after else "of an earlier try that had other arguments"
        within = f" within {_SEARCH_TIME:g} s" if found.error.retryable else ""
        log.warning(_MAY_RUN, which, f"could not be searched{within}: {found.error}")
    if found.others:
        log.warning(
            "Still running, and not canceled: %s. They have this task's tag, but were started before its "
            "Dag run was cleared, by another Airflow, or as a replay. Cancel those that you do not need",
            enumeration(found.others),
        )
    return found


def _cancel_replaced_runs(
    found: Search,
    key: RunKey,
    client: TriggerDevClient,
    request: TaskRequest,
    *,
    cancels: bool,
    log: Log,
    on_id: Callable[[str | None], object],
) -> Run | None:
    """Cancel the runs that a new one replaces; return one to take up that has another key."""
    taken_up = None
    for run in found.ours:
        is_of_other_task = run.task_identifier not in ("", request.task_identifier)
        if not key.is_of_same_execution(run.idempotency_key):
            continue  # another operator of the same task takes care of it
        if is_of_other_task:
            why = f"an earlier try has started it, for Trigger.dev task {run.task_identifier!r}"
        elif run.idempotency_key == request.key:
            on_id(run.id)
            continue
        elif cancels and key.shows_clear_since(run.idempotency_key):
            why = "it was started before this task was cleared"
        else:
            taken_up = taken_up or run
            on_id(taken_up.id)
            continue
        if not cancels:
            log.warning("Run %s is %s and not canceled (cancel_on_kill=False): %s", run.id, run.status, why)
            continue
        log.info("Canceling run %s: %s", run.id, why)
        client.call(cancel_run(run.id))
        found.stopping.append(run.id)
    return client.call(retrieve_run(taken_up.id)) if taken_up else None


def _warn_if_list_is_behind(
    run_id: str, key: RunKey, client: TriggerDevClient, *, log: Log, sleep: Callable[[float], None]
) -> None:
    """Warn if the list does not show a new run soon, as it may not have shown an earlier one either."""
    found = _search(key, client, checks_keys=False)
    found.run(pauses=_PAUSES, is_enough=lambda: run_id in found.shown, sleep=sleep)
    if run_id not in found.shown:
        behind = f"is behind, and does not show run {run_id}"
        behind = f"could not be searched: {found.error}" if found.error else behind
        log.warning(_MAY_RUN, _BEFORE_A_CLEAR, behind)


def _search(key: RunKey, client: TriggerDevClient, *, checks_keys: bool) -> Search:
    return Search(
        client,
        RunFilter(tags=(key.task_instance.tag,)).pages,
        belongs=key.task_instance.has_started,
        checks_keys=checks_keys,
        deadline=Deadline.after(_SEARCH_TIME, now=time.monotonic()),
    )
