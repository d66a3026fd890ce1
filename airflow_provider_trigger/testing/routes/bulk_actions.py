"""The calls for bulk actions: create one that cancels runs, and retrieve it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from ..answers import error_answer, json_answer
from ..engine.bulk_actions import BulkAction
from ..engine.engine import Engine
from .calls import Call, Handler, InvalidBodyError, Route, find_in, kind_of, read_json
from .run_list import make_filters
from .views import show_time

_MOST_RUN_IDS = 500
_LONGEST_NAME = 255


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


@dataclass(frozen=True, slots=True)
class BulkRequest:
    """A valid request to cancel the runs that it names, or those with one of the tags, with commas."""

    run_ids: list[str]
    tag: str | None
    name: str | None


def read_request(body: bytes) -> BulkRequest:
    """Read the body of a request for a bulk action; 501 for one that only the real server can process."""
    given = read_json(body)
    issues = list(_issues(given))
    if issues:
        raise InvalidBodyError(f"Validation error: {'; '.join(issues)}")
    wanted = given.get("filter", {})
    if given["action"] == "replay" or wanted.keys() - {"tag"}:
        raise InvalidBodyError("The local server only cancels runs by their ids or a tag", status=501)
    run_ids = given.get("runIds", [])
    if len(run_ids) > _MOST_RUN_IDS:
        most = f"Maximum is {_MOST_RUN_IDS}. Use a filter to select more runs."
        raise InvalidBodyError(f"Too many runIds ({len(run_ids)}). {most}")
    return BulkRequest(run_ids=run_ids, tag=wanted.get("tag"), name=given.get("name"))


def _issues(given: Any) -> Iterator[str]:
    if not isinstance(given, dict):
        yield f"Expected object, received {kind_of(given)}"
        return
    if given.get("action") not in ("cancel", "replay"):
        yield "Invalid discriminator value. Expected 'cancel' | 'replay' at \"action\""
        return
    checks = {"runIds": _issues_of_ids, "filter": _issues_of_filter, "name": _issues_of_name}
    found = [issue for key, check in checks.items() if key in given for issue in check(given[key])]
    if not found and ("runIds" in given) == ("filter" in given):
        yield "Exactly one of filter or runIds must be provided"
    yield from found


def _issues_of_ids(given: Any) -> Iterator[str]:
    if not isinstance(given, list):
        yield f'Expected array, received {kind_of(given)} at "runIds"'
    elif not given:
        yield 'Array must contain at least 1 element(s) at "runIds"'
    else:
        for index, run_id in enumerate(given):
            if not isinstance(run_id, str):
                yield f'Expected string, received {kind_of(run_id)} at "runIds[{index}]"'


def _issues_of_filter(given: Any) -> Iterator[str]:
    if not isinstance(given, dict):
        yield f'Expected object, received {kind_of(given)} at "filter"'
    elif not given:
        yield 'At least one filter must be provided at "filter"'


def _issues_of_name(given: Any) -> Iterator[str]:
    if not isinstance(given, str):
        yield f'Expected string, received {kind_of(given)} at "name"'
    elif len(given) > _LONGEST_NAME:
        yield f'Name must be less than {_LONGEST_NAME} characters at "name"'
