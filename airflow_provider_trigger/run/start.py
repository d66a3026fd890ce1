"""Start a run, or take up the one that an earlier try has started."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_trigger.api.deadline import Deadline
from airflow_provider_trigger.api.endpoints.runs import replay_run, retrieve_run
from airflow_provider_trigger.api.endpoints.tasks import NO_PAYLOAD, reset_idempotency_key, trigger_task
from airflow_provider_trigger.api.errors import (
    ServerError,
    TransportError,
    TriggerDevError,
    UnexpectedAnswerError,
)
from airflow_provider_trigger.api.http import Call
from airflow_provider_trigger.api.models.runs import Run, TriggeredRun
from airflow_provider_trigger.log import Log
from airflow_provider_trigger.run.checks import wait_until_terminated
from airflow_provider_trigger.run.request import TaskRequest

if TYPE_CHECKING:
    from airflow_provider_trigger.api.client import TriggerDevClient

UNANSWERED = (TransportError, ServerError, UnexpectedAnswerError)
"""After these the server may have done what was requested."""

# Stop after this many runs that someone else cancels right after their start.
_MAX_ROUNDS = 5
# Long enough that a run which is only created to be found does not begin before its cancel.
_DELAY_OF_A_LOOKUP = "1h"


@dataclass(frozen=True, kw_only=True, slots=True)
class Started:
    """A run to wait for."""

    run_id: str
    run: Run | None = None
    """As it was found, None for a new one."""


def start_run(
    client: TriggerDevClient,
    request: TaskRequest,
    *,
    log: Log,
    sleep: Callable[[float], None] = time.sleep,
    on_id: Callable[[str | None], object] = lambda run_id: None,
) -> Started:
    """
    Start a run; where its idempotency key has one already, return that.

    A canceled run keeps its key (measured): it is released once the run's worker can be assumed to have
    stopped, and a new run starts; one that has completed in spite of its cancel is returned. ``on_id`` is
    called with each run's id as soon as it is known, and with None before another one may start. Without a
    key, an error says whether a run may exist.
    """
    doubtful_id = None
    for _ in range(_MAX_ROUNDS):
        on_id(None)
        triggered = _trigger(client, request)
        on_id(triggered.id)
        if not triggered.is_cached:
            return Started(run_id=triggered.id)
        if triggered.id != doubtful_id:
            run = client.call(retrieve_run(triggered.id))
            if run.is_canceled:
                run = wait_until_terminated(client, {run.id: run}, log=log, sleep=sleep)[run.id]
            if not run.is_final or run.is_success:
                return take_up(run, log=log)
            sleep(0)  # a task that was stopped meanwhile, and so canceled this run, starts no other one
            if run.idempotency_key is None:
                # Someone else may just have released the key, and another run has it: it is sent again.
                doubtful_id = run.id
                continue
        on_id(None)
        log.info("Run %s is %s: a new one is started in its place", run.id, run.status)
        client.call(reset_idempotency_key(str(request.key), task_identifier=request.task_identifier))
    raise TriggerDevError(
        f"Trigger.dev task {request.task_identifier!r}: {_MAX_ROUNDS} runs in a row were canceled right "
        "after their start: find out who cancels them"
    )


def take_up(run: Run, *, log: Log) -> Started:
    """Return a run that an earlier try, or someone with the same key, has started, and log that."""
    log.info("Run %s was started before and is %s: no new one is started", run.id, run.status)
    return Started(run_id=run.id, run=run)


def _trigger(client: TriggerDevClient, request: TaskRequest) -> TriggeredRun:
    try:
        return client.call(_call(request))
    except UNANSWERED as error:
        _say_that_a_run_may_exist(error, has_key=request.key is not None)
        raise


def _call(request: TaskRequest, **options: str) -> Call[TriggeredRun]:
    payload = NO_PAYLOAD if request.payload is None else request.payload
    return trigger_task(request.task_identifier, payload=payload, options={**request.options, **options})


def replay(client: TriggerDevClient, run_id: str) -> Started:
    """Start a run again; an error says whether a run may exist."""
    try:
        return Started(run_id=client.call(replay_run(run_id)))
    except UNANSWERED as error:
        _say_that_a_run_may_exist(error, has_key=False)
        raise


def _say_that_a_run_may_exist(error: TriggerDevError, *, has_key: bool) -> None:
    if isinstance(error, TransportError) and not error.was_sent:
        return
    if has_key:
        error.reword(
            f"{error}. A run may exist: a retry, or another request with its idempotency key, gets that run "
            "and starts no other one"
        )
        return
    error.may_have_effect = True
    error.reword(
        f"{error}. The request is not repeated, as it has no idempotency key, and a run may exist: look for "
        "it in the dashboard before you start another one"
    )


def find_by_key(client: TriggerDevClient, request: TaskRequest, *, deadline: Deadline) -> str:
    """
    Return the id of the run of a request whose answer never came, to cancel it.

    Only a request with the same key has an answer with it (measured). If the first did not arrive, this one
    creates a run that is delayed, so that it does not begin before its cancel.
    """
    return client.call(_call(request, delay=_DELAY_OF_A_LOOKUP), deadline=deadline).id
