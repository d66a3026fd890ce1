"""The realtime API: feeds of one run, of those with tags, and of those of a batch."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ..answers import error_answer, json_answer, plain_answer
from ..engine.engine import Engine
from ..engine.packets import compact
from ..engine.runs import ServerRun
from ..engine.settings import UNSET
from ..engine.states import State
from .calls import Call, Route, find_in
from .views import show_time

# How long a poll for changes is held, and how often it looks for one, in seconds.
_HOLD, _INTERVAL = 20.0, 0.02
_MOST_RUNS = 1000
_KEPT = ("id", "taskIdentifier", "createdAt", "friendlyId", "status")
_TYPES = {
    **dict.fromkeys(("createdAt", "updatedAt", "startedAt", "delayUntil", "queuedAt"), "timestamp"),
    **dict.fromkeys(("expiredAt", "completedAt"), "timestamp"),
    **dict.fromkeys(("number", "usageDurationMs"), "int4"),
    **dict.fromkeys(("costInCents", "baseCostInCents"), "float8"),
    "isTest": "bool",
    "error": "jsonb",
}
_UP_TO_DATE = {"headers": {"control": "up-to-date"}}

# The database's words, where they are others than the API's.
_WORDS = {
    "QUEUED": "PENDING",
    "WAITING": "WAITING_TO_RESUME",
    "COMPLETED": "COMPLETED_SUCCESSFULLY",
    "FAILED": "COMPLETED_WITH_ERRORS",
}


class RealtimeCalls:
    """Answer how a feed starts, and what changes afterwards."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.routes = [
            Route(re.compile(r"/realtime/v1/runs/([^/]+)"), load=self._feed_of_run),
            Route(re.compile(r"/realtime/v1/runs"), load=self._feed_of_tags),
            Route(re.compile(r"/realtime/v1/batches/([^/]+)"), load=self._feed_of_batch),
        ]

    def _feed_of_run(self, call: Call) -> Response:
        run = find_in(self._engine.runs, call)
        return _not_found() if run is None else self._feed(call, f"run-{_internal(run)}", lambda: [run])

    def _feed_of_tags(self, call: Call) -> Response:
        tags = {tag for tag in call.request.query_params.get("tags", "").split(",") if tag}
        name = hashlib.sha256(repr(sorted(tags)).encode()).hexdigest()[:8]
        return self._feed(call, f"runs_{name}", lambda: self._runs(call, lambda run: tags <= set(run.tags)))

    def _feed_of_batch(self, call: Call) -> Response:
        batch = find_in(self._engine.batches, call)
        if batch is None:
            return _not_found()
        return self._feed(call, batch.id, lambda: self._runs(call, lambda run: run.batch_id == batch.id))

    def _runs(self, call: Call, fits: Callable[[ServerRun], bool]) -> list[ServerRun]:
        runs = list(self._engine.runs.values())
        return [run for run in runs if run.environment == call.environment and fits(run)][-_MOST_RUNS:]

    def _feed(self, call: Call, handle: str, select: Callable[[], Iterable[ServerRun]]) -> Response:
        if not self._engine.realtime:
            return _off()
        query = call.request.query_params
        since = re.fullmatch(r"(\d+)_(\d{1,3})", query.get("offset", ""))
        handle = query.get("handle", handle)
        if query.get("live") != "true" or "handle" not in query or since is None:
            return self._changes(call, handle, select, since=0.0, headers={"electric-schema": _SCHEMA})
        seen = int(since[1]) / 1000 + int(since[2]) / 1_000_000
        headers = {"electric-cursor": str(int(self._engine.time.now() * 1000))}

        def poll(is_last: bool) -> Response | None:
            self._engine.agenda.catch_up()
            answer = self._changes(call, handle, select, since=seen, headers=headers)
            return answer if is_last or json.loads(bytes(answer.body)) != [_UP_TO_DATE] else None

        return _Held(poll, hold=_HOLD / self._engine.time.speed)

    def _changes(
        self,
        call: Call,
        handle: str,
        select: Callable[[], Iterable[ServerRun]],
        *,
        since: float,
        headers: dict[str, str],
    ) -> Response:
        """Return the runs that show something else than at a time, in seconds since 1970."""
        now = self._engine.time.now()
        skipped = set(call.request.query_params.get("skipColumns", "").split(",")) - set(_KEPT)
        messages: list[Any] = []
        for run in select():
            before, state = run.state_at(since), run.state_at(now)
            if state is None or state == before:
                continue
            row = {name: value for name, value in _row(run, state).items() if name not in skipped}
            operation = {"operation": "insert" if before is None else "update"}
            key = f'"public"."TaskRun"/"{row["id"]}"'
            messages.append({"key": key, "value": row, "headers": operation})
        # A client with an older version of the protocol says none, and gets other names.
        is_new = "x-trigger-electric-version" in call.request.headers
        names = ("offset", "handle") if is_new else ("chunk-last-offset", "shape-id")
        microseconds = round(now * 1_000_000)
        places = f"{microseconds // 1000}_{microseconds % 1000}", handle
        own = {f"electric-{name}": value for name, value in zip(names, places, strict=True)}
        return json_answer([*messages, _UP_TO_DATE], headers={**own, **headers, "cache-control": "no-store"})


class _Held(Response):
    """An answer that is held until something has changed."""

    def __init__(self, poll: Callable[[bool], Response | None], *, hold: float) -> None:
        super().__init__()
        self._poll = poll
        self._hold = hold

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Wait, and answer unless the client has left."""
        left = asyncio.ensure_future(receive())
        until = asyncio.get_running_loop().time() + self._hold
        while not left.done():
            if answer := self._poll(asyncio.get_running_loop().time() > until):
                left.cancel()
                await answer(scope, receive, send)
                return
            await asyncio.wait({left}, timeout=_INTERVAL)


def _not_found() -> Response:
    return error_answer("Not found", status=404, headers={"x-should-retry": "false"})


def _off() -> Response:
    return plain_answer("Network error occurred", "text/plain;charset=UTF-8", status=503)


def _internal(run: ServerRun) -> str:
    return run.id.removeprefix("run_")


def _row(run: ServerRun, state: State) -> dict[str, str | None]:
    """Return a run's columns, each as a text or None."""
    types = dict.fromkeys(("payloadType", "metadataType", "outputType"), "application/json")
    return types | {
        "id": _internal(run),
        "friendlyId": run.id,
        "taskIdentifier": run.task_identifier,
        "status": _WORDS.get(state.status, state.status),
        "createdAt": _time(state.created_at),
        "updatedAt": _time(state.updated_at),
        "startedAt": _time(state.started_at),
        "delayUntil": _time(state.delayed_until),
        "queuedAt": _time(state.created_at),
        "expiredAt": _time(state.expired_at),
        "completedAt": _time(state.finished_at),
        "number": "0",
        "isTest": "t" if run.options.get("test") else "f",
        "usageDurationMs": str(state.duration_ms),
        "costInCents": "0",
        "baseCostInCents": "0",
        "ttl": run.ttl,
        "runTags": "{" + json.dumps(run.tags, separators=(",", ":"))[1:-1] + "}" if run.tags else None,
        "realtimeStreams": "{}",
        "payload": _json(run.payload),
        "metadata": None if run.metadata is None else _json(run.metadata),
        "output": _json(state.output),
        "error": None if state.error is None else _json(_stored(state.error)),
    }


def _stored(error: Mapping[str, str]) -> dict[str, str]:
    """Return an error as the database has it."""
    if "name" in error:
        return {"type": "BUILT_IN_ERROR", "stackTrace": "", **error}
    return {"raw": error["message"], "type": "STRING_ERROR"}


def _json(value: Any) -> str | None:
    return None if value is UNSET else compact(value)


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else show_time(moment).removesuffix("Z")


_TEXTS = (
    *("id", "taskIdentifier", "friendlyId", "status", "ttl", "payload", "payloadType"),
    *("metadata", "metadataType", "output", "outputType"),
)
_LISTS = {name: {"type": "text", "dims": 1} for name in ("runTags", "realtimeStreams")}
_SCHEMA = json.dumps(
    {name: {"type": kind} for name, kind in {**dict.fromkeys(_TEXTS, "text"), **_TYPES}.items()} | _LISTS
)
