"""Find the call that a path is for, check its method, key and rights, and let it answer."""

from __future__ import annotations

import re
from collections.abc import Set
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import Response

from ..answers import error_answer, html_answer, json_answer, unauthorized, unexpected_method
from ..engine.engine import Engine
from ..engine.environments import is_public_token, token_of
from .batches import ITEMS, BatchCalls, StreamedBatchCalls
from .bulk_actions import BulkActionCalls
from .calls import READING, Call, Route
from .query import QueryCalls
from .queues import QueueCalls
from .realtime import RealtimeCalls
from .run_changes import RunChangeCalls
from .run_page import PAGES, answer_page
from .runs import PREFIX, RunCalls, answer_packet
from .tasks import TaskCalls
from .waitpoints import ADDRESS, WaitpointCalls

# By method and path; the first that matches.
_RIGHTS = {
    "POST /api/v1/query": "read:query",
    "POST /api/v1/tasks/(.+)/trigger": "trigger:tasks",
    "POST /api/(?:v2/tasks/batch|v3/batches.*)": "batchTrigger:tasks",
    "GET /api/v1/waitpoints/.*": "read:waitpoints",
    "POST /api/v1/waitpoints/.*": "write:waitpoints",
    "GET .*": "read:runs",
    "POST .*": "write:runs",
}
_BROKEN_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")


def rejection(request: Request, scopes: Set[str]) -> Response | None:
    """Return the answer to a key that has only these rights and needs another, ``None`` if it does not."""
    call = f"{'GET' if request.method in READING else 'POST'} {request.url.path}"
    if call.endswith("/reschedule"):
        return error_answer("Invalid or missing API Key", status=401)
    matches = ((right, re.fullmatch(pattern, call)) for pattern, right in _RIGHTS.items())
    right, task = next((right, "".join(match.groups())) for right, match in matches if match)
    return unauthorized() if scopes.isdisjoint((right, f"{right}:{task}")) else None


class Router:
    """Answer the calls of Trigger.dev's API from the server's model."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._routes = RunCalls(engine).routes + TaskCalls(engine).routes + RealtimeCalls(engine).routes
        self._routes += QueueCalls(engine).routes + RunChangeCalls(engine).routes
        self._waitpoints = WaitpointCalls(engine)
        self._routes += self._waitpoints.routes
        self._batch_routes = BatchCalls(engine).routes + StreamedBatchCalls(engine).routes
        self._bulk_routes = BulkActionCalls(engine).routes
        self._query_routes = QueryCalls(engine).routes

    def answer(
        self, request: Request, path: str, *, body: bytes, stale: bool = False, at_once: int = 1
    ) -> Response:
        """Answer a request that the rate limit has let pass."""
        self._engine.agenda.catch_up()
        if not _decodable(path):
            return html_answer("Bad Request", status=400)
        if not {".", ".."}.isdisjoint(path.split("/")):
            return html_answer("Not Found", status=404)
        if path.startswith(PREFIX):
            return answer_packet(self._engine.packets, request, path)
        if path.startswith(PAGES):
            return answer_page(self._engine, request, unquote(path.removeprefix(PAGES)))
        if self.is_open(path):
            return self._waitpoints.answer_address(request, path, body)
        for route in self._present_routes():
            match = route.path.fullmatch(path)
            if match is not None:
                path_id = unquote("".join(match.groups()))
                return self._dispatch(route, request, path_id, body=body, stale=stale, at_once=at_once)
        return html_answer("Not Found", status=404)

    def is_open(self, path: str) -> bool:
        """Return whether a request needs no key and costs no token: to the address of a waitpoint token."""
        return ADDRESS.fullmatch(path) is not None

    def is_free(self, path: str) -> bool:
        """Count a request that adds items to a batch, and return whether it is free; no other one is."""
        match = ITEMS.fullmatch(path)
        batch = self._engine.batches.get(unquote(match[1])) if match else None
        return batch is not None and self._engine.batches.is_free(batch)

    def _present_routes(self) -> list[Route]:
        engine = self._engine
        optional = (
            (engine.batch, self._batch_routes),
            (engine.bulk_actions, self._bulk_routes),
            (engine.query, self._query_routes),
        )
        return self._routes + [route for present, routes in optional if present for route in routes]

    def _dispatch(
        self, route: Route, request: Request, path_id: str, *, body: bytes, stale: bool, at_once: int
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
        if not authorization:
            return error_answer("Invalid or Missing API key", status=401)
        branch = request.headers.get("x-trigger-branch")
        environment = self._engine.environments.authenticate(authorization, branch)
        if environment is None:
            is_token = route.accepts_tokens and is_public_token(token_of(authorization))
            kind = "Public Access Token" if is_token else "API key"
            return error_answer(f"Invalid {kind}", status=401)
        if environment.scopes is not None and (answer := rejection(request, environment.scopes)):
            return answer
        if "\0" in path_id:
            return error_answer("Internal Server Error", status=500)
        return handler(
            Call(
                request=request,
                environment=environment,
                path_id=path_id,
                body=body,
                stale=stale,
                at_once=at_once,
            )
        )


def _decodable(path: str) -> bool:
    if _BROKEN_PERCENT.search(path):
        return False
    try:
        unquote(path, errors="strict")
    except UnicodeDecodeError:
        return False
    return True
