"""The calls for queues: list, retrieve, pause and resume, and the override of the concurrency limit."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from ..answers import error_answer, json_answer
from ..engine.engine import Engine
from ..engine.queues import ENVIRONMENT_LIMIT, Queue
from ..engine.server_time import moment
from .calls import Call, InvalidBodyError, Route, read_json
from .run_list import QueryError
from .views import show_time

_QUEUE = "/api/v1/queues/([^/]+)"


class QueueCalls:
    """Answer the calls for queues."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.routes = [
            Route(re.compile("/api/v1/queues"), load=self._list),
            Route(re.compile(_QUEUE), load=self._retrieve),
            Route(re.compile(f"{_QUEUE}/pause"), act=self._pause),
            Route(re.compile(f"{_QUEUE}/concurrency/override"), act=self._override),
            Route(re.compile(f"{_QUEUE}/concurrency/reset"), act=self._reset),
        ]

    def _find(self, call: Call, kind: Any) -> Queue | None:
        """Return the queue that a path names, by its id if no type is given."""
        for queue in self._engine.queues_in(call.environment):
            if call.path_id == (queue.name if kind == queue.type else queue.id if kind is None else None):
                return queue
        return None

    def _list(self, call: Call) -> Response:
        try:
            page, size = (
                _number(call.request.query_params, name, default=default)
                for name, default in (("page", 1), ("perPage", 25))
            )
        except QueryError as error:
            return json_answer({"error": str(error), "details": error.details}, status=400)
        queues = self._engine.queues_in(call.environment)
        pages = {"currentPage": page, "totalPages": -(-len(queues) // size), "count": len(queues)}
        shown = [self._show_all(queue) for queue in queues[(page - 1) * size : page * size]]
        return json_answer({"data": shown, "pagination": pages})

    def _retrieve(self, call: Call) -> Response:
        queue = self._find(call, call.request.query_params.get("type"))
        return _not_found() if queue is None else json_answer(self._show_all(queue))

    def _pause(self, call: Call) -> Response:
        given = _given(call)
        action = given.get("action")
        if action not in ("pause", "resume"):
            wrong = f"Invalid enum value. Expected 'pause' | 'resume', received '{action}'"
            return error_answer(
                f'Validation error: {"Required" if action is None else wrong} at "action"', status=400
            )
        queue = self._find(call, given.get("type"))
        if queue is None:
            return _not_found()
        self._engine.pause_queue(queue, paused=action == "pause")
        return json_answer(self._show(queue))

    def _override(self, call: Call) -> Response:
        given = _given(call)
        limit: Any = given.get("concurrencyLimit")
        percent: Any = given.get("percent")
        if (limit is None) == (percent is None):
            text = "Validation error: Provide exactly one of `concurrencyLimit` or `percent`"
            return error_answer(text, status=400)
        queue = self._find(call, given.get("type"))
        if queue is None:
            return error_answer("Queue not found", status=404)
        limit = int(ENVIRONMENT_LIMIT * percent / 100) if limit is None else limit
        if limit > ENVIRONMENT_LIMIT:
            text = f"Concurrency limit ({limit}) cannot exceed the environment limit ({ENVIRONMENT_LIMIT})"
            return error_answer(text, status=400)
        queue.override, queue.percent, queue.overridden_at = limit, percent, self._engine.time.now()
        return json_answer(self._show(queue))

    def _reset(self, call: Call) -> Response:
        queue = self._find(call, _given(call).get("type"))
        if queue is None:
            return error_answer("Queue not found", status=404)
        if queue.override is None:
            return error_answer("Queue is not overridden", status=400)
        queue.override = queue.percent = queue.overridden_at = None
        return json_answer(self._show(queue))

    def _show(self, queue: Queue) -> dict[str, Any]:
        """Return what a change of a queue answers."""
        runs = list(self._engine.runs.values())
        statuses = [run.status for run in runs if self._engine.queues.of(run) is queue]
        limit = queue.limit if queue.override is None else queue.override
        overridden_at = queue.overridden_at
        return {
            "id": queue.id,
            "name": queue.name,
            "type": queue.type,
            "running": sum(status in ("DEQUEUED", "EXECUTING") for status in statuses),
            "queued": statuses.count("QUEUED"),
            "paused": queue.paused_at(self._engine.time.now()),
            "concurrencyLimit": limit,
            "concurrency": {
                "current": limit,
                "base": None if queue.override is None else queue.limit,
                "override": queue.override,
                "overriddenBy": None,
                "overriddenAt": None if overridden_at is None else show_time(moment(overridden_at)),
            },
            "releaseConcurrencyOnWaitpoint": True,
        }

    def _show_all(self, queue: Queue) -> dict[str, Any]:
        return self._show(queue) | {"concurrencyLimitOverridePercent": queue.percent}


def _not_found() -> Response:
    return error_answer("queue-not-found", status=404)


def _given(call: Call) -> dict[str, Any]:
    """Return the object of a body, an empty one for any other body."""
    try:
        given = read_json(call.body)
    except InvalidBodyError:
        return {}
    return given if isinstance(given, dict) else {}


def _number(query: Mapping[str, str], name: str, *, default: int) -> int:
    """Return a number of the query; QueryError for one that is not positive."""
    given = query.get(name, str(default))
    if given.isdigit() and int(given) > 0:
        return int(given)
    small = {"code": "too_small", "minimum": 0, "type": "number", "inclusive": False, "exact": False}
    raise QueryError([small | {"message": "Number must be greater than 0", "path": [name]}])
