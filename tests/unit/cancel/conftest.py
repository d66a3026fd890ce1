"""A server that answers by a script and by the clock of the test, and a driver that needs no threads."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import pytest
from fake_clock import Clock

from airflow_provider_trigger.api.errors import (
    AuthenticationError,
    NotFoundError,
    NotSentError,
    ServerError,
    TransportError,
    TriggerDevError,
)
from airflow_provider_trigger.api.exchange import Exchange, Reply, Send
from airflow_provider_trigger.api.http import Request, Response
from airflow_provider_trigger.api.masking import Masking
from airflow_provider_trigger.api.models.runs import Run
from airflow_provider_trigger.api.rate_limit import RateLimit
from airflow_provider_trigger.cancel.jobs import Job
from airflow_provider_trigger.cancel.outcome import CancelResult
from airflow_provider_trigger.cancel.record import RunRecord
from airflow_provider_trigger.cancel.schedule import Schedule
from airflow_provider_trigger.cancel.settings import CancelSettings

ALIVE = ("QUEUED", "DELAYED", "EXECUTING", "WAITING")


def build_response(status: int = 200, body: Any = b"", **headers: str) -> Response:
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Response(
        status=status,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
        body=body,
    )


class Server:
    """
    Cancels and shows runs as Trigger.dev does, unless it is to answer otherwise.

    ``instead`` holds what it answers first, by the request's name: "cancel run_1", "check run_1", "query",
    "bulk" and "check bulk_1". A function there gets the request's timeout. ``becomes`` holds what a run turns
    into with each check after its cancel. A run may have a ``parent``; the query lags by ``query_lag``, and
    shows no end of the runs in ``lost``.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.latency = 0.0
        self.runs: dict[str, dict[str, Any]] = {}
        self.instead: dict[str, list[Any]] = defaultdict(list)
        self.becomes: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.knows_bulk_actions = True
        self.does_bulk_actions = True
        self.query_lag = 0.0
        self.left_out: set[str] = set()
        self.lost: set[str] = set()
        self.log: list[tuple[str, float]] = []
        self.requests: list[Request] = []
        self._canceled: set[str] = set()
        self._ended_at: dict[str, float] = {}
        self._added_at: dict[str, float] = {}
        self._bulk_actions: dict[str, int] = {}

    def add(self, *run_ids: str, status: str = "QUEUED", **attributes: Any) -> list[str]:
        for run_id in run_ids:
            self.runs[run_id] = {"id": run_id, "status": status, "taskIdentifier": "t"} | attributes
            self._added_at[run_id] = self.clock.now
        return list(run_ids)

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.log]

    def send(self, step: Send) -> Reply:
        name = self.name(step.request)
        self.log.append((name, self.clock.now))
        self.requests.append(step.request)
        self.clock.now += self.latency
        if not self.instead[name]:
            return self.answer(step.request)
        instead = self.instead[name].pop(0)
        return instead(step.timeout) if callable(instead) else instead

    @staticmethod
    def name(request: Request) -> str:
        if request.path == "/api/v1/bulk-actions":
            return "bulk"
        if request.path == "/api/v1/query":
            return "query"
        parts = request.path.split("/")
        return f"cancel {parts[-2]}" if parts[-1] == "cancel" else f"check {parts[-1]}"

    def answer(self, request: Request) -> Response:
        what, _, id_ = self.name(request).partition(" ")
        if what == "query":
            return self._answer_query(request)
        if what == "bulk" or id_ in self._bulk_actions:
            return self._answer_bulk(request, id_)
        if id_ not in self.runs:
            return build_response(404, {"error": "Resource not found"}, x_should_retry="false")
        run = self.runs[id_]
        if what == "cancel":
            self._cancel(run)
            return build_response(200, {"id": id_})
        if id_ in self._canceled and self.becomes[id_]:
            run |= self.becomes[id_].pop(0)
        return build_response(200, self._shown(run))

    def _shown(self, run: dict[str, Any]) -> dict[str, Any]:
        children = [other for other in self.runs.values() if other.get("parent") == run["id"]]
        related: dict[str, Any] = {"children": children}
        if "parent" in run:
            related |= {"parent": self.runs[run["parent"]], "root": {"id": self._root_id(run["id"])}}
        return run | {"relatedRuns": related}

    def _root_id(self, run_id: str) -> str:
        parent = self.runs[run_id].get("parent")
        return run_id if parent is None else self._root_id(parent)

    def _answer_query(self, request: Request) -> Response:
        assert request.json is not None
        if "WHERE run_id" in request.json["query"]:
            return self._answer_query_of_runs(re.findall(r"'(\w+)'", request.json["query"]))
        roots = re.findall(r"'(\w+)'", request.json["query"])
        rows = [
            {"run_id": run_id, "status": run["status"].capitalize(), "parent_run_id": run["parent"]}
            for run_id, run in self.runs.items()
            if "parent" in run
            and self._root_id(run_id) in roots
            and self._added_at[run_id] + self.query_lag <= self.clock.now
        ]
        return build_response(200, {"format": "json", "results": rows})

    def _answer_query_of_runs(self, run_ids: list[str]) -> Response:
        seen = {run_id: self.runs[run_id]["status"] for run_id in run_ids if run_id in self.runs}
        for run_id in seen:
            if self._ended_at.get(run_id, 0.0) + self.query_lag > self.clock.now or run_id in self.lost:
                seen[run_id] = "EXECUTING"
        rows = [
            {"run_id": run_id, "status": status.capitalize(), "task_identifier": "t"}
            for run_id, status in seen.items()
        ]
        return build_response(200, {"format": "json", "results": rows})

    def _answer_bulk(self, request: Request, bulk_id: str) -> Response:
        if not self.knows_bulk_actions:
            return build_response(404, b"<html>")
        if request.json is not None:
            named = [self.runs[id_] for id_ in request.json["runIds"] if id_ in self.runs]
            found = [run for run in named if run["id"] not in self.left_out and self.does_bulk_actions]
            for run in found:
                self._cancel(run)
            bulk_id = f"bulk_{len(self._bulk_actions) + 1}"
            self._bulk_actions[bulk_id] = len(found)
            return build_response(202, {"id": bulk_id})
        status = "COMPLETED" if self.does_bulk_actions else "PENDING"
        return bulk_shown(status, success=self._bulk_actions[bulk_id])

    def _cancel(self, run: dict[str, Any]) -> None:
        self._canceled.add(run["id"])
        if run["status"] in ALIVE:
            run["status"] = "CANCELED"
            self._ended_at[run["id"]] = self.clock.now


def bulk_shown(status: str = "PENDING", *, success: int = 0, failure: int = 0) -> Response:
    counts = {"total": success + failure, "success": success, "failure": failure}
    return build_response(200, {"id": "bulk_1", "status": status, "counts": counts})


class Driver:
    """Does a schedule's jobs as the threads do, one step at a time and without threads."""

    def __init__(self, schedule: Schedule, server: Server, records: list[RunRecord]) -> None:
        self.schedule = schedule
        self.server = server
        self.records = records
        self._steps: dict[Job, Send] = {}

    def take(self) -> Job:
        job = self.schedule.take()
        assert isinstance(job, Job), job
        return job

    def begin(self, job: Job | None = None) -> Job:
        """Send a job's request, and leave it without an answer."""
        job = job or self.take()
        assert self._advance(job, None)
        return job

    def finish(self, job: Job, *reply: Reply) -> None:
        """Answer a job's request, by the server where no answer is given."""
        step = self._steps.pop(job)
        self._advance(job, reply[0] if reply else self.server.answer(step.request))

    def name(self, job: Job) -> str:
        return self.server.name(self._steps[job].request)

    def timeout(self, job: Job) -> float:
        return self._steps[job].timeout

    def do(self, job: Job) -> None:
        """Do a job until it has ended or waits for its next try."""
        reply: Reply = None
        while self._advance(job, reply):
            reply = self.server.send(self._steps.pop(job))

    def run(self) -> list[CancelResult]:
        """Do all jobs, one at a time."""
        while (job := self.schedule.take()) is not None:
            if isinstance(job, Job):
                self.do(job)
            else:
                assert 0 < job < 3600
                self.server.clock.now += job
        return self.schedule.results()

    def _advance(self, job: Job, reply: Reply) -> bool:
        """Go on to a job's next request; False where it has ended or was put aside."""
        while True:
            try:
                step = job.steps.send(reply)
            except StopIteration as end:
                self.schedule.finish(job, end.value)
                return False
            except TriggerDevError as error:
                self.schedule.finish(job, error=error)
                return False
            if isinstance(step, Send):
                self.schedule.sent(job)
                self._steps[job] = step
                return True
            if not step.for_turn:
                self.schedule.park(job, step)
                return False
            self.server.clock.now += step.seconds
            reply = None


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def exchange(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Exchange:
    """An exchange by the test's clock; its backoff is 0.5, 1, 2, 4 s and so on."""
    monkeypatch.setattr("tenacity.wait.random", SimpleNamespace(uniform=lambda _, most: most))
    return Exchange(
        masking=Masking("tr_prod_marker_of_the_test"),
        rate_limit=RateLimit(),
        timeout=30.0,
        retry_for=120.0,
        monotonic=clock.monotonic,
        wall=clock.time,
    )


@pytest.fixture
def server(clock: Clock) -> Server:
    return Server(clock)


@pytest.fixture
def plan(exchange: Exchange, server: Server) -> Callable[..., Driver]:
    """Build a schedule for some runs, and the driver of it."""

    def build(run_ids: Iterable[str], **settings: Any) -> Driver:
        records = [RunRecord(run_id) for run_id in run_ids]
        schedule = Schedule(exchange, records, CancelSettings(bulk_action_name="the name", **settings))
        return Driver(schedule, server, records)

    return build


@pytest.fixture(scope="session")
def response() -> Callable[..., Response]:
    """Build a response: a status, a body (JSON or bytes), and headers with _ for -."""
    return build_response


@pytest.fixture(scope="session")
def shown_bulk() -> Callable[..., Response]:
    """Build the answer to a check of a bulk action."""
    return bulk_shown


@pytest.fixture(scope="session")
def run() -> Callable[..., Run]:
    """Build what a check shows."""

    def build(status: str = "QUEUED", **attributes: Any) -> Run:
        return Run.from_answer({"id": "run_1", "status": status, "taskIdentifier": "t"} | attributes)

    return build


ERROR_KINDS: dict[str, Callable[[], TriggerDevError]] = {
    "passing": lambda: TransportError("connection lost"),
    "permanent": lambda: TriggerDevError("no right"),
    "not sent": lambda: NotSentError("the server stopped responding", retryable=True),
    "rejected key": lambda: AuthenticationError(
        method="GET", path="/", status=401, detail="bad key", request_id=None, retryable=False
    ),
    "not found": lambda: NotFoundError(
        method="GET", path="/", status=404, detail="Not found", request_id=None, retryable=False
    ),
    "server": lambda: ServerError(
        method="GET", path="/", status=500, detail="broken", request_id=None, retryable=True
    ),
}


@pytest.fixture(scope="session")
def error() -> Callable[[str], TriggerDevError]:
    """Build an error of one kind."""
    return lambda kind: ERROR_KINDS[kind]()
