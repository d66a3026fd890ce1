"""Trigger.dev in this process: the local server behind ``requests``, and a network with faults before it."""

from __future__ import annotations

import asyncio
import io
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from functools import partial
from typing import Any
from urllib.parse import quote, urlsplit

import requests
import urllib3
from hub import EventLoop, Hub
from requests.adapters import HTTPAdapter
from requests.models import PreparedRequest
from server_request import served
from starlette.requests import Request

from airflow_provider_trigger.testing import TriggerDevServer
from airflow_provider_trigger.testing.answers import TruncatedResponse
from airflow_provider_trigger.testing.app import App, RequestRecord
from airflow_provider_trigger.testing.faults import PendingRequest
from airflow_provider_trigger.testing.routes.router import Router

PAGE = b"<!doctype html><title>Maintenance</title>"

ANSWERS = {
    "page": (200, "text/html", PAGE),
    "no database": (400, "application/json", b'{"error": "connect ECONNREFUSED 10.0.0.1:8123"}'),
    "busy": (429, "application/json", b'{"error": "You\'ve exceeded your query concurrency of 3."}'),
}
"""What comes instead of an answer; the last two are the query's."""

_STATUSES = {"103", "401", "403", "404", "408", "422", "429", "499", "500", "503"}
KINDS = {"refused", "lost", "hang", "slow", "stale", "echo", *_STATUSES, *ANSWERS}
"""What may become of a request."""


@dataclass(kw_only=True, eq=False)
class Fault:
    """
    What becomes of some requests.

    :param kind: of :data:`KINDS`
    :param part: of ``GET /api/…``, the method and path of the requests
    :param times: how many of them, None for all
    :param start: when it begins, in seconds of the world
    :param end: when it ends
    :param after: whether a request takes effect, and only its answer is lost or replaced
    :param rate: how probable it is
    :param headers: of the answer that comes instead
    :param seconds: how much longer a "slow" one takes
    """

    kind: str
    part: str = ""
    times: float = float("inf")
    start: float = 0.0
    end: float = float("inf")
    after: bool = False
    rate: float = 1.0
    headers: dict[str, str] | None = None
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Sent:
    """One request: when it was sent, its method and path, its body, and the status it got, if any."""

    at: float
    request: str
    body: bytes
    status: int | None


async def _for_ever() -> None:
    await asyncio.get_running_loop().create_future()


class TriggerDev:
    """
    A server that is never started, and the only network there is.

    :param latency: of one request, from and to, in seconds
    :param skew: how far the server's clock is ahead of ours, in seconds
    :param settings: of :class:`~airflow_provider_trigger.testing.TriggerDevServer`
    """

    def __init__(
        self,
        hub: Hub,
        chance: random.Random,
        *,
        latency: tuple[float, float] = (0.01, 0.05),
        skew: float = 0.0,
        **settings: Any,
    ) -> None:
        address: dict[str, Any] = {"host": "trigger.test", "port": 443, "ssl_certfile": "unused"}
        settings = {"acknowledge_after": 1.0} | address | settings
        self.server = TriggerDevServer(clock=lambda: hub.time() + skew, **settings)
        self.latency = latency
        self.sent: list[Sent] = []
        self.faults: list[Fault] = []
        self.before: Callable[[str], object] = lambda request: None
        """Called with the method and path of each request as it arrives."""
        self.rejected_at: list[float] = []
        """When the server's rate limit has rejected a request."""
        self.unknown_parameters: list[str] = []
        """Of requests, what the server does not know, and so ignores."""
        self._hub = hub
        self._chance = chance
        self._app = App(
            routes=Router(self.server),
            respond=self.server._faults.respond,
            limiter=self.server._limiter,
            requests=self.server.requests,
            latency=float,
            busy_list_time=lambda: self.server.busy_list_time,
            clock=self.server.clock,
            stopped=None,  # type: ignore[arg-type]
            disconnect=None,  # type: ignore[arg-type]
        )

    @property
    def url(self) -> str:
        """The address of the server: requests to any other one are refused."""
        return "https://trigger.test"

    def fault(self, kind: str, part: str = "", **options: Any) -> Fault:
        """Add a fault, and return it; see :class:`Fault`."""
        assert kind in KINDS, kind
        self.faults.append(Fault(kind=kind, part=part, **options))
        return self.faults[-1]

    def outage(self, kind: str = "refused", *, after: float = 0.0, seconds: float = float("inf")) -> Fault:
        """Let every request fail for some time."""
        start = self._hub.now + after
        return self.fault(kind, start=start, end=start + seconds)

    def requests(self, part: str = "") -> list[str]:
        """Return the requests so far, of those that contain a text."""
        return [one.request for one in self.sent if part in one.request]

    def statuses(self) -> list[str]:
        """Return the statuses of all runs, in the order in which they were started."""
        return [run.status for run in self.server.runs.values()]

    def alive(self) -> list[str]:
        """Return the ids of runs that have not ended."""
        return [run.id for run in self.server.runs.values() if not run.state.final]

    def send(self, adapter: HTTPAdapter, request: PreparedRequest, timeout: Any) -> Any:
        """Do what an adapter does with a request."""
        url = urlsplit(str(request.url))
        shown = f"{request.method} {url.path}"
        connect, read = timeout
        at, latency = self._hub.now, self._chance.uniform(*self.latency)
        fault = self._find(shown)
        kind = fault.kind if fault is not None else ""
        if kind == "refused" or url.netloc not in ("trigger.test", "trigger.test:443"):
            self._note(at, shown, request, None)
            self._hub.sleep(min(0.005, connect))
            raise requests.ConnectionError(urllib3.exceptions.NewConnectionError(None, "refused"))  # type: ignore[arg-type]
        arrives = fault is None or fault.after or kind in ("stale", "slow")
        self._hub.sleep(min(latency / 2, read))
        answer, busy = self._handle(request, read, is_stale=kind == "stale") if arrives else (None, 0.0)
        busy += fault.seconds if fault is not None else 0.0
        if kind == "hang" or latency + busy > read:  # or too slow
            self._note(at, shown, request, None)
            self._hub.sleep(read - latency / 2)
            raise requests.ReadTimeout
        self._hub.sleep(latency / 2 + busy)
        if kind == "lost":
            self._note(at, shown, request, None)
            raise requests.ConnectionError(urllib3.exceptions.ProtocolError("Connection reset by peer"))
        status, body, headers = self._answer(kind, answer, fault)
        self._note(at, shown, request, status)
        raw = urllib3.HTTPResponse(
            body=io.BytesIO(body), status=status, headers=headers, preload_content=False
        )
        return adapter.build_response(request, raw)

    def _note(self, at: float, shown: str, request: PreparedRequest, status: int | None) -> None:
        body = served(request)[2]
        self.sent.append(Sent(at=at, request=shown, body=body, status=status))

    def _find(self, shown: str) -> Fault | None:
        for fault in self.faults:
            is_now = fault.times > 0 and fault.start <= self._hub.now < fault.end
            if is_now and fault.part in shown and self._chance.random() < fault.rate:
                fault.times -= 1
                return fault
        return None

    def _handle(self, request: PreparedRequest, read: float, *, is_stale: bool) -> tuple[Any, float]:
        for name in self.unknown_parameters:
            request.url = re.sub(rf"{re.escape(quote(name))}=[^&]*&?", "", str(request.url))
        routed, path, body = served(request)
        self.before(f"{request.method} {path}")
        record = self._record(routed, body)
        handle = partial(self._app._handle, routed, body)
        answer = (
            self._respond(PendingRequest(routed, record.path, handle, _for_ever), read)
            if self.server.pending_faults
            else handle(stale=is_stale)
        )
        self._app._in_progress.clear()  # an answer is sent at once
        record.status = answer.status_code
        self.rejected_at += [self._hub.now] if answer.status_code == 429 else []
        return answer, self._app.busy_time(routed)

    def _record(self, request: Request, body: bytes) -> RequestRecord:
        path, query = request.scope["raw_path"].decode(), request.scope["query_string"].decode()
        record = RequestRecord(
            method=request.method,
            path=path + (f"?{query}" if query else ""),
            headers=dict(request.headers),
            body=body,
            time=self._hub.now,
        )
        self.server.requests.append(record)
        return record

    def _respond(self, pending: PendingRequest, read: float) -> Any:
        """Answer as the faults of the local server want."""
        loop = EventLoop()
        try:
            answer = loop.run_until_complete(asyncio.wait_for(self.server._faults.respond(pending), read))
        except TimeoutError:
            raise requests.ReadTimeout from None
        finally:
            loop.close()
        if answer is None or isinstance(answer, TruncatedResponse):
            raise requests.ConnectionError(urllib3.exceptions.ProtocolError("Connection reset by peer"))
        return answer

    def _answer(self, kind: str, answer: Any, fault: Fault | None) -> tuple[int, bytes, dict[str, str]]:
        headers = {"date": formatdate(self.server.clock(), usegmt=True)}
        if kind in ANSWERS:
            status, content_type, body = ANSWERS[kind]
            return status, body, headers | {"content-type": content_type}
        if kind == "echo":
            key = self.server.environment.secret_key
            return 400, f'{{"error": "not for {key}"}}'.encode(), headers | {"x-request-id": key}
        if kind.isdigit():
            assert fault is not None
            headers |= {"content-type": "application/json"} | (fault.headers or {})
            return int(kind), b'{"error": "simulated"}', headers
        shown = {name.lower(): value for name, value in answer.headers.items()}
        return answer.status_code, bytes(answer.body), shown | headers
