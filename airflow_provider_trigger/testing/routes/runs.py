"""The calls for runs: cancel, retrieve, list, replay, reschedule, result."""

from __future__ import annotations

import re
from typing import Any

from starlette.responses import Response

from ..engine.durations import read_delay
from ..engine.engine import Engine
from ..http.answers import error_answer, json_answer
from .calls import Call, Route, find_in
from .events import show_events
from .json_body import InvalidBodyError, read_json
from .packets import presigner
from .run_filters import QueryError
from .run_list import list_runs
from .views import show_run


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
