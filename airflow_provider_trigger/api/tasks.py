"""Start runs: one, or a batch of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from airflow_provider_trigger.api.errors import UnexpectedAnswerError
from airflow_provider_trigger.api.http import Call, Request, Response, segment
from airflow_provider_trigger.api.models import TriggeredRun
from airflow_provider_trigger.api.responses import json_object, read_id, read_text

# What the API's 404 says of a key that no run has (measured); anything else is another 404.
_UNKNOWN_KEY = "No runs found with idempotency key"


NO_PAYLOAD: Final = object()
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """What ``GET /api/v2/batches/{id}`` shows."""

    id: str
    status: str
    """``COMPLETED`` means that its runs have ended in any status, or existed before (measured)."""
    run_count: int
    run_ids: tuple[str, ...]
    """In the order of its items; fewer while the server still creates them (measured)."""


MAX_ITEMS_AT_ONCE = 20
"""
So many runs of a batch are created before the server answers.

Those of a larger batch are created afterwards, also when they are to be canceled meanwhile (measured).
"""

MAX_BATCH_SIZE = 500 * 1000
"""The items of one request, in bytes of JSON; over 512 KB the server needs an object store (measured)."""


def batch_item(task_identifier: str, *, payload: Any = NO_PAYLOAD, options: Mapping[str, Any]) -> Any:
    """Return an item of a batch, as JSON."""
    item: dict[str, Any] = {"task": task_identifier}
    if payload is not NO_PAYLOAD:
        item["payload"] = payload
    return item | {"options": dict(options)}


def trigger_batch(items: Sequence[Mapping[str, Any]], *, trace: Mapping[str, str] | None = None) -> Call[str]:
    """
    Start a run for each item: ``POST /api/v2/tasks/batch``; returns the batch's id.

    The answer does not have the runs' ids: :func:`retrieve_batch` does. An item whose ``idempotencyKey`` has
    a run already gets that one, as with :func:`~airflow_provider_trigger.api.tasks.trigger_task`;
    a repeated request makes another batch of the same runs (measured). So it is repeatable if each item has a
    key. An older server does not know it: 404. An item that cannot be triggered becomes a run that has
    failed, SYSTEM_FAILURE (measured). ``trace`` has the same headers (read).
    """
    has_keys = all(item.get("options", {}).get("idempotencyKey") for item in items)
    body = {"items": list(items)}
    request = Request(
        method="POST", path="/api/v2/tasks/batch", json=body, headers=trace or {}, repeatable=has_keys
    )

    def read(response: Response) -> str:
        return read_id(request, json_object(request, response), what="a batch")

    return Call(request=request, read=read)


def retrieve_batch(batch_id: str) -> Call[Batch]:
    """
    Return a batch with the ids of its runs: ``GET /api/v2/batches/{batchId}``.

    A run that an earlier request has started is in it, too, although that run belongs to another batch
    (measured).
    """
    path = f"/api/v2/batches/{segment(batch_id, what='the id of a batch')}"
    request = Request(method="GET", path=path, repeatable=True)

    def read(response: Response) -> Batch:
        match json_object(request, response):
            case {"id": str(shown), "status": str(status), "runCount": int(count), "runs": list(runs)}:
                if shown == batch_id and all(map(read_text, runs)):
                    return Batch(id=batch_id, status=status, run_count=count, run_ids=tuple(runs))
        raise UnexpectedAnswerError(f"{request} answered something that is not this batch")

    return Call(request=request, read=read)
