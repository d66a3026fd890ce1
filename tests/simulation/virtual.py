"""Virtual time, a network with faults, and workers that need no threads: a cancellation in milliseconds."""

from __future__ import annotations

import heapq
import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request as ServerRequest

from airflow_provider_trigger.api.errors import TransportError, TriggerDevError
from airflow_provider_trigger.api.exchange import Reply, Send
from airflow_provider_trigger.api.http import Request, Response
from airflow_provider_trigger.cancel.schedule import Job, Schedule
from airflow_provider_trigger.testing.engine.engine import Engine
from airflow_provider_trigger.testing.http.app import App
from airflow_provider_trigger.testing.routes.router import Router

EPOCH = 1_795_600_000.0
GRACE = 0.5
PAGE = b"<!doctype html><title>Maintenance</title>"


class Clock:
    """A clock that only events move."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return EPOCH + self.now

    def at(self, time: float, event: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (time, self._count, event))

    def next(self, *, until: float) -> bool:
        """Move to the next event and let it happen; False where there is none until then."""
        if not self._events or self._events[0][0] > until:
            self.now = max(self.now, min(until, self.now if until == float("inf") else until))
            return False
        time, _, event = heapq.heappop(self._events)
        self.now = max(self.now, time)
        event()
        return True


@dataclass(frozen=True, kw_only=True)
class Outage:
    """A time in which every request ends in one way."""

    start: float
    end: float
    kind: str


@dataclass(kw_only=True)
class Network:
    """
    What lies between client and server.

    :param rates: how probable each fault is, by its name
    :param latency: of one request, from and to, in seconds
    :param outages: times in which all requests fail
    :param broken_runs: the ids that the server answers with 500 for ever
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
        if fault in ("hang", "lost", "refused"):
            after = min(0.01, step.timeout) if fault == "refused" else step.timeout
            self._fail(answer, after, "no answer" if fault != "refused" else "Connection refused")
        elif fault in ("hang_after", "disconnect_after"):
            self.clock.at(begun + latency / 2, lambda: self._arrive(step.request))
            after = step.timeout if fault == "hang_after" else min(latency, step.timeout)
            self._fail(answer, after, "no answer")
        elif fault == "disconnect":
            self._fail(answer, min(latency, step.timeout), "Connection reset by peer")
        elif latency > step.timeout:
            self.clock.at(begun + latency / 2, lambda: self._arrive(step.request))
            self._fail(answer, step.timeout, "no answer in time")
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
            if outage.start <= self.clock.now < outage.end:
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

    def _fail(self, answer: Callable[[Reply], None], after: float, reason: str) -> None:
        self.clock.at(self.clock.now + after, lambda: answer(TransportError(reason)))

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
        shown = {name.lower(): value for name, value in handled.headers.items()}
        shown["date"] = formatdate(self.engine.clock(), usegmt=True)
        return Response(status=handled.status_code, headers=shown, body=bytes(handled.body))


class VirtualWorkers:
    """
    Do a schedule's jobs as :mod:`airflow_provider_trigger.cancel.workers` does: by events, not in threads.

    :param count: how many requests are in flight at a time
    :param kill_at: when the work is stopped from outside, infinite for never
    """

    def __init__(
        self, schedule: Schedule, network: Network, clock: Clock, *, count: int, kill_at: float
    ) -> None:
        self._schedule = schedule
        self._network = network
        self._clock = clock
        self._idle = count
        self._count = count
        self._kill_at = kill_at
        self._closed = False

    def run(self) -> float:
        """Do all jobs, and return when the work ended."""
        clock, ended_at = self._clock, float("inf")
        while True:
            wake_at = self._begin_jobs()
            if self._schedule.check_deadline() is not None:
                ended_at = min(ended_at, clock.now)
            if ended_at <= clock.now and (self._idle == self._count or clock.now >= ended_at + GRACE):
                break
            limit = min(wake_at, self._kill_at if self._kill_at > clock.now else float("inf"))
            clock.next(until=min(limit, ended_at + GRACE))
            if clock.now >= self._kill_at:
                self._schedule.stop()
        self._closed = True
        return clock.now

    def _begin_jobs(self) -> float:
        """Give jobs to all idle workers, and return when the next one becomes ready."""
        while self._idle:
            job = self._schedule.take()
            if job is None:
                return float("inf")
            if not isinstance(job, Job):
                return self._clock.now + job
            self._idle -= 1
            self._drive(job, None)
        return float("inf")

    def _drive(self, job: Job, reply: Reply) -> None:
        if self._closed:
            return
        try:
            step = job.steps.send(reply)
        except StopIteration as end:
            self._schedule.finish(job, end.value)
            self._idle += 1
        except TriggerDevError as error:
            self._schedule.finish(job, error=error)
            self._idle += 1
        else:
            if isinstance(step, Send) and self._schedule.end:
                self._idle += 1
            elif isinstance(step, Send):
                self._schedule.sent(job)
                self._network.send(step, lambda reply: self._drive(job, reply))
            elif step.for_turn:
                self._clock.at(self._clock.now + step.seconds, lambda: self._drive(job, None))
            else:
                self._schedule.park(job, step)
                self._idle += 1
