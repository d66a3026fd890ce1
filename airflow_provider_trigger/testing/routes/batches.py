"""The calls for batches: trigger one at once, or send its items one in a line, and retrieve it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import partial
from typing import Any

from starlette.responses import Response

from ..answers import error_answer, json_answer, unauthorized
from ..engine.batches import ITEM_TOO_LARGE, NOT_TRIGGERED, Batch, BatchItem
from ..engine.engine import Engine
from ..engine.settings import UNSET
from .calls import Call, InvalidBodyError, Route, find_in, kind_of, read_json
from .tasks import LARGEST_BODY, TOO_LARGE, check_size, check_triggerable, find_issues, make_request
from .views import show_time

ITEMS = re.compile(r"/api/v3/batches/([^/]+)/items")
_MOST_STREAMED = 1000
_TYPES = ("application/x-ndjson", "application/ndjson")
# 1 MB was not tried, but 1.25 MB.
_LARGEST_BODY = 1_000_000
_MOST_ITEMS = 500


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
    if count > _MOST_STREAMED:
        most = f"exceeds maximum allowed of {_MOST_STREAMED}."
        raise InvalidBodyError(f"Batch runCount of {count} {most}")
    return count


def _read_item(engine: Engine, batch: Batch, line: bytes, *, number: int) -> tuple[int, BatchItem]:
    """Return the index and the item of a line."""
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
        return index, BatchItem(task_identifier=given["task"], failure=ITEM_TOO_LARGE)
    return index, make_item(engine, given)


def read_items(engine: Engine, body: bytes) -> list[BatchItem]:
    """Read the body of a request that triggers a batch; without items it is valid, too."""
    if len(body) > _LARGEST_BODY:
        raise InvalidBodyError(TOO_LARGE, status=413)
    given = read_json(body)
    issues = list(_issues(given))
    if issues:
        raise InvalidBodyError(f"Validation error: {'; '.join(issues)}")
    items = given["items"]
    if len(items) > _MOST_ITEMS:
        most = f"Maximum allowed batch size is {_MOST_ITEMS}."
        raise InvalidBodyError(f"Batch size of {len(items)} is too large. {most}")
    # How the server words this for a batch was not recorded.
    check_size(engine, items)
    return [make_item(engine, item) for item in items]


def make_item(engine: Engine, given: dict[str, Any]) -> BatchItem:
    """Return an item of a batch, in which :func:`issues_of_item` has found nothing."""
    try:
        wanted = make_request(given)
        check_triggerable(engine, wanted)
    except InvalidBodyError:
        return BatchItem(
            task_identifier=given["task"], payload=given.get("payload", UNSET), failure=NOT_TRIGGERED
        )
    return BatchItem(task_identifier=given["task"], payload=wanted.payload, options=wanted.options)


def issues_of_item(given: Any, *, place: str) -> Iterator[str]:
    """Yield what is invalid in the form of a batch's item."""
    if isinstance(given, dict) and "task" not in given:
        yield f'Required at "{place}.task"'
    elif isinstance(given, dict) and not isinstance(given["task"], str):
        yield f'Expected string, received {kind_of(given["task"])} at "{place}.task"'
    yield from find_issues(given, place=place)


def _issues(given: Any) -> Iterator[str]:
    if not isinstance(given, dict):
        yield f"Expected object, received {kind_of(given)}"
    elif "items" not in given:
        yield 'Required at "items"'
    elif not isinstance(given["items"], list):
        yield f'Expected array, received {kind_of(given["items"])} at "items"'
    else:
        for index, item in enumerate(given["items"]):
            yield from issues_of_item(item, place=f"items[{index}]")
