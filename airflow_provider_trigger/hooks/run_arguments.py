"""Check the arguments of the hook's methods on runs, and turn them into what is sent."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_trigger.api.http import segment
from airflow_provider_trigger.api.statuses import TODAYS_STATUSES
from airflow_provider_trigger.defaults import AUTOMATIC_KEY
from airflow_provider_trigger.durations import Duration
from airflow_provider_trigger.rules import checked, checked_given, duration, naming, number, optional
from airflow_provider_trigger.run.request import PAYLOAD, TaskRequest, to_api
from airflow_provider_trigger.run.search import ALL_TIMES, RunFilter
from airflow_provider_trigger.run.waited import WaitSettings
from airflow_provider_trigger.sources.search_terms import BATCH_ID, SELECTING, Selection, terms

if TYPE_CHECKING:
    from airflow_provider_trigger.hooks.connection import Settings

FILTER_RULES = {
    "tags": SELECTING["tags"],
    "statuses": terms("status", TODAYS_STATUSES),
    "task_identifiers": terms("task identifier"),
    "batch_id": terms(BATCH_ID, several=False),
    "limit": number("runs", least=1, whole=True),
}

WAIT_RULES = {
    "timeout": optional(duration(least=0)),
    "poll_interval": optional(duration(least=0.01)),
    "pending_version_timeout": optional(duration(least=0)),
}


def task_request(task_identifier: str, payload: Any, options: Mapping[str, Any] | None) -> TaskRequest:
    """Return what to start; the options are named as the operator's arguments."""
    options = options or {}
    with naming("trigger_task"):
        if options.get("idempotency_key") == AUTOMATIC_KEY:  # would give all calls the same run
            what = f"one of your own, not {AUTOMATIC_KEY!r}: only an operator knows its task instance"
            raise ValueError(f"idempotency_key must be {what}")
        checked({"payload": PAYLOAD}, {"payload": payload})
        return TaskRequest(task_identifier=task_identifier, payload=payload, options=to_api(options))


def new_delay(delay: Any) -> str:
    """Return another delay as it is sent."""
    with naming("reschedule_run"):
        if delay is None:  # would be no option at all
            raise ValueError("delay must be given, not None")
        return str(to_api({"delay": delay})["delay"])


def wait_settings(run_id: str, connection: Settings, **durations: Duration | None) -> WaitSettings:
    """Return how to wait for a run, from now on."""
    segment(run_id)
    with naming("wait_for_run"):
        seconds = checked(WAIT_RULES, durations)
    limit = seconds.pop("timeout")
    return WaitSettings(
        **seconds,
        run_url=connection.run_url(run_id),
        deadline=None if limit is None else time.time() + limit,
        patience=connection.retry_for,
        cancels=False,
    )


def run_filter(*, created_after: datetime | None, **given: Any) -> RunFilter:
    """Return which runs to list, by ``FILTER_RULES``; ``limit`` is only checked."""
    with naming("list_runs"):
        if created_after is not None and getattr(created_after, "tzinfo", None) is None:
            raise ValueError(f"created_after must be a datetime with a zone, not {created_after!r}")
        found = checked_given(FILTER_RULES, given)
    found.pop("limit", None)
    [batch] = found.pop("batch_id", [None])
    return RunFilter(**found, batch_id=batch, created_from=created_after or ALL_TIMES)


def selection_of(*, tags: Any, batch_ids: Any, max_runs: int) -> Selection:
    """Return which runs to search for, in order to cancel them."""
    with naming("cancel_runs"):
        rules = {**SELECTING, "max_runs": FILTER_RULES["limit"]}
        return Selection(**checked_given(rules, {"tags": tags, "batch_ids": batch_ids, "max_runs": max_runs}))
