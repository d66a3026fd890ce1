"""Check the arguments of the hook's methods on runs, and turn them into what is sent."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_trigger.api.errors import TriggerDevError
from airflow_provider_trigger.defaults import AUTOMATIC_KEY
from airflow_provider_trigger.run.ending import why_given_up
from airflow_provider_trigger.run.request import check_options, check_payload, to_api
from airflow_provider_trigger.run.start import TaskRequest
from airflow_provider_trigger.run.wait import Waited, WaitEnd, WaitSettings
from airflow_provider_trigger.validation import check_number

if TYPE_CHECKING:
    from airflow_provider_trigger.api.models.runs import Run
    from airflow_provider_trigger.hooks.connection import Settings


def task_request(task_identifier: str, payload: Any, options: Mapping[str, Any] | None) -> TaskRequest:
    """
    Return what to start.

    :param task_identifier: the id of the Trigger.dev task
    :param payload: any JSON
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
    given = {"delay": "" if delay is None else delay}  # None would be no option at all
    check_options("reschedule_run", given)
    return str(to_api(given)["delay"])


def wait_settings(
    run_id: str,
    connection: Settings,
    *,
    timeout: float | None,
    poll_interval: float | None,
    pending_version_timeout: float | None,
) -> WaitSettings:
    """
    Return how to wait for a run, from now on.

    :param run_id: the run
    :param connection: of the run's environment
    :param timeout: how long to wait, in seconds; None for no limit
    :param poll_interval: see :class:`~airflow_provider_trigger.run.wait.WaitSettings`, as for the next one
    :param pending_version_timeout: how long the run may wait for a version
    :raises ValueError: ``poll_interval`` is not above 0
    """
    if poll_interval is not None:
        check_number("wait_for_run", "poll_interval", poll_interval, least=0.01, unit="seconds")
    return WaitSettings(
        run_url=connection.run_url(run_id),
        poll_interval=poll_interval,
        deadline=None if timeout is None else time.time() + timeout,
        pending_version_timeout=pending_version_timeout,
        patience=connection.retry_for,
        cancels=False,
    )


def ended_run(waited: Waited, run_id: str, *, limit: str, run_url: str) -> Run:
    """
    Return the run that was waited for.

    :param waited: what the wait came to
    :param run_id: the run
    :param limit: names the time limit, for the error
    :param run_url: the run's page in the dashboard, for the error
    :raises TimeoutError: the run had not ended in time
    :raises TriggerDevError: the server rejected the checks
    """
    if waited.end is WaitEnd.FINAL and waited.run:
        return waited.run
    reason = why_given_up(waited, run_id, limit=limit, run_url=run_url)
    raise (TriggerDevError if waited.end is WaitEnd.REJECTED else TimeoutError)(reason)
