"""Runs as the server's JSON shows them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from ..engine import states
from ..engine.packets import Packet, output_packet, payload_packet
from ..engine.runs import ServerRun
from ..engine.settings import UNSET
from ..engine.states import OLD_WORDS, State

# Gives a packet of a run a URL.
Presign = Callable[[ServerRun, Packet], str]


def show_time(moment: datetime) -> str:
    """Return a time as the server writes it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def show_run(
    run: ServerRun, *, modern: bool, before_cancel: bool = False, presign: Presign | None = None
) -> dict[str, Any]:
    """Return what a retrieve answers; without ``presign``, an object store, large values do not show."""
    state = run.before_cancel if before_cancel and run.before_cancel is not None else run.state
    body = _common(run, state, modern=modern)
    for name, value, packet in (
        ("payload", run.payload, payload_packet(run.payload)),
        ("output", state.output, output_packet(state)),
    ):
        if packet is not None:
            body |= {} if presign is None else {f"{name}PresignedUrl": presign(run, packet)}
        elif value is not UNSET:
            body[name] = value
    if state.error is not None:
        body["error"] = _error(run, state)
    related: dict[str, Any] = {}
    if run.parent is not None:
        related["root"] = _common(run.root, run.root.state, modern=modern)
        related["parent"] = _common(run.parent, run.parent.state, modern=modern)
    related["children"] = [_common(child, child.state, modern=modern) for child in run.children]
    return body | {"attemptCount": state.attempt_count, "attempts": [], "relatedRuns": related}


def list_item(run: ServerRun, state: State, *, modern: bool) -> dict[str, Any]:
    """Return what a list shows of a run."""
    word = state.status if modern else OLD_WORDS.get(state.status, state.status)
    # Unlike a retrieve, a list shows a time for every run with a final status.
    finished_at = state.finished_at or (state.updated_at if state.final else None)
    body = {
        "id": run.id,
        "status": word,
        "taskIdentifier": run.task_identifier,
        "idempotencyKey": _idempotency_key(run),
        "version": _version(run, state),
        "createdAt": show_time(state.created_at),
        "updatedAt": show_time(state.updated_at),
        "startedAt": _optional(state.started_at),
        "finishedAt": _optional(finished_at),
        "delayedUntil": _optional(state.delayed_until),
        "expiredAt": _optional(state.expired_at),
        "ttl": _ttl(run, state),
        "isTest": run.options.get("test", False),
        "env": {"id": run.environment.id, "name": run.environment.name},
        "tags": list(run.tags),
        "costInCents": 0,
        "baseCostInCents": 0,
        "durationMs": state.duration_ms,
        "depth": run.depth,
        "metadata": run.metadata,
        "taskKind": "STANDARD",
        "region": _region(run),
    }
    return {key: value for key, value in body.items() if value is not None} | _booleans(word)


def _common(run: ServerRun, state: State, *, modern: bool) -> dict[str, Any]:
    word = state.status if modern else OLD_WORDS.get(state.status, state.status)
    body = {
        "id": run.id,
        "taskIdentifier": run.task_identifier,
        "idempotencyKey": _idempotency_key(run),
        "version": _version(run, state),
        "status": word,
        "createdAt": show_time(state.created_at),
        "startedAt": _optional(state.started_at),
        "updatedAt": show_time(state.updated_at),
        "finishedAt": _optional(state.finished_at),
        "delayedUntil": _optional(state.delayed_until),
        "expiredAt": _optional(state.expired_at),
        "ttl": _ttl(run, state),
        "costInCents": 0,
        "baseCostInCents": 0,
        "durationMs": state.duration_ms,
        "isTest": run.options.get("test", False),
        "depth": run.depth,
        "tags": list(run.tags),
        **_booleans(word),
        "batchId": run.batch_id,
        "triggerFunction": run.trigger_function,
        "metadata": run.metadata,
        "region": _region(run),
    }
    return {key: value for key, value in body.items() if value is not None}


def _booleans(word: str) -> dict[str, bool]:
    """Return the flags of a status as the real server sets them: all false for EXPIRED and TIMED_OUT."""
    return {
        "isQueued": word in states.SHOWN_AS_QUEUED,
        "isExecuting": word in states.SHOWN_AS_EXECUTING,
        "isCompleted": word == "COMPLETED" or word in states.SHOWN_AS_FAILED,
        "isFailed": word in states.SHOWN_AS_FAILED,
        "isSuccess": word == "COMPLETED",
        "isCancelled": word == "CANCELED",
        "isWaiting": word == "WAITING",
    }


def _version(run: ServerRun, state: State) -> str | None:
    return state.version if state.started_at is not None or "lockToVersion" in run.options else None


def _idempotency_key(run: ServerRun) -> str | None:
    if run.idempotency_key is None:
        return None
    # In addition to a hashed key comes the one that it was made of, for display.
    shown: str = run.options.get("idempotencyKeyOptions", {}).get("key", run.idempotency_key)
    return shown


def _region(run: ServerRun) -> str:
    region: str = run.options.get("region", run.environment.region)
    return region


def _error(run: ServerRun, state: State) -> Mapping[str, str] | None:
    # That of an expired run names its ttl in a development environment, and in no other.
    if state.status != "EXPIRED" or run.environment.deployed:
        return state.error
    return {"message": f"Run expired because the TTL ({_ttl(run, state)}) was reached"}


def _ttl(run: ServerRun, state: State) -> str | None:
    return run.ttl or ("1s" if state.expired_at is not None else None)


def _optional(moment: datetime | None) -> str | None:
    return None if moment is None else show_time(moment)
