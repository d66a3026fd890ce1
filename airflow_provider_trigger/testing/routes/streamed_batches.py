"""The calls for batches whose items are streamed: create one, and send its items, one in a line."""

from __future__ import annotations

import json
import re
from typing import Any

from starlette.responses import Response

from ..engine.batches import TOO_LARGE, Batch, BatchItem
from ..engine.engine import Engine
from ..http.answers import error_answer, json_answer
from .batch_request import issues_of_item, make_item
from .calls import Call, Route, find_in
from .json_body import InvalidBodyError, kind_of, read_json
from .trigger_request import LARGEST_BODY

ITEMS = re.compile(r"/api/v3/batches/([^/]+)/items")
_MOST_ITEMS = 1000
_TYPES = ("application/x-ndjson", "application/ndjson")


class StreamedBatchCalls:
    """Answer the calls for batches whose items are streamed."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.routes = [
            Route(re.compile(r"/api/v3/batches"), act=self._create),
            Route(ITEMS, act=self._add_items),
        ]

    def _create(self, call: Call) -> Response:
        try:
            given = read_json(call.body)
            run_count = _read_count(given)
        except InvalidBodyError as error:
            return error_answer(str(error), status=error.status)
        key = given.get("idempotencyKey")
        batch = self._engine.batches.open(run_count, environment=call.environment, key=key)
        if batch is None:
            again = "Cannot create batch as it has already been created with the same idempotency key."
            return error_answer(again, status=422)
        body = {"id": batch.id, "runCount": run_count, "isCached": False}
        return json_answer(body | ({"idempotencyKey": key} if key else {}), status=202)

    def _add_items(self, call: Call) -> Response:
        if call.request.headers.get("content-type", "").partition(";")[0] not in _TYPES:
            return error_answer(f"Content-Type must be {' or '.join(_TYPES)}", status=415)
        batch = find_in(self._engine.batches, call)
        if batch is None:
            return error_answer(f"Batch {call.path_id} not found", status=422)
        accepted = duplicates = 0
        try:
            for number, line in enumerate([] if batch.sealed else call.body.splitlines(), start=1):
                index, item = _read_item(self._engine, batch, line, number=number)
                is_new = self._engine.batches.stream(batch, index, item)
                accepted, duplicates = accepted + is_new, duplicates + (not is_new)
        except InvalidBodyError as error:  # the lines before are taken
            return error_answer(str(error), status=error.status)
        body = {"id": batch.id, "itemsAccepted": accepted, "itemsDeduplicated": duplicates}
        body |= {"sealed": batch.sealed, "runCount": batch.run_count}
        if not batch.sealed:
            body |= {"enqueuedCount": batch.item_count, "expectedCount": batch.run_count}
        return json_answer(body)


def _read_count(given: Any) -> int:
    if not isinstance(given, dict):
        raise InvalidBodyError(f"Validation error: Expected object, received {kind_of(given)}")
    count = given.get("runCount")
    # How the server words these was not recorded.
    if isinstance(count, bool) or not isinstance(count, int):
        raise InvalidBodyError(f'Validation error: Expected number, received {kind_of(count)} at "runCount"')
    if count < 1:
        raise InvalidBodyError('Validation error: Number must be greater than 0 at "runCount"')
    if count > _MOST_ITEMS:
        most = f"exceeds maximum allowed of {_MOST_ITEMS}."
        raise InvalidBodyError(f"Batch runCount of {count} {most}")
    return count


def _read_item(engine: Engine, batch: Batch, line: bytes, *, number: int) -> tuple[int, BatchItem]:
    """
    Return the index and the item of a line.

    :raises InvalidBodyError: for an invalid line
    """
    try:
        given = json.loads(line)
    except ValueError as error:
        raise InvalidBodyError(f"Invalid JSON at line {number}: {error}") from None
    issues = list(issues_of_item(given, place="item"))
    index = None if issues else given.get("index")
    if isinstance(index, bool) or not isinstance(index, int) or index < 0:
        # How the server words these was not recorded.
        issues = issues or [f'Expected number, received {kind_of(index)} at "item.index"']
        raise InvalidBodyError(f"Invalid item at line {number}: {'; '.join(issues)}")
    if index >= batch.run_count:
        message = f"Item index {index} exceeds batch runCount {batch.run_count}"
        raise InvalidBodyError(message, status=422)
    if len(line) > LARGEST_BODY:
        return index, BatchItem(task_identifier=given["task"], failure=TOO_LARGE)
    return index, make_item(engine, given)
