"""The calls for bulk actions: create, retrieve, list, abort."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from ..engine.bulk_actions import BulkAction
from ..engine.engine import Engine
from ..engine.runs import ServerRun
from ..http.answers import error_answer, json_answer
from . import bulk_filter
from .bulk_request import read_request
from .calls import Call, Handler, Route, find_in, of_environment
from .json_body import InvalidBodyError
from .pages import QueryError, page_size, query_error
from .views import show_time

Place = tuple[int, str]


class BulkActionCalls:
    """
    Answer the calls for bulk actions.

    :param engine: the model
    """

    def __init__(self, engine: Engine) -> None:
        self._actions = engine.bulk
        self._clock = engine.clock
        path = "/api/v1/bulk-actions"
        self.routes = [
            _route(path, load=self._list, act=self._create),
            _route(f"{path}/([^/]+)", load=self._retrieve),
            _route(f"{path}/([^/]+)/abort", act=self._abort),
        ]

    def _create(self, call: Call) -> Response:
        try:
            wanted = read_request(call.body)
        except InvalidBodyError as error:
            return error_answer(str(error), status=400)
        visible = self._actions.visible(call.environment)
        members: list[ServerRun]
        if wanted.filter is not None:
            members = bulk_filter.matching(visible.values(), wanted.filter, now=self._clock())
        else:
            named = dict.fromkeys(wanted.run_ids or ())
            members = [visible[run_id] for run_id in named if run_id in visible]
        action = self._actions.create(wanted.type, members, environment=call.environment, name=wanted.name)
        return json_answer({"id": action.id}, status=202)

    def _retrieve(self, call: Call) -> Response:
        action = find_in(self._actions, call)
        if action is None:
            return error_answer("Not found", status=404, headers={"x-should-retry": "false"})
        return json_answer(show_bulk(action))

    def _abort(self, call: Call) -> Response:
        action = find_in(self._actions, call)
        if action is None:
            return error_answer("Resource not found", status=404)
        if not self._actions.abort(action):
            past = f"Bulk action group already {action.status.lower()}: {action.id}"
            return error_answer(past, status=409)
        return json_answer({"id": action.id})

    def _list(self, call: Call) -> Response:
        try:
            page, pagination = _page(of_environment(self._actions, call), call.request.query_params)
        except QueryError as error:
            return query_error(error)
        except ValueError:
            return error_answer("Internal Server Error", status=500)
        return json_answer({"data": [show_bulk(action) for action in page], "pagination": pagination})


def _route(path: str, *, load: Handler | None = None, act: Handler | None = None) -> Route:
    return Route(re.compile(path), load=load, act=act, accepts_tokens=False)


def show_bulk(action: BulkAction) -> dict[str, Any]:
    """
    Return what a retrieve answers, and a list for each of its items.

    :param action: the bulk action
    """
    body = {
        "id": action.id,
        "name": action.name,
        "type": action.type,
        "status": action.status,
        "counts": action.counts,
        "createdAt": show_time(action.created_at),
        "completedAt": None if action.completed_at is None else show_time(action.completed_at),
    }
    return {key: value for key, value in body.items() if value is not None}


def _page(actions: list[BulkAction], query: Mapping[str, str]) -> tuple[list[BulkAction], dict[str, str]]:
    """Return one page, the newest first, and the cursors to its neighbors; ValueError for an invalid one."""
    size = page_size(query.get("page[size]"))
    after, before = query.get("page[after]"), query.get("page[before]")
    if after and before:
        raise ValueError("Only one of page[after] or page[before] can be provided")
    actions = sorted(actions, key=_place, reverse=True)
    if before:
        place = _read_cursor(before)
        newer = [action for action in actions if _place(action) > place]
        page, more = newer[-size:], len(newer) > size
    else:
        older = actions
        if after:
            place = _read_cursor(after)
            older = [action for action in actions if _place(action) < place]
        page, more = older[:size], len(older) > size
    pagination = {}
    if page and (more or before):
        pagination["next"] = _cursor(page[-1])
    if page and (after or (before and more)):
        pagination["previous"] = _cursor(page[0])
    return page, pagination


def _place(action: BulkAction) -> Place:
    return int(action.created_at.timestamp() * 1000), action.id.removeprefix("bulk_")


def _cursor(action: BulkAction) -> str:
    created, internal_id = _place(action)
    text = json.dumps({"createdAt": created, "id": internal_id}, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read_cursor(cursor: str) -> Place:
    try:
        place = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        return int(place["createdAt"]), str(place["id"])
    except (KeyError, TypeError) as error:
        raise ValueError("Invalid cursor") from error
