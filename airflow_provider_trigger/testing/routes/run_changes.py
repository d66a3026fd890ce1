"""The calls that change a run, or make one like it: replay, reschedule, tags, metadata."""

from __future__ import annotations

import json
import re
from typing import Any

from starlette.responses import Response

from ..engine.durations import read_delay
from ..engine.engine import Engine
from ..http.answers import error_answer, json_answer
from .calls import Call, Route, find_in
from .json_body import InvalidBodyError, read_json
from .packets import presigner
from .trigger_request import MOST_TAGS
from .views import show_run


class RunChanges:
    """
    Answer the calls that change a run, or make one like it.

    :param engine: the model
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        path = "/api/v1/runs/([^/]+)"
        self.routes = [
            Route(re.compile(f"{path}/replay"), act=self._replay),
            Route(re.compile(f"{path}/reschedule"), act=self._reschedule),
            Route(re.compile(f"{path}/tags"), act=self._add_tags),
            Route(re.compile(f"{path}/metadata"), load=self._load_metadata, act=self._set_metadata),
        ]

    def _replay(self, call: Call) -> Response:
        run = find_in(self._engine.runs, call)
        if run is None:
            return error_answer("Resource not found", status=404)
        return json_answer({"id": self._engine.replay(run).id})

    def _reschedule(self, call: Call) -> Response:
        delay = _field(call, "delay")
        if not isinstance(delay, str):
            return error_answer("Invalid request body", status=400)
        run = find_in(self._engine.runs, call)
        if run is None:
            return error_answer("Run not found", status=404)
        due = read_delay(delay, now=self._engine.clock())
        if due is None:
            return error_answer(f"Invalid delay: {delay}", status=400)
        if not self._engine.reschedule(run, due):
            return error_answer("Cannot reschedule a run that is not delayed", status=400)
        return json_answer(show_run(run, modern=call.modern, presign=presigner(self._engine, call)))

    def _add_tags(self, call: Call) -> Response:
        given = _field(call, "tags")
        run = find_in(self._engine.runs, call)
        if run is None:
            return error_answer("Run not found", status=404)
        tags = [given] if isinstance(given, str) else given
        if not isinstance(tags, list):
            return error_answer("Invalid request body", status=400)
        new = [tag for tag in dict.fromkeys(tags) if tag not in run.tags]
        count = len(run.tags) + len(new)
        if count > MOST_TAGS:
            names = ", ".join(f"'{tag}'" for tag in new)
            not_set = f"These tags have not been set: {names}."
            most = f"Runs can only have {MOST_TAGS} tags, you're trying to set {count}. {not_set}"
            return error_answer(most, status=422)
        run.tags = tuple(sorted([*run.tags, *new]))
        return json_answer({"message": f"Successfully set {len(new)} new tags."})

    def _load_metadata(self, call: Call) -> Response:
        run = find_in(self._engine.runs, call)
        if run is None:
            return error_answer("Run not found", status=404)
        text = None if run.metadata is None else json.dumps(run.metadata, separators=(",", ":"))
        return json_answer({"metadata": text, "metadataType": "application/json"})

    def _set_metadata(self, call: Call) -> Response:
        run = find_in(self._engine.runs, call)
        if run is None:
            return error_answer("Run not found", status=404)
        run.metadata = _field(call, "metadata")
        return json_answer({"metadata": run.metadata})


def _field(call: Call, name: str) -> Any:
    """Return a field of the body, ``None`` if there is none."""
    try:
        given = read_json(call.body)
    except InvalidBodyError:
        return None
    return given.get(name) if isinstance(given, dict) else None
