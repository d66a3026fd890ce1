"""Start runs: one, or a batch of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from airflow_provider_trigger.api.errors import UnexpectedAnswerError
from airflow_provider_trigger.api.http import Call, Request, Response, segment
from airflow_provider_trigger.api.models import TriggeredRun
from airflow_provider_trigger.api.responses import json_object, read_id, read_text

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

    Measured: a task that no deployed version has is a success, too, and its run becomes PENDING_VERSION; what
    the server does not understand in the options it mostly ignores; where a run has the ``idempotencyKey``
    already, it answers with that run, and payload and options have no effect. Only with such a key the
    request is repeatable. ``trace`` has the headers ``traceparent`` and ``tracestate``, kept by the server as
    the run's external trace.
    """
    path = f"/api/v1/tasks/{segment(task_identifier, what='the id of a task')}/trigger"
    body = _body(payload, options)
    has_key = bool(options.get("idempotencyKey"))  # an empty one is none (measured)
    request = Request(method="POST", path=path, json=body, headers=trace or {}, repeatable=has_key)

    def read(response: Response) -> TriggeredRun:
        answer = json_object(request, response)
        run_id = read_id(request, answer, what="a run")
        return TriggeredRun(id=run_id, is_cached=answer.get("isCached") is True)

    return Call(request=request, read=read)


def _body(payload: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    return {"options": dict(options)} | ({} if payload is NO_PAYLOAD else {"payload": payload})


def reset_idempotency_key(key: str, *, task_identifier: str) -> Call[None]:
    """
    Take a key of a task off its run: ``POST /api/v1/idempotencyKeys/{key}/reset``.

    The run itself continues (measured). A success is also the 404 with which the server says that no run has
    the key, as when the reset is repeated after its answer was lost (measured).
    """
    path = f"/api/v1/idempotencyKeys/{segment(key, what='an idempotency key')}/reset"
    request = Request(method="POST", path=path, json={"taskIdentifier": task_identifier}, repeatable=True)

    def read(response: Response) -> None:
        said = str(response.json_object().get("error"))
        if response.status == 404 and said.startswith("No runs found with idempotency key"):
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
"""So many runs of a batch are created before the server answers, the others later, in any case (measured)."""

MAX_BATCH_SIZE = 500 * 1000
"""The items of one request, in bytes of JSON; over 512 KB the server needs an object store (measured)."""


def batch_item(task_identifier: str, *, payload: Any = NO_PAYLOAD, options: Mapping[str, Any]) -> Any:
    """Return an item of a batch, as JSON."""
    return {"task": task_identifier} | _body(payload, options)


def trigger_batch(items: Sequence[Mapping[str, Any]], *, trace: Mapping[str, str] | None = None) -> Call[str]:
    """
    Start a run for each item: ``POST /api/v2/tasks/batch``; returns the batch's id.

    The answer does not have the runs' ids: :func:`retrieve_batch` does. Keys and ``trace`` are as with
    :func:`trigger_task`. A repeated request makes another batch of the same runs (measured), so it is
    repeatable if each item has a key. An older server does not know it: 404. An item that cannot be triggered
    becomes a run that has failed, SYSTEM_FAILURE (measured).
    """
    path, body = "/api/v2/tasks/batch", {"items": list(items)}
    has_keys = all(item.get("options", {}).get("idempotencyKey") for item in items)
    request = Request(method="POST", path=path, json=body, headers=trace or {}, repeatable=has_keys)

    def read(response: Response) -> str:
        return read_id(request, json_object(request, response), what="a batch")

    return Call(request=request, read=read)


def retrieve_batch(batch_id: str) -> Call[Batch]:
    """
    Return a batch with the ids of its runs: ``GET /api/v2/batches/{batchId}``.

    Those that items got by their keys are in it, too, although they belong to another batch (measured).
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
