"""Runs as the server's JSON shows them."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from ..engine.runs import ServerRun
from ..engine.states import OLD_WORDS, State

_QUEUED = ("PENDING_VERSION", "QUEUED", "DELAYED", "WAITING_FOR_DEPLOY")
_EXECUTING = ("DEQUEUED", "EXECUTING", "FROZEN", "REATTEMPTING")
_FAILED = ("CANCELED", "FAILED", "CRASHED", "SYSTEM_FAILURE", "INTERRUPTED")


def show_time(moment: datetime) -> str:
    """
    Return a time as the server writes it.

    :param moment: a time in UTC
    """
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def show_run(run: ServerRun, *, modern: bool, before_cancel: bool = False) -> dict[str, Any]:
    """
    Return what a retrieve answers.

    :param run: the run
    :param modern: whether the client named the modern API version
    :param before_cancel: show the state before the run's cancel, as a replica that lags behind does
    """
    state = run.before_cancel if before_cancel and run.before_cancel is not None else run.state
    body = _common(run, state, modern=modern)
    if run.payload is not None:
        body["payload"] = run.payload
    if state.output is not None:
        body["output"] = state.output
    if state.error is not None:
        body["error"] = state.error
    related: dict[str, Any] = {}
    if run.parent is not None:
        related["root"] = _common(run.root, run.root.state, modern=modern)
        related["parent"] = _common(run.parent, run.parent.state, modern=modern)
    related["children"] = [_common(child, child.state, modern=modern) for child in run.children]
    return body | {"attemptCount": state.attempt_count, "attempts": [], "relatedRuns": related}


def list_item(run: ServerRun, state: State, *, modern: bool) -> dict[str, Any]:
    """
    Return what a list shows of a run.

    :param run: the run
    :param state: what it shows now
    :param modern: whether the client named the modern API version
    """
    word = state.status if modern else OLD_WORDS.get(state.status, state.status)
    # Unlike a retrieve, a list shows a time for every run with a final status.
    finished_at = state.finished_at or (state.updated_at if state.final else None)
    body = {
        "id": run.id,
        "status": word,
        "taskIdentifier": run.task_identifier,
        "version": _version(state),
        "createdAt": show_time(state.created_at),
        "updatedAt": show_time(state.updated_at),
        "startedAt": _optional(state.started_at),
        "finishedAt": _optional(finished_at),
        "delayedUntil": _optional(state.delayed_until),
        "expiredAt": _optional(state.expired_at),
        "ttl": _ttl(run, state),
        "isTest": False,
        "env": {"id": run.environment.id, "name": run.environment.name},
        "tags": list(run.tags),
        "costInCents": 0,
        "baseCostInCents": 0,
        "durationMs": state.duration_ms,
        "depth": run.depth,
        "metadata": _metadata(run),
        "taskKind": "STANDARD",
        "region": run.environment.region,
    }
    return {key: value for key, value in body.items() if value is not None} | _booleans(word)


def _common(run: ServerRun, state: State, *, modern: bool) -> dict[str, Any]:
    word = state.status if modern else OLD_WORDS.get(state.status, state.status)
    body = {
        "id": run.id,
        "taskIdentifier": run.task_identifier,
        "version": _version(state),
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
        "isTest": False,
        "depth": run.depth,
        "tags": list(run.tags),
        **_booleans(word),
        "triggerFunction": run.trigger_function,
        "metadata": _metadata(run),
        "region": run.environment.region,
    }
    return {key: value for key, value in body.items() if value is not None}


def _booleans(word: str) -> dict[str, bool]:
    """Return the flags of a status as the real server sets them: all false for EXPIRED and TIMED_OUT."""
    return {
        "isQueued": word in _QUEUED,
        "isExecuting": word in _EXECUTING,
        "isCompleted": word == "COMPLETED" or word in _FAILED,
        "isFailed": word in _FAILED,
        "isSuccess": word == "COMPLETED",
        "isCancelled": word == "CANCELED",
        "isWaiting": word == "WAITING",
    }


def _version(state: State) -> str | None:
    return "20261125.1" if state.started_at is not None else None


def _ttl(run: ServerRun, state: State) -> str | None:
    return run.ttl or ("1s" if state.expired_at is not None else None)


def _metadata(run: ServerRun) -> str | None:
    return None if run.metadata is None else json.dumps(run.metadata, separators=(",", ":"))


def _optional(moment: datetime | None) -> str | None:
    return None if moment is None else show_time(moment)
