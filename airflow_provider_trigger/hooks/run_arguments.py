"""Check the arguments of the hook's methods on runs, and turn them into what is sent."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_trigger.api.endpoints.paths import segment
from airflow_provider_trigger.api.models.statuses import TODAYS_STATUSES
from airflow_provider_trigger.defaults import AUTOMATIC_KEY
from airflow_provider_trigger.durations import Duration
from airflow_provider_trigger.run.find import ALL_TIMES, RunFilter
from airflow_provider_trigger.run.request import TaskRequest, check_options, check_payload, to_api
from airflow_provider_trigger.run.wait_settings import WaitSettings, is_development_key
from airflow_provider_trigger.sources.search_terms import (
    BATCH_IDS,
    TAGS,
    Selection,
    Terms,
    given_terms,
)
from airflow_provider_trigger.validation import check_duration, check_number

if TYPE_CHECKING:
    from airflow_provider_trigger.hooks.connection import Settings

STATUSES = Terms(argument="statuses", kind="status", known=TODAYS_STATUSES)
TASK_IDENTIFIERS = Terms(argument="task_identifiers", kind="task identifier")
BATCH_ID = Terms(argument="batch_id", kind=BATCH_IDS.kind, several=False)


def task_request(task_identifier: str, payload: Any, options: Mapping[str, Any] | None) -> TaskRequest:
    """
    Return what to start.

    :param options: as the operator's arguments are named
    :raises ValueError: an argument is invalid
    """
    options = dict(options or {})
    if options.get("idempotency_key") == AUTOMATIC_KEY:  # would give all calls the same run
        what = f"one of your own, not {AUTOMATIC_KEY!r}: only an operator knows its task instance"
        raise ValueError(f"trigger_task: idempotency_key must be {what}")
    check_payload("trigger_task", payload)
    check_options("trigger_task", options)
    return TaskRequest(task_identifier=task_identifier, payload=payload, options=to_api(options))


def new_delay(delay: Any) -> str:
    """
    Return another delay as it is sent.

    :param delay: as the operator takes it
    :raises ValueError: it is invalid or has passed
    """
    if delay is None:  # would be no option at all
        raise ValueError("reschedule_run: delay must be given, not None")
    given = {"delay": delay}
    check_options("reschedule_run", given)
    return str(to_api(given)["delay"])


def wait_settings(
    run_id: str,
    connection: Settings,
    *,
    timeout: Duration | None,
    poll_interval: Duration | None,
    pending_version_timeout: Duration | None,
) -> WaitSettings:
    """
    Return how to wait for a run, from now on.

    :param timeout: how long to wait; None for no limit
    :param poll_interval: see :class:`~airflow_provider_trigger.run.wait_settings.WaitSettings`
    :param pending_version_timeout: how long the run may wait for a version; None for no limit
    :raises ValueError: one of them is not a duration, below 0, or 0.01 s for the interval; or ``run_id`` is
        not a run id
    """

    def seconds(name: str, value: Duration | None, least: float = 0.0) -> float | None:
        return None if value is None else check_duration("wait_for_run", name, value, least=least)

    segment(run_id)
    limit = seconds("timeout", timeout)
    return WaitSettings(
        run_url=connection.run_url(run_id),
        poll_interval=seconds("poll_interval", poll_interval, least=0.01),
        deadline=None if limit is None else time.time() + limit,
        pending_version_timeout=seconds("pending_version_timeout", pending_version_timeout),
        patience=connection.retry_for,
        cancels=False,
        is_development=is_development_key(connection.secret_key),
    )


def run_filter(
    *, tags: Any, statuses: Any, task_identifiers: Any, batch_id: str | None, created_after: datetime | None
) -> RunFilter:
    """
    Return which runs to list.

    :param created_after: a time with a zone
    :raises ValueError: one of them is invalid
    """
    method = "list_runs"
    if created_after is not None and getattr(created_after, "tzinfo", None) is None:
        raise ValueError(f"{method}: created_after must be a datetime with a zone, not {created_after!r}")
    [batch] = given_terms(method, BATCH_ID, batch_id) or [None]
    return RunFilter(
        tags=given_terms(method, TAGS, tags),
        statuses=given_terms(method, STATUSES, statuses),
        task_identifiers=given_terms(method, TASK_IDENTIFIERS, task_identifiers),
        batch_id=batch,
        created_from=created_after or ALL_TIMES,
    )


def selection_of(*, tags: Any, batch_ids: Any, max_runs: int) -> Selection:
    """
    Return which runs to search for, in order to cancel them.

    :param max_runs: how many may be found
    :raises ValueError: one of them is invalid
    """
    method = "cancel_runs"
    check_number(method, "max_runs", max_runs, least=1, unit="runs", whole=True)
    return Selection(
        tags=given_terms(method, TAGS, tags),
        batch_ids=given_terms(method, BATCH_IDS, batch_ids),
        max_runs=max_runs,
    )
