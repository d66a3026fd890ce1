"""The realtime API, as far as it shows what a run is now."""

from __future__ import annotations

import json
import re
from datetime import datetime

from starlette.responses import Response

from ..engine.engine import Engine
from ..engine.runs import ServerRun
from ..http.answers import error_answer, json_answer, plain_answer
from .calls import Call, Route, find_in
from .views import show_time

# The database's words, where they are others than the API's.
_WORDS = {
    "QUEUED": "PENDING",
    "WAITING": "WAITING_TO_RESUME",
    "COMPLETED": "COMPLETED_SUCCESSFULLY",
    "FAILED": "COMPLETED_WITH_ERRORS",
}


class RealtimeCalls:
    """Answer what the start of a run's feed is, without payload, output, metadata and error."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.routes = [
            Route(re.compile(r"/realtime/v1/runs/([^/]+)"), load=self._snapshot),
            Route(re.compile(r"/realtime/v1/runs"), load=self._feed_of_several),
            Route(re.compile(r"/realtime/v1/batches/([^/]+)"), load=self._feed_of_batch),
        ]

    def _feed_of_batch(self, call: Call) -> Response:
        return self._feed_of_several(call) if find_in(self._engine.batches, call) else _not_found()

    def _feed_of_several(self, call: Call) -> Response:
        return _only_starts() if self._engine.realtime else _off()

    def _snapshot(self, call: Call) -> Response:
        run = find_in(self._engine.runs, call)
        if run is None:
            return _not_found()
        if not self._engine.realtime:
            return _off()
        if call.request.query_params.get("live") == "true":
            return _only_starts()
        internal_id = run.id.removeprefix("run_")
        message = {
            "key": f'"public"."TaskRun"/"{internal_id}"',
            "value": {"id": internal_id, **_row(run)},
            "headers": {"operation": "insert"},
        }
        return json_answer([message, {"headers": {"control": "up-to-date"}}])


def _not_found() -> Response:
    return error_answer("Not found", status=404, headers={"x-should-retry": "false"})


def _off() -> Response:
    return plain_answer("Network error occurred", "text/plain;charset=UTF-8", status=503)


def _only_starts() -> Response:
    return error_answer("The local server only answers how a run's feed starts", status=501)


def _row(run: ServerRun) -> dict[str, str | None]:
    """Return a run's columns, each as a text or None."""
    state = run.state
    types = dict.fromkeys(("payloadType", "metadataType", "outputType"), "application/json")
    return types | {
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
    }


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else show_time(moment).removesuffix("Z")
