"""The calls for runs: cancel, retrieve, list."""

from __future__ import annotations

import re

from starlette.responses import Response

from ..engine.engine import Engine
from ..http.answers import error_answer, json_answer
from .calls import Call, Route, find_in, of_environment
from .pages import QueryError, query_error
from .run_list import list_runs
from .views import show_run


class RunCalls:
    """
    Answer the calls for runs.

    :param engine: the model
    """

    def __init__(self, engine: Engine) -> None:
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
        return json_answer(show_run(run, modern=call.modern, before_cancel=call.stale))

    def _list(self, call: Call) -> Response:
        runs = of_environment(self._runs, call)
        try:
            return json_answer(list_runs(runs, call.request.query_params, modern=call.modern))
        except QueryError as error:
            return query_error(error)
