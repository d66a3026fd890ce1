"""The calls: which path answers what, once a request has come past the front door."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import Response

from .answers import error_answer, html_answer, json_answer, unexpected_method
from .bulk import BulkActions
from .bulk_api import BulkApi
from .calls import READING, Call, Route
from .environments import Environments, is_public_token, token_of
from .listing import QueryError, list_runs
from .runs import Run
from .views import show_run

_BROKEN_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")


class Api:
    """
    Answer the calls of Trigger.dev's API from the server's runs.

    :param environments: what the keys open
    :param runs: all runs, by id
    :param bulk: all bulk actions, by id
    :param with_bulk: tells whether the server has bulk actions at all
    :param clock: tells the time, in seconds since 1970
    """

    def __init__(
        self,
        environments: Environments,
        runs: dict[str, Run],
        *,
        bulk: BulkActions,
        with_bulk: Callable[[], bool],
        clock: Callable[[], float],
    ) -> None:
        self._environments = environments
        self._runs = runs
        self._bulk = bulk
        self._with_bulk = with_bulk
        self._bulk_routes = BulkApi(bulk, clock).routes
        self._routes = [
            Route(re.compile(r"/api/v2/runs/([^/]+)/cancel"), act=self._cancel),
            Route(re.compile(r"/api/v3/runs/([^/]+)"), load=self._retrieve),
            Route(re.compile(r"/api/v1/runs"), load=self._list),
        ]

    def answer(self, request: Request, path: str, *, body: bytes, stale: bool = False) -> Response:
        """
        Answer a request that the front door has let in.

        :param request: the request
        :param path: its path as sent, not decoded, without the query
        :param body: its body
        :param stale: whether to read from a replica that hasn't seen any cancel yet
        """
        if not _decodable(path):
            return html_answer("Bad Request", status=400)
        self._bulk.replay_due()
        for route in self._routes + (self._bulk_routes if self._with_bulk() else []):
            match = route.path.fullmatch(path)
            if match is not None:
                path_id = unquote("".join(match.groups()))
                return self._dispatch(route, request, path_id, body=body, stale=stale)
        return html_answer("Not Found", status=404)

    def _dispatch(
        self, route: Route, request: Request, path_id: str, *, body: bytes, stale: bool
    ) -> Response:
        if request.method in (*READING, "OPTIONS"):
            if route.load is None:
                return unexpected_method(status=400)
            if request.method == "OPTIONS":
                return json_answer({})
        handler = route.load if request.method in READING else route.act
        if handler is None:
            return unexpected_method(status=405)
        authorization = request.headers.get("authorization", "")
        branch = request.headers.get("x-trigger-branch")
        environment = self._environments.authenticate(authorization, branch)
        if environment is None:
            is_token = route.takes_tokens and is_public_token(token_of(authorization))
            kind = "Public Access Token" if is_token else "API key"
            return error_answer(f"Invalid {kind}", status=401)
        if "\0" in path_id:
            return error_answer("Internal Server Error", status=500)
        return handler(
            Call(request=request, environment=environment, path_id=path_id, body=body, stale=stale)
        )

    def _find(self, call: Call) -> Run | None:
        run = self._runs.get(call.path_id)
        return run if run is not None and run.environment == call.environment else None

    def _cancel(self, call: Call) -> Response:
        run = self._find(call)
        if run is None:
            return error_answer("Resource not found", status=404)
        run.cancel()
        return json_answer({"id": run.id})

    def _retrieve(self, call: Call) -> Response:
        run = self._find(call)
        if run is None:
            return error_answer("Not found", status=404, headers={"x-should-retry": "true"})
        return json_answer(show_run(run, modern=call.modern, before_cancel=call.stale))

    def _list(self, call: Call) -> Response:
        mine = [run for run in list(self._runs.values()) if run.environment == call.environment]
        try:
            return json_answer(list_runs(mine, call.request.query_params, modern=call.modern))
        except QueryError as error:
            return json_answer({"error": str(error), "details": error.details}, status=400)


def _decodable(path: str) -> bool:
    if _BROKEN_PERCENT.search(path):
        return False
    try:
        unquote(path, errors="strict")
    except UnicodeDecodeError:
        return False
    return True
