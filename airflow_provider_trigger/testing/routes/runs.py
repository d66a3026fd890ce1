"""The calls for runs: cancel, retrieve, list, replay, reschedule, result, log; and their large outputs."""

from __future__ import annotations

import math
import re
from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ..answers import error_answer, json_answer, plain_answer
from ..engine import settings
from ..engine.engine import Engine
from ..engine.packets import ObjectStore
from ..engine.runs import LogLine, ServerRun
from ..engine.server_time import moment, read_delay
from .calls import Call, InvalidBodyError, Route, find_in, read_json
from .run_list import QueryError, list_runs, looks_back
from .views import Presign, show_run

PREFIX = "/packets/"
_XML = "application/xml"


class RunCalls:
    """Answer the calls for runs."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._runs = engine.runs
        self.routes = [
            Route(re.compile(r"/api/v2/runs/([^/]+)/cancel"), act=self._cancel),
            Route(re.compile(r"/api/v3/runs/([^/]+)"), load=self._retrieve),
            Route(re.compile(r"/api/v1/runs"), load=self._list),
            Route(re.compile(r"/api/v1/runs/([^/]+)/replay"), act=self._replay),
            Route(re.compile(r"/api/v1/runs/([^/]+)/reschedule"), act=self._reschedule),
            Route(re.compile(r"/api/v1/runs/([^/]+)/result"), load=self._result),
            Route(re.compile(r"/api/v1/runs/([^/]+)/events"), load=self._events),
        ]

    def _cancel(self, call: Call) -> Response:
        run = find_in(self._runs, call)
        if run is None:
            return error_answer("Resource not found", status=404)
        run.cancel()
        return json_answer({"id": run.id})

    def _retrieve(self, call: Call) -> Response:
        run = find_in(self._runs, call)
        if run is None:
            return error_answer("Not found", status=404, headers={"x-should-retry": "true"})
        presign = presigner(self._engine, call)
        return json_answer(show_run(run, modern=call.modern, before_cancel=call.stale, presign=presign))

    def _events(self, call: Call) -> Response:
        run = find_in(self._runs, call)
        if run is None:
            return error_answer("Not found", status=404, headers={"x-should-retry": "true"})
        time = self._engine.time
        seen_until = time.after(-self._engine.log_lag, time.now())
        return json_answer({"events": show_events(run, seen_until=seen_until)})

    def _list(self, call: Call) -> Response:
        runs = [run for run in list(self._runs.values()) if run.environment == call.environment]
        query = call.request.query_params
        if not self._engine.query_database:
            return error_answer("Internal Server Error", status=500)
        now = self._engine.time.now()
        # A status is found as the query has it.
        lags = [self._engine.list_lag, self._engine.query_lag if query.get("filter[status]") else 0.0]
        seen_until = self._engine.time.after(-max(lags), now)
        try:
            if looks_back(query, now) > (self._engine.list_window or math.inf):
                return error_answer("This query would be too expensive: narrow its time window", status=422)
            return json_answer(list_runs(runs, query, modern=call.modern, now=now, seen_until=seen_until))
        except QueryError as error:
            return json_answer({"error": str(error), "details": error.details}, status=400)

    def _replay(self, call: Call) -> Response:
        run = find_in(self._runs, call)
        if run is None:
            return error_answer("Resource not found", status=404)
        return json_answer({"id": self._engine.replay(run).id})

    def _reschedule(self, call: Call) -> Response:
        delay = _field(call, "delay")
        if not isinstance(delay, str):
            return error_answer("Invalid request body", status=400)
        run = find_in(self._runs, call)
        if run is None:
            return error_answer("Run not found", status=404)
        due = read_delay(delay, self._engine.time)
        if due is None:
            return error_answer(f"Invalid delay: {delay}", status=400)
        if not self._engine.reschedule(run, due):
            return error_answer("Cannot reschedule a run that is not delayed", status=400)
        return json_answer(show_run(run, modern=call.modern, presign=presigner(self._engine, call)))

    def _result(self, call: Call) -> Response:
        run = find_in(self._runs, call)
        # So does the real server: it finds the result of no run that has ended otherwise.
        if run is None or run.status != "CANCELED":
            return error_answer("Run either doesn't exist or is not finished", status=404)
        error = {"type": "INTERNAL_ERROR", "code": "TASK_RUN_CANCELLED"}
        body = {"ok": False, "id": run.id, "taskIdentifier": run.task_identifier, "error": error}
        return json_answer(body)


def _field(call: Call, name: str) -> Any:
    """Return a field of the body, ``None`` if there is none."""
    try:
        given = read_json(call.body)
    except InvalidBodyError:
        return None
    return given.get(name) if isinstance(given, dict) else None


def show_events(run: ServerRun, *, seen_until: float) -> list[dict[str, Any]]:
    """Return what the log of a run answers: nothing before the run starts, and nothing from after its end."""
    state = run.state_at(seen_until)
    if state is None or state.started_at is None:
        return []
    ended_at = (state.finished_at or state.updated_at) if state.final else None
    root = _event(run, run.span_id, run.task_identifier, "TRACE", state.started_at) | {
        "style": {"icon": "task", "variant": "primary"},
        "duration": 0 if ended_at is None else _nanoseconds(ended_at) - _nanoseconds(state.started_at),
        "isError": state.final and state.status not in ("COMPLETED", "CANCELED"),
        "isPartial": ended_at is None,
        "isCancelled": state.status == "CANCELED",
    }
    last = moment(seen_until) if ended_at is None else min(ended_at, moment(seen_until))
    lines = sorted((line for line in run.log_lines if moment(line.at) <= last), key=lambda line: line.at)
    return [root, *(_show_line(run, line) for line in lines[: settings.MOST_EVENTS - 1])]


def _show_line(run: ServerRun, line: LogLine) -> dict[str, Any]:
    state = run.state_at(line.at)
    message = line.text[: settings.LONGEST_LOG_MESSAGE]
    return _event(run, line.span_id, message, line.level, moment(line.at)) | {
        "parentId": run.span_id,
        "isError": line.is_error,
        "attemptNumber": (state.attempt_count or None) if state else None,
    }


def _event(run: ServerRun, span_id: str, message: str, level: str, start: datetime) -> dict[str, Any]:
    return {
        "spanId": span_id,
        "parentId": None,
        "runId": run.id,
        "message": message,
        "style": {},
        "events": [],
        "startTime": str(_nanoseconds(start)),
        "duration": 0,
        "isError": False,
        "isPartial": False,
        "isCancelled": False,
        "kind": "UNSPECIFIED",
        "attemptNumber": None,
        "level": level,
    }


def _nanoseconds(time: datetime) -> int:
    return round(time.timestamp() * 1_000_000) * 1000


def presigner(engine: Engine, call: Call) -> Presign | None:
    """Return what gives packets URLs here, named as its client names it; ``None`` without an object store."""
    if not engine.object_store:
        return None
    base = str(call.request.base_url).rstrip("/")
    return lambda run, packet: base + engine.packets.presign(run, packet)


def answer_packet(store: ObjectStore, request: Request, path: str) -> Response:
    """Answer a request for a packet as S3 does: the URL alone opens it, a key in addition is an error."""
    if "authorization" in request.headers:
        return _error("InvalidArgument", "Only one auth mechanism allowed", status=400)
    packet = store.open(path, request.query_params) if request.method in ("GET", "HEAD") else None
    if packet is None:
        return _error("AccessDenied", "Request has expired", status=403)
    return plain_answer(packet.text, packet.content_type, status=200)


def _error(code: str, message: str, *, status: int) -> Response:
    text = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return plain_answer(text, _XML, status=status)
