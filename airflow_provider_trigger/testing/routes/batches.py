"""The calls for batches: trigger one, and retrieve it."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

from starlette.responses import Response

from ..engine.batches import Batch
from ..engine.engine import Engine
from ..http.answers import error_answer, json_answer, unauthorized
from .batch_request import read_items
from .calls import Call, Route, find_in
from .json_body import InvalidBodyError
from .views import show_time


class BatchCalls:
    """Answer the calls for batches."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.routes = [
            Route(re.compile(r"/api/v2/tasks/batch"), act=self._trigger),
            Route(re.compile(r"/api/v1/batches/([^/]+)"), load=partial(self._retrieve, version=1)),
            Route(re.compile(r"/api/v2/batches/([^/]+)"), load=partial(self._retrieve, version=2)),
        ]

    def _trigger(self, call: Call) -> Response:
        try:
            items = read_items(self._engine, call.body)
        except InvalidBodyError as error:
            return error_answer(str(error), status=error.status)
        if not items:
            return unauthorized()  # the key would need a right to trigger each of their tasks
        batch = self._engine.batches.create(items, environment=call.environment)
        return json_answer({"id": batch.id, "isCached": False, "runCount": batch.run_count}, status=202)

    def _retrieve(self, call: Call, *, version: int) -> Response:
        batch = find_in(self._engine.batches, call)
        if batch is None:
            return error_answer("Not found", status=404, headers={"x-should-retry": "true"})
        return json_answer(_show(batch) if version == 1 else _show(batch) | _processing(batch))


def _show(batch: Batch) -> dict[str, Any]:
    body = {
        "id": batch.id,
        "status": batch.status,
        "createdAt": show_time(batch.created_at),
        "updatedAt": show_time(batch.updated_at),
        "runCount": batch.run_count,
        # Those of a batch whose items are streamed show once all exist.
        "runs": [] if batch.streamed and batch.processed_at is None else [run.id for run in batch.runs],
    }
    completed_at = _processing(batch)["processing"].get("completedAt")
    return body if completed_at is None else body | {"processingCompletedAt": completed_at}


def _processing(batch: Batch) -> dict[str, Any]:
    """Return what version 2 of the call shows in addition."""
    processed_at = batch.processed_at if batch.streamed else None
    completed_at = {} if processed_at is None else {"completedAt": show_time(processed_at)}
    return {"processing": completed_at | {"errors": []}}
