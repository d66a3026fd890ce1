"""The calls for tasks: trigger one, and reset an idempotency key of its runs."""

from __future__ import annotations

import re

from starlette.responses import Response

from ..engine.engine import Engine
from ..http.answers import error_answer, json_answer
from .calls import Call, Route
from .json_body import InvalidBodyError, read_json
from .trigger_checks import check_triggerable
from .trigger_request import read_request


class TaskCalls:
    """Answer the calls for tasks."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.routes = [
            Route(re.compile(r"/api/v1/tasks/([^/]+)/trigger"), load=_method_not_allowed, act=self._trigger),
            Route(re.compile(r"/api/v1/idempotencyKeys/([^/]+)/reset"), act=self._reset),
        ]

    def _trigger(self, call: Call) -> Response:
        try:
            wanted = read_request(call.body)
            check_triggerable(self._engine, wanted)
        except InvalidBodyError as error:
            return error_answer(str(error), status=error.status)
        options = wanted.options
        if "idempotency-key" in call.request.headers:
            options.setdefault("idempotencyKey", call.request.headers["idempotency-key"])
        run, is_cached = self._engine.trigger(
            call.path_id, payload=wanted.payload, options=options, environment=call.environment
        )
        return json_answer({"id": run.id, "isCached": is_cached})

    def _reset(self, call: Call) -> Response:
        try:
            given = read_json(call.body)
        except InvalidBodyError as error:
            return error_answer(str(error), status=error.status)
        task_identifier = given.get("taskIdentifier") if isinstance(given, dict) else None
        if not isinstance(task_identifier, str):
            return error_answer('Validation error: Required at "taskIdentifier"', status=400)
        key = call.path_id
        if self._engine.reset_key(key, task_identifier, environment=call.environment) is None:
            unknown = f"No runs found with idempotency key: {key} and task: {task_identifier}"
            return error_answer(unknown, status=404)
        return json_answer({"id": key})


def _method_not_allowed(call: Call) -> Response:
    return Response(status_code=405)
