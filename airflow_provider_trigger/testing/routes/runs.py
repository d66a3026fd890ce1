"""The calls for runs: cancel, retrieve, list."""

from __future__ import annotations

import re

from starlette.responses import Response

from ..engine.engine import Engine
from ..http.answers import error_answer, json_answer
from .calls import Call, Route, find_in, of_environment
from .packets import presigner
from .pages import QueryError, query_error
from .run_list import list_runs
from .views import show_run


class RunCalls:
    """
    Answer the calls for runs.

    :param engine: the model
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._runs = engine.runs
        self.routes = [
            Route(re.compile(r"/api/v2/runs/([^/]+)/cancel"), act=self._cancel),
            Route(re.compile(r"/api/v3/runs/([^/]+)"), load=self._retrieve),
            Route(re.compile(r"/api/v1/runs"), load=self._list),
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

    def _list(self, call: Call) -> Response:
        runs, query = of_environment(self._runs, call), call.request.query_params
        now, lag = self._engine.clock(), self._engine.list_lag
        try:
            return json_answer(list_runs(runs, query, modern=call.modern, now=now, lag=lag))
        except QueryError as error:
            return query_error(error)
