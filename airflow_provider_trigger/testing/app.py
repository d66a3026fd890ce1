"""The application: records requests, counts tokens, lets faults happen, and passes the rest to the routes."""

from __future__ import annotations

import asyncio
import functools
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from .answers import TruncatedResponse, moved, no_authorization, too_many_requests
from .engine.environments import RateLimiter, token_of
from .engine.settings import BUSY_FROM
from .faults import PendingRequest, Responder
from .routes.router import Router


@dataclass(slots=True, eq=False)
class RequestRecord:
    """
    A request that reached the server.

    :param method: its method
    :param path: its path and query exactly as sent
    :param headers: its headers, names in lower case
    :param body: its body
    :param time: when it came, in seconds of :func:`time.monotonic`
    :param status: the status it was answered with, ``None`` while or if it got no answer
    """

    method: str
    path: str
    headers: dict[str, str] = field(repr=False)  # they hold the key
    body: bytes
    time: float
    status: int | None = None


class App:
    """The server as an ASGI application."""

    def __init__(
        self,
        *,
        routes: Router,
        respond: Responder,
        limiter: RateLimiter | None,
        requests: list[RequestRecord],
        latency: Callable[[], float],
        busy_list_time: Callable[[], float],
        clock: Callable[[], float],
        stopped: Callable[[], Awaitable[None]],
        disconnect: Callable[[Scope], None],
    ) -> None:
        self._routes = routes
        self._respond = respond
        self._limiter = limiter
        self._requests = requests
        self._latency = latency
        self._busy_list_time = busy_list_time
        self._clock = clock
        self._stopped = stopped
        self._disconnect = disconnect
        # Those that have taken effect, and whose answer has not been sent.
        self._in_progress: set[Request] = set()
        self._canceled_at: deque[float] = deque(maxlen=BUSY_FROM)  # single cancels, by the clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take one request and answer it, or do not, if a fault says so."""
        request = Request(scope, receive)
        try:
            await self._serve(request, scope, receive, send)
        finally:
            self._in_progress.discard(request)

    async def _serve(self, request: Request, scope: Scope, receive: Receive, send: Send) -> None:
        record = await self._record(request)
        pending = PendingRequest(
            request=request,
            target=record.path,
            handle=functools.partial(self._handle, request, record.body),
            stopped=self._stopped,
        )
        response = await self._respond(pending)
        latency = self._latency() + self.busy_time(request)
        if latency:
            await asyncio.sleep(latency)
        if response is None:
            await self._close(scope, receive)
            return

        async def send_recorded(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
            await send(message)

        await response(scope, receive, send_recorded)
        if isinstance(response, TruncatedResponse):
            await self._close(scope, receive)

    async def _record(self, request: Request) -> RequestRecord:
        scope = request.scope
        query: bytes = scope["query_string"]
        target: bytes = scope["raw_path"] + (b"?" + query if query else b"")
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        record = RequestRecord(
            method=request.method,
            path=target.decode("latin-1"),
            headers=headers,
            body=await request.body(),
            time=time.monotonic(),
        )
        self._requests.append(record)
        return record

    def _handle(self, request: Request, body: bytes, *, stale: bool = False) -> Response:
        """Answer a request correctly: slash, tokens and key in the real server's order, then the route."""
        path: str = request.scope["raw_path"].decode("latin-1")
        if path.endswith("/") and path != "/":
            query: str = request.scope["query_string"].decode("latin-1")
            return moved(path.rstrip("/") + (f"?{query}" if query else ""))
        self._in_progress.add(request)
        if path.endswith("/cancel"):
            self._canceled_at.append(self._clock())
        answer = functools.partial(
            self._routes.answer, request, path, body=body, stale=stale, at_once=self._at_once(request)
        )
        if not path.startswith("/api/") or request.method == "OPTIONS" or self._routes.is_open(path):
            return answer()
        authorization = request.headers.get("authorization")
        if not authorization:
            return no_authorization()
        if self._limiter is None or self._routes.is_free(path):
            return answer()
        take = self._limiter.take(token_of(authorization))
        if take.rejected:
            return too_many_requests(take, now=self._clock())
        response = answer()
        response.headers.update(take.headers)
        return response

    def busy_time(self, request: Request) -> float:
        """Return how many seconds longer a request takes, as single cancels keep the server busy."""
        if request.scope["path"] != "/api/v1/runs":
            return 0.0
        longest, now = self._busy_list_time(), self._clock()
        return longest * sum(now - at < longest for at in self._canceled_at) / BUSY_FROM

    def _at_once(self, request: Request) -> int:
        return sum(other.scope["path"] == request.scope["path"] for other in self._in_progress)

    async def _close(self, scope: Scope, receive: Receive) -> None:
        self._disconnect(scope)
        # Returning before the connection is closed would make uvicorn answer for us, with a 500.
        while (await receive())["type"] != "http.disconnect":
            pass
