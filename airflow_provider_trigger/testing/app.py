"""The front door: it keeps the record, counts tokens, lets faults happen, passes the rest on to the API."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from .answers import CutShort, moved, no_authorization, too_many_requests
from .api import Api
from .environments import token_of
from .faults import Exchange, Fault, Faults
from .rate_limit import RateLimiter


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
    """
    The server as an ASGI application.

    :param api: answers the calls
    :param faults: what goes wrong
    :param limiter: counts requests, ``None`` to count none
    :param requests: where to keep the record
    :param latency: tells how many seconds every answer takes
    :param clock: tells the time, in seconds since 1970
    :param stopped: waits until the server stops
    :param hang_up: closes the connection of a request, whatever has been sent on it
    """

    def __init__(
        self,
        *,
        api: Api,
        faults: Faults,
        limiter: RateLimiter | None,
        requests: list[RequestRecord],
        latency: Callable[[], float],
        clock: Callable[[], float],
        stopped: Callable[[], Awaitable[None]],
        hang_up: Callable[[Scope], None],
    ) -> None:
        self._api = api
        self._faults = faults
        self._limiter = limiter
        self._requests = requests
        self._latency = latency
        self._clock = clock
        self._stopped = stopped
        self._hang_up = hang_up

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take one request and answer it, or don't, if a fault says so."""
        request = Request(scope, receive)
        record = await self._record(request)
        response = await self._meet_fault(request, record, met=[])
        latency = self._latency()
        if latency:
            await asyncio.sleep(latency)
        if response is None:
            await self._cut(scope, receive)
            return

        async def send_recorded(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
            await send(message)

        await response(scope, receive, send_recorded)
        if isinstance(response, CutShort):
            await self._cut(scope, receive)

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

    async def _meet_fault(
        self, request: Request, record: RequestRecord, *, met: list[Fault]
    ) -> Response | None:
        fault = self._faults.take(request.method, record.path, met=met)
        if fault is None:
            return self._answer(request, record.body)
        exchange = Exchange(
            request=request,
            handle=functools.partial(self._answer, request, record.body),
            follow=lambda: self._meet_fault(request, record, met=[*met, fault]),
            stopped=self._stopped,
        )
        return await fault.action(exchange)

    def _answer(self, request: Request, body: bytes, *, stale: bool = False) -> Response:
        """Answer a request faithfully: slash, tokens and key in the real server's order, then the call."""
        path: str = request.scope["raw_path"].decode("latin-1")
        if path.endswith("/") and path != "/":
            query: str = request.scope["query_string"].decode("latin-1")
            return moved(path.rstrip("/") + (f"?{query}" if query else ""))
        if not path.startswith("/api/") or request.method == "OPTIONS":
            return self._api.answer(request, path, body=body, stale=stale)
        authorization = request.headers.get("authorization")
        if not authorization:
            return no_authorization()
        if self._limiter is None:
            return self._api.answer(request, path, body=body, stale=stale)
        take = self._limiter.take(token_of(authorization))
        if take.refused:
            return too_many_requests(take, now=self._clock())
        response = self._api.answer(request, path, body=body, stale=stale)
        response.headers.update(take.headers)
        return response

    async def _cut(self, scope: Scope, receive: Receive) -> None:
        self._hang_up(scope)
        # Returning before the connection is gone would make uvicorn answer for us, with a 500.
        while (await receive())["type"] != "http.disconnect":
            pass
