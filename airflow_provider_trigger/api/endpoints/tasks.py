"""Calls on tasks, without I/O; see :mod:`airflow_provider_trigger.api.endpoints.runs`."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final

from airflow_provider_trigger.api.errors import UnexpectedAnswerError
from airflow_provider_trigger.api.http import Call, Request, Response, segment
from airflow_provider_trigger.api.models.runs import TriggeredRun
from airflow_provider_trigger.api.responses import json_object, read_id

# What the API's 404 says of a key that no run has (measured); anything else is another 404.
_UNKNOWN_KEY = "No runs found with idempotency key"


class _NoPayload(Enum):  # so that copying and pickling keep it the same object
    NO_PAYLOAD = "no payload"


NO_PAYLOAD: Final = _NoPayload.NO_PAYLOAD
"""A trigger without a payload: the run then has none, while None is sent as JSON's null (measured)."""


def trigger_task(
    task_identifier: str,
    *,
    payload: Any = NO_PAYLOAD,
    options: Mapping[str, Any],
    trace: Mapping[str, str] | None = None,
) -> Call[TriggeredRun]:
    """
    Start a run: ``POST /api/v1/tasks/{taskIdentifier}/trigger``.

    A task that no deployed version has is a success, too: its run becomes PENDING_VERSION (measured). What
    the server does not understand in the options it mostly ignores (measured). With an ``idempotencyKey`` it
    answers with the run that has the key already, if there is one; then payload and options have no effect
    (measured). Only such a request is repeatable.

    ``trace`` has the headers ``traceparent`` and ``tracestate``, which the server keeps as the run's external
    trace (measured).
    """
    body: dict[str, Any] = {"options": dict(options)}
    if payload is not NO_PAYLOAD:
        body = {"payload": payload} | body
    request = Request(
        method="POST",
        path=f"/api/v1/tasks/{segment(task_identifier, what='the id of a task')}/trigger",
        json=body,
        headers=trace or {},
        repeatable=bool(options.get("idempotencyKey")),  # an empty one is none (measured)
    )

    def read(response: Response) -> TriggeredRun:
        answer = json_object(request, response)
        run_id = read_id(request, answer, what="a run")
        return TriggeredRun(id=run_id, is_cached=answer.get("isCached") is True)

    return Call(request=request, read=read)


def reset_idempotency_key(key: str, *, task_identifier: str) -> Call[None]:
    """
    Take a key of a task off its run: ``POST /api/v1/idempotencyKeys/{key}/reset``.

    The run itself continues (measured). The server answers 404 where no run has the key, as when the reset is
    repeated after its answer was lost (measured): that is a success, too.
    """
    request = Request(
        method="POST",
        path=f"/api/v1/idempotencyKeys/{segment(key, what='an idempotency key')}/reset",
        json={"taskIdentifier": task_identifier},
        repeatable=True,
    )

    def read(response: Response) -> None:
        if response.status == 404 and str(response.json_object().get("error")).startswith(_UNKNOWN_KEY):
            return
        if json_object(request, response).get("id") != key:
            raise UnexpectedAnswerError(f"{request} answered {response.status} without the idempotency key")

    return Call(request=request, read=read)
