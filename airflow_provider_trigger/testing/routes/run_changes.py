"""The calls that change what a run shows: its metadata and its tags."""

from __future__ import annotations

import re
from typing import Any

from starlette.responses import Response

from ..answers import error_answer, json_answer, unexpected_method
from ..engine.engine import Engine
from ..engine.packets import compact
from ..engine.runs import ServerRun
from ..engine.server_time import moment
from .calls import Call, InvalidBodyError, Route, find_in, kind_of, read_json
from .tasks import LARGEST_METADATA, MOST_TAGS, issues_of_tags

_NOT_FOUND = "Task Run not found"


class RunChangeCalls:
    """Answer the calls for the metadata and the tags of runs."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.routes = [
            Route(re.compile("/api/v1/runs/([^/]+)/metadata"), load=self._metadata, act=self._set_metadata),
            Route(re.compile("/api/v1/runs/([^/]+)/tags"), act=self._add_tags),
        ]

    def _metadata(self, call: Call) -> Response:
        run = find_in(self._engine.runs, call)
        if run is None:
            return error_answer(_NOT_FOUND, status=404)
        text = None if run.metadata is None else compact(run.metadata)
        return json_answer({"metadata": text, "metadataType": "application/json"})

    def _set_metadata(self, call: Call) -> Response:
        if call.request.method != "PUT":
            return unexpected_method(status=405)
        run = find_in(self._engine.runs, call)
        try:
            metadata = _changed(run.metadata if run else None, read_json(call.body))
        except InvalidBodyError as error:
            return error_answer(str(error), status=error.status)
        if run is None:
            return error_answer(_NOT_FOUND, status=404)
        run.metadata = metadata
        self._touch(run)
        return json_answer({"metadata": metadata})

    def _add_tags(self, call: Call) -> Response:
        try:
            given = read_json(call.body)
        except InvalidBodyError as error:
            return error_answer(str(error), status=error.status)
        tags: Any = given.get("tags") if isinstance(given, dict) else None
        issues = ['Required at "tags"'] if tags is None else [*issues_of_tags(tags, "tags")]
        if issues:
            return error_answer(f"Validation error: {'; '.join(issues)}", status=400)
        run = find_in(self._engine.runs, call)
        if run is None:
            return error_answer(_NOT_FOUND, status=404)
        given_tags = [tags] if isinstance(tags, str) else tags
        new = [tag for tag in dict.fromkeys(given_tags) if tag not in run.tags]
        if (count := len(run.tags) + len(new)) > MOST_TAGS:
            text = f"Runs can only have {MOST_TAGS} tags, you're trying to set {count}."
            lost = ", ".join(f"'{tag}'" for tag in new)
            return error_answer(f"{text} These tags have not been set: {lost}.", status=422)
        run.tags = tuple(sorted([*run.tags, *new]))
        self._touch(run)
        return json_answer({"message": f"Successfully set {len(new)} new tags."})

    def _touch(self, run: ServerRun) -> None:
        run.updated_at = moment(self._engine.time.now())


def _changed(metadata: Any, given: Any) -> Any:
    """Return a run's metadata after a change: new metadata, or operations on what it has."""
    body = given if isinstance(given, dict) else {}
    changed = body.get("metadata") if "metadata" in body else dict(metadata or {})
    if not isinstance(changed, dict):
        text = f'Validation error: Expected object, received {kind_of(changed)} at "metadata"'
        raise InvalidBodyError(text)
    for operation in body.get("operations", []):
        key, value = operation.get("key"), operation.get("value")
        if operation.get("type") == "set":
            changed[key] = value
        elif operation.get("type") == "increment":
            changed[key] = changed.get(key, 0) + value
        elif operation.get("type") == "append":
            changed[key] = [*changed.get(key, []), value]
        else:
            raise InvalidBodyError('Validation error: Invalid input at "operations[0].type"')
    if len(compact(changed).encode()) > LARGEST_METADATA:
        text = f"Metadata exceeds maximum size of {LARGEST_METADATA} bytes"
        raise InvalidBodyError(text, status=413)
    return changed
