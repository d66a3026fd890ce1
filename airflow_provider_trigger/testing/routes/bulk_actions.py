"""The calls for bulk actions: create one that cancels runs, and retrieve it."""

from __future__ import annotations

import re
from typing import Any

from starlette.responses import Response

from ..engine.bulk_actions import BulkAction
from ..engine.engine import Engine
from ..http.answers import error_answer, json_answer
from .bulk_request import read_request
from .calls import Call, Handler, Route, find_in
from .json_body import InvalidBodyError
from .run_filters import make_filters
from .views import show_time


class BulkActionCalls:
    """Answer the calls for bulk actions."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._actions = engine.bulk
        path = "/api/v1/bulk-actions"
        self.routes = [
            _route(path, act=self._create),
            _route(f"{path}/([^/]+)", load=self._retrieve),
        ]

    def _create(self, call: Call) -> Response:
        try:
            wanted = read_request(call.body)
        except InvalidBodyError as error:
            return error_answer(str(error), status=error.status)
        if not self._engine.query_database:
            return error_answer("Failed to create bulk action", status=500)
        run_ids = wanted.run_ids
        if wanted.tag is not None:
            tests = make_filters({"filter[tag]": wanted.tag}, now=self._engine.time.now())
            runs = list(self._engine.runs.values())
            run_ids = [run.id for run in runs if all(test((run, run.state)) for test in tests)]
        action = self._actions.create(run_ids, environment=call.environment, name=wanted.name)
        return json_answer({"id": action.id}, status=202)

    def _retrieve(self, call: Call) -> Response:
        action = find_in(self._actions, call)
        if action is None:
            return error_answer("Not found", status=404, headers={"x-should-retry": "false"})
        return json_answer(_show(action))


def _route(path: str, *, load: Handler | None = None, act: Handler | None = None) -> Route:
    return Route(re.compile(path), load=load, act=act, accepts_tokens=False)


def _show(action: BulkAction) -> dict[str, Any]:
    body = {
        "id": action.id,
        "name": action.name,
        "type": "CANCEL",
        "status": action.status,
        "counts": action.counts,
        "createdAt": show_time(action.created_at),
        "completedAt": None if action.completed_at is None else show_time(action.completed_at),
    }
    return {key: value for key, value in body.items() if value is not None}
