"""Recordings of a real Trigger.dev server, and what the local one answers to the same requests."""

from __future__ import annotations

import functools
import http.client
import json
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_trigger.testing import ServerRun, TriggerDevServer

RECORDINGS = Path(__file__).parent / "recordings"
sys.path.insert(0, str(RECORDINGS))

from arrangements import ARRANGEMENTS, runs_in  # noqa: E402

FILES = (
    "auth_errors",
    "bulk_actions",
    "cancel_by_state",
    "cancel_requests",
    "cancel_settling",
    "list_runs",
    "rate_limit",
    "retrieve_by_state",
)
# The expired runs were recorded in a development environment, where a cancel leaves them as they are.
ENVIRONMENTS = {"dev": "tr_dev_local", "prod2": "tr_prod_second", "rl": "tr_prod_limited"}
KEYS = {"<prod secret key>": "tr_prod_local"}
KEYS |= {f"<{name} secret key>": key for name, key in ENVIRONMENTS.items()}
SECONDS = {"after 11 s": 11, "2s after": 2, "3s after": 3, "after worker": 1, "acknowledged the parent": 30}
SECONDS |= {"poll 1": 1, "poll filter": 1, "poll replay": 1, "poll of": 1}


@dataclass(frozen=True)
class Exchange:
    """A line of the recordings."""

    file: str
    index: int
    recorded: dict[str, Any] = field(repr=False, compare=False)

    @property
    def case(self) -> str:
        return self.recorded["case"]

    @property
    def label(self) -> str:
        return self.recorded.get("label") or ""

    @property
    def body(self) -> Any:
        return self.recorded.get("body") or {}

    @property
    def request_body(self) -> str:
        sent: str = self.recorded.get("request_body", "")
        if self.label == "501 runIds":  # it was cut when it was recorded
            sent = json.dumps({"action": "cancel", "runIds": [f"run_{number}" for number in range(501)]})
        return sent

    @property
    def target(self) -> str:
        return self.recorded.get("request", " ").split(" ", 1)[1]

    @property
    def run_id(self) -> str:
        match = re.search(r"/runs/([^/?]+)", self.target)
        return match.group(1) if match else ""

    @property
    def left_out(self) -> str | None:
        """Why it isn't replayed, None if it is."""
        if "request" not in self.recorded:
            return "a note on the engine, not an exchange"
        if self.target.startswith("/realtime/"):
            return "the realtime feed isn't in use"
        if self.target.endswith("/result"):
            return "the result endpoint isn't in use"
        if "public JWT" in self.label:
            return "public access tokens aren't in use, but for the rejection of an invalid one"
        if "/tasks/" in self.target:
            # The rate limit and a missing key are answered before the call.
            before_the_call = self.recorded["headers"]["content-type"].startswith("application/problem+json")
            return None if before_the_call else "the call isn't in use"
        lagging = "replication lag" in self.label and "/bulk-actions" not in self.target
        if lagging or (self.file, self.label) == ("rate_limit", "5 list"):
            return "a list that lags behind isn't modelled"
        if "[from]=garbage" in self.target:
            return "filters by creation time aren't modelled"
        return None

    def __str__(self) -> str:
        return f"{self.file}:{self.index + 1} {self.label}"


@dataclass(frozen=True)
class Answer:
    """What the local server answered."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def body(self) -> Any:
        is_json = "json" in self.headers["content-type"] and self.text
        return json.loads(self.text) if is_json else self.text


def read_all() -> Iterator[Exchange]:
    for name in FILES:
        for index, line in enumerate((RECORDINGS / f"{name}.jsonl").read_text().splitlines()):
            yield Exchange(name, index, json.loads(line))


EXCHANGES = list(read_all())


class Replay:
    """One case on a server of its own, its exchanges in order, by a clock that only the replay moves."""

    def __init__(self, exchanges: list[Exchange]) -> None:
        self.exchanges = exchanges
        self.file, self.case = exchanges[0].file, exchanges[0].case
        self.ids: dict[str, str] = {}  # of bulk actions: the server's by those recorded
        self.now = datetime.fromisoformat("2026-11-25T09:00:00Z").timestamp()
        limits: dict[str, Any] = {"rate_limit": 5, "refill": 1} if self.file == "rate_limit" else {}
        self.server = TriggerDevServer(
            secret_key=KEYS["<prod secret key>"], clock=lambda: self.now, acknowledge_after=None, **limits
        )
        for name, key in ENVIRONMENTS.items():
            self.server.add_environment(name, secret_key=key, kind="dev" if name == "dev" else "prod")

    def answers(self) -> dict[Exchange, Answer]:
        ARRANGEMENTS[self.file](self)
        answers = {}
        with self.server:
            for exchange in self.exchanges:
                self.now += 0.05 + sum(SECONDS[words] for words in SECONDS if words in exchange.label)
                if "immediately after trigger" in exchange.label:
                    self.server.add_run(run_id=json.loads(exchange.request_body)["runIds"][0])
                if exchange.left_out is None:
                    answers[exchange] = self.send(exchange)
                elif self.file == "rate_limit" and "x-ratelimit-limit" in exchange.recorded["headers"]:
                    self.server.take_tokens(1, "rl")  # the bucket has to be as it was
        return answers

    def add(self, run_id: str, status: str, **arguments: Any) -> ServerRun:
        """Add a run as the recordings first show it, but for its status."""
        shown = next((shown for exchange in self.exchanges for shown in runs_in(exchange, run_id)), {})
        self.now = datetime.fromisoformat(shown.get("createdAt", "2026-11-25T09:00:00Z")).timestamp()
        run = self.server.add_run(
            status,
            run_id=run_id,
            task_identifier=shown.get("taskIdentifier", "hello-task"),
            tags=shown.get("tags", ()),
            payload=shown.get("payload"),
            metadata=json.loads(shown["metadata"]) if "metadata" in shown else None,
            **arguments,
        )
        run.trigger_function = shown.get("triggerFunction", "trigger")
        return run

    def send(self, exchange: Exchange) -> Answer:
        connection = http.client.HTTPConnection(self.server.host, self.server.port, timeout=5)
        # No other client sends the path exactly as it was recorded.
        target = functools.reduce(unmask, self.ids.items(), exchange.target)
        connection.putrequest(exchange.recorded["request"].split(" ")[0], target)
        for name, value in exchange.recorded["request_headers"].items():
            token = "eyJhbGciOiJub25lIn0.e30.x" if "jwt" in exchange.label else "tr_pat_local"
            connection.putheader(
                name, functools.reduce(unmask, KEYS.items(), value.replace("<token>", token))
            )
        body = exchange.request_body.encode()
        if body:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body or None)
        response = connection.getresponse()
        headers = {name.lower(): value for name, value in response.getheaders()}
        text = response.read().decode()
        connection.close()
        if exchange.body and response.status == 202:
            self.ids[exchange.body["id"]] = json.loads(text)["id"]
        for recorded, ours in self.ids.items():
            text = text.replace(ours, recorded)
        return Answer(response.status, headers, text)


def unmask(value: str, mask_and_key: tuple[str, str]) -> str:
    return value.replace(*mask_and_key)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make each exchange that is replayed a test of its own."""
    if "replayed_exchange" in metafunc.fixturenames:
        replayed = [exchange for exchange in EXCHANGES if exchange.left_out is None]
        metafunc.parametrize("replayed_exchange", replayed, ids=str)


@functools.cache
def replay_case(file: str, case: str) -> dict[Exchange, Answer]:
    exchanges = [exchange for exchange in EXCHANGES if (exchange.file, exchange.case) == (file, case)]
    return Replay(exchanges).answers()


@pytest.fixture(scope="session")
def server_recordings() -> list[Exchange]:
    """Return every line of the recordings that the server is compared with."""
    return EXCHANGES


@pytest.fixture(scope="session")
def replay() -> Callable[[str, str], dict[Exchange, Answer]]:
    """Return a function that replays a case, once, and returns its answers."""
    return replay_case
