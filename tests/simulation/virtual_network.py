"""A network with faults, before the real model of the server."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request as ServerRequest
from virtual_clock import Clock

from airflow_provider_trigger.api.errors import AnswerTimeoutError, TransportError, TriggerDevError
from airflow_provider_trigger.api.exchange import Reply, Send
from airflow_provider_trigger.api.http import Request, Response
from airflow_provider_trigger.testing.app import App
from airflow_provider_trigger.testing.engine.engine import Engine
from airflow_provider_trigger.testing.routes.router import Router

PAGE = b"<!doctype html><title>Maintenance</title>"

FAULTS = (
    "hang",
    "hang_after",
    "disconnect",
    "disconnect_after",
    "500",
    "500_after",
    "503",
    "401",
    "429",
    "page",
    "stale",
)
"""What can become of any request."""

QUERY_PATH = "/api/v1/query"
QUERY_FAULTS = {
    "no database": (400, b'{"error": "connect ECONNREFUSED 10.0.0.1:8123"}'),
    "busy": (429, b'{"error": "You\'ve exceeded your query concurrency of 3 for this project."}'),
}
"""What only the query answers, with the headers of any other answer."""


@dataclass(frozen=True, kw_only=True)
class Outage:
    """
    A time in which every request ends in one way.

    :param path: which requests, by what their path begins with
    """

    start: float
    end: float
    kind: str
    path: str = "/"


def draw_rates(faults: Iterable[str], chance: random.Random) -> dict[str, float]:
    """Draw how often each fault happens; two 401s for one request mean a rejected key, so they are rare."""
    return {fault: chance.uniform(0.002, 0.003 if fault == "401" else 0.05) for fault in faults}


@dataclass(kw_only=True)
class Network:
    """
    What lies between client and server.

    :param rates: how probable each fault is, by its name
    :param latency: of one request, from and to, in seconds
    :param outages: times in which all requests fail
    :param broken_runs: the ids that the server answers with 500 each time
    :param skew: how far the server's clock is ahead of ours, in seconds
    """

    clock: Clock
    engine: Engine
    chance: random.Random
    rates: dict[str, float]
    latency: tuple[float, float]
    outages: list[Outage]
    broken_runs: set[str]
    skew: float
    requested: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    rejected_at: list[float] = field(default_factory=list)
    """When the rate limit has rejected a request."""
    hung: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    """From when until when a request about a run got no answer, by the run's id."""

    def __post_init__(self) -> None:
        self._app = App(
            routes=Router(self.engine),
            respond=None,  # type: ignore[arg-type]  # faults are drawn here
            limiter=self.engine._limiter,
            requests=[],
            latency=float,
            clock=self.engine.clock,
            stopped=None,  # type: ignore[arg-type]
            disconnect=None,  # type: ignore[arg-type]
        )

    def send(self, step: Send, answer: Callable[[Reply], None]) -> None:
        """Send a request; its answer, or the error instead, comes as a later event."""
        self.requests += 1
        self._note(step.request)
        latency = self.chance.uniform(*self.latency)
        fault = self._fault(step.request)
        begun = self.clock.now
        if fault.startswith("hang") and step.request.run_id:
            self.hung.setdefault(step.request.run_id, []).append((begun, begun + step.timeout))
        lost, late = TransportError("Connection reset by peer"), AnswerTimeoutError("no answer in time")
        if fault == "refused":
            self._fail(answer, min(0.01, step.timeout), TransportError("Connection refused"))
        elif fault == "hang":
            self._fail(answer, step.timeout, late)
        elif fault == "disconnect":
            self._fail(answer, min(latency, step.timeout), lost)
        elif fault in ("hang_after", "disconnect_after") or latency > step.timeout:
            self.clock.at(begun + latency / 2, lambda: self._arrive(step.request))
            is_lost = fault == "disconnect_after" and latency <= step.timeout
            self._fail(answer, latency if is_lost else step.timeout, lost if is_lost else late)
        else:
            self.clock.at(
                begun + latency / 2, lambda: self._respond(step.request, fault, answer, latency / 2)
            )

    def _note(self, request: Request) -> None:
        if request.path.endswith("/cancel"):
            self.requested[request.path.split("/")[-2]] += 1
        elif request.path == "/api/v1/bulk-actions" and request.json and self.engine.bulk_actions:
            self.requested.update(request.json["runIds"])

    def _fault(self, request: Request) -> str:
        for outage in self.outages:
            if outage.start <= self.clock.now < outage.end and request.path.startswith(outage.path):
                return outage.kind
        if any(run_id in request.path for run_id in self.broken_runs & set(request.path.split("/"))):
            return "500"
        drawn = self.chance.random()
        for fault, rate in self.rates.items():
            drawn -= rate
            if drawn < 0:
                return fault
        return ""

    def _arrive(self, request: Request) -> None:
        """Let a request take effect whose answer is lost."""
        self._handle(request, stale=False)

    def _fail(self, answer: Callable[[Reply], None], after: float, error: TriggerDevError) -> None:
        self.clock.at(self.clock.now + after, lambda: answer(error))

    def _respond(self, request: Request, fault: str, answer: Callable[[Reply], None], back: float) -> None:
        reply: Response | TriggerDevError
        if fault in ("500", "503", "500_after"):
            if fault == "500_after":
                self._handle(request, stale=False)
            reply = Response(status=int(fault[:3]), headers={}, body=b'{"error": "simulated"}')
        elif fault == "401":
            reply = Response(status=401, headers={}, body=b'{"error": "from a gateway"}')
        elif fault == "429":
            reply = Response(status=429, headers={"retry-after": "1"}, body=b"{}")
        elif fault == "page":
            reply = Response(status=200, headers={"content-type": "text/html"}, body=PAGE)
        elif fault in QUERY_FAULTS:
            status, body = QUERY_FAULTS[fault]
            reply = replace(self._handle(request, stale=False), status=status, body=body)
        else:
            reply = self._handle(request, stale=fault == "stale")
        self.clock.at(self.clock.now + back, lambda: answer(reply))

    def _handle(self, request: Request, *, stale: bool) -> Response:
        body = b"" if request.json is None else json.dumps(request.json).encode()
        headers = [(b"authorization", f"Bearer {self.engine.secret_key}".encode())]
        scope: dict[str, Any] = {
            "type": "http",
            "method": request.method,
            "path": request.path,
            "raw_path": request.path.encode(),
            "query_string": urlencode(request.params).encode(),
            "headers": [*headers, (b"x-trigger-api-version", b"2025-07-16")],
        }
        handled = self._app._handle(ServerRequest(scope), body, stale=stale)
        self._app._in_progress.clear()  # an answer is sent at once
        if handled.status_code == 429:
            self.rejected_at.append(self.clock.now)
        shown = {name.lower(): value for name, value in handled.headers.items()}
        shown["date"] = formatdate(self.engine.clock(), usegmt=True)
        return Response(status=handled.status_code, headers=shown, body=bytes(handled.body))
