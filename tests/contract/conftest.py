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

from airflow_provider_trigger.testing import UNSET, ServerRun, TriggerDevServer

RECORDINGS = Path(__file__).parent / "recordings"
sys.path.insert(0, str(RECORDINGS))

from arrangements import ARRANGEMENTS, runs_in  # noqa: E402
from shortened import body_as_sent  # noqa: E402

# The expired runs were recorded in a development environment, where a cancel leaves them as they are.
ENVIRONMENTS = {"dev": "tr_dev_local", "prod2": "tr_prod_second", "rl": "tr_prod_limited"}
ENVIRONMENTS |= {"stg": "tr_stg_local"}
KEYS = {"<prod secret key>": "tr_prod_local", "<staging secret key>": "tr_stg_local"}
KEYS |= {f"<{name} secret key>": key for name, key in ENVIRONMENTS.items()}
SECONDS = {
    "after 11 s": 11,
    "after expiry": 2,
    "2s after": 2,
    "3s after": 3,
    "after worker": 1,
    "acknowledged the parent": 30,
}
SECONDS |= {"poll 1": 1, "poll of": 1, "poll filter 0": 1, "events completed": 1, "executing, 5": 5}
SNAPSHOT = re.compile(r"/realtime/v1/runs/(?!.*live=true)")
# Why lines are not replayed: by their path, and others by their label.
NOT_IN_USE = {
    "/api/v1/tasks/(.+/)?batch": "version 1 of batches is not in use",
    ".*/results": "the results of a batch are not in use",
    ".*/abort": "aborts are not in use",
    "/api/v1/queues/.*/metrics.*": "metrics of queues are not in use",
    "/api/v1/runs/.*/(trace|spans/.*)": "traces are not in use, but for the list of their events",
    "/api/v1/(errors|reports)[?/].*": "errors of all runs, and reports, are not in use",
}
OTHER_SQL = "SQL of other forms is not in use"
# By their file: labels, and the reason.
NOT_REPLAYED: dict[str, list[tuple[str, str]]] = {
    "batches": [
        (
            "v3 batch of 1000: (create|items)",
            "the limit of items that a server takes in a time is not modelled",
        ),
        ("bulk cancel by filter.batch, .*|the bulk action", "bulk actions by batch are not in use"),
    ],
    "children": [(r"list with filter\[rootRun\] .*", "runs of other tests are in the list")],
    "outputs": [("output application/json, broken", "an output that is no valid JSON is not modelled")],
    "bulk_actions": [
        ("replay by runIds|poll replay", "bulk actions that replay runs are not in use"),
        ("list|list limit 1", "the list of bulk actions is not in use"),
    ],
    "query": [
        ("query: (SELECT run_id, status, idempotency_key FROM .*|the status words)", OTHER_SQL),
        ("query schema", "the list of columns is not in use"),
    ],
    "query_2": [("count by status", OTHER_SQL)],
    "ended_since": [
        ("schema", "the list of columns is not in use"),
        ("max completed_at|is_finished", "aggregates and GROUP BY are not in use, and rejected"),
        ("output", "the columns output and error are not in use"),
    ],
    "run_events": [("query schema", "the list of columns is not in use"), (r"logs by query\?", OTHER_SQL)],
    "waitpoint_tokens": [("retrieve 200 KB", "the answer was cut when it was recorded")],
    "replay_reschedule": [
        ("root healthcheck", "the health check is not in use"),
        ("whoami-ish", "the call that names the key's environment is not in use"),
    ],
}


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
        sent = body_as_sent(self.recorded.get("request_body", ""))
        if self.label == "501 runIds":  # it was cut when it was recorded
            sent = json.dumps({"action": "cancel", "runIds": [f"run_{number}" for number in range(501)]})
        elif many := re.fullmatch(r"(?:v2 batch of )?(\d+)(?: items)?", self.label):  # so was this
            sent = json.dumps({"items": [{"task": "parked", "payload": 1}] * int(many[1])})
        return sent

    @property
    def target(self) -> str:
        target: str = self.recorded.get("request", " ").split(" ", 1)[1]
        if self.label == "key with 2048 characters: reset":  # it was cut when it was recorded
            target = f"/api/v1/idempotencyKeys/{'y' * 2048}/reset"
        return target

    @property
    def run_id(self) -> str:
        match = re.search(r"/runs/([^/?]+)", self.target)
        return match.group(1) if match else ""

    @property
    def makes_a_run(self) -> bool:
        """Whether its answer holds an id that the server chose."""
        calls = ("/trigger", "/replay", "/waitpoints/tokens")
        made = self.recorded.get("status") == 202 or self.target.endswith(calls)
        return made and isinstance(self.body, dict) and "id" in self.body

    @property
    def left_out(self) -> str | None:
        """Why it is not replayed, None if it is."""
        if "request" not in self.recorded:
            return "a note on the engine, not an exchange"
        is_feed = self.target.startswith("/realtime/") and not SNAPSHOT.match(self.target)
        if is_feed and self.file != "realtime_off":
            return "of the realtime API, only the start of a run's feed is replayed"
        if "public JWT" in self.label:
            return "public access tokens are not in use, but for the rejection of an invalid one"
        for path, reason in NOT_IN_USE.items():
            if re.fullmatch(path, self.target):
                return reason
        if "WHERE tags = " in self.recorded.get("request_body", ""):
            return OTHER_SQL
        if self.target == "/api/v1/query" and "…<" in self.recorded["request_body"]:
            return "the ids that were queried are not in the recording"
        rules = NOT_REPLAYED.get(self.file, [])
        return next((reason for label, reason in rules if re.fullmatch(label, self.label)), None)

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
        is_json = "json" in self.headers.get("content-type", "") and self.text
        return json.loads(self.text) if is_json else self.text


def read_all() -> Iterator[Exchange]:
    for name in ARRANGEMENTS:
        for index, line in enumerate((RECORDINGS / f"{name}.jsonl").read_text().splitlines()):
            yield Exchange(name, index, json.loads(line))


EXCHANGES = list(read_all())


class Replay:
    """One case on a server of its own, its exchanges in order, by a clock that only the replay moves."""

    def __init__(self, exchanges: list[Exchange]) -> None:
        self.exchanges = exchanges
        self.file, self.case = exchanges[0].file, exchanges[0].case
        self.ids: dict[str, str] = {}  # that the server chose, by those recorded
        self.now = datetime.fromisoformat("2026-11-25T09:00:00Z").timestamp()
        limits: dict[str, Any] = {"rate_limit": 5, "refill": 1} if self.file == "rate_limit" else {}
        self.server = TriggerDevServer(
            secret_key=KEYS["<prod secret key>"], clock=lambda: self.now, acknowledge_after=None, **limits
        )
        for name, key in ENVIRONMENTS.items():
            self.server.add_environment(name, secret_key=key, kind="dev" if name == "dev" else "prod")

    def answers(self) -> dict[Exchange, Answer]:
        arrange, before = ARRANGEMENTS[self.file]
        arrange(self)
        answers = {}
        with self.server:
            for exchange in in_order(self.exchanges):
                self.now += 0.05 + sum(SECONDS[words] for words in SECONDS if words in exchange.label)
                if "immediately after trigger" in exchange.label:
                    self.server.add_run(run_id=json.loads(exchange.request_body)["runIds"][0])
                before(self, exchange)
                if exchange.left_out is None:
                    answers[exchange] = self.send(exchange)
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
            payload=shown.get("payload", UNSET),
            metadata=shown.get("metadata"),
            idempotency_key=shown.get("idempotencyKey"),
            ttl=shown.get("ttl"),
            **arguments,
        )
        run.trigger_function = shown.get("triggerFunction", "trigger")
        return run

    def send(self, exchange: Exchange) -> Answer:
        connection = http.client.HTTPConnection(self.server.host, self.server.port, timeout=30)
        # No other client sends the path exactly as it was recorded.
        target = functools.reduce(unmask, self.ids.items(), exchange.target)
        connection.putrequest(exchange.recorded["request"].split(" ")[0], target)
        for name, value in exchange.recorded["request_headers"].items():
            token = "eyJhbGciOiJub25lIn0.e30.x" if "jwt" in exchange.label else "tr_pat_local"
            connection.putheader(
                name, functools.reduce(unmask, KEYS.items(), value.replace("<token>", token))
            )
        body = functools.reduce(unmask, self.ids.items(), exchange.request_body).encode()
        if body:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body or None)
        response = connection.getresponse()
        headers = {name.lower(): value for name, value in response.getheaders()}
        text = response.read().decode()
        connection.close()
        if exchange.makes_a_run and response.status < 300 and exchange.body["id"] not in self.server.runs:
            made = json.loads(text)
            if "url" in made:  # with a hash, which is no longer in the recording
                self.ids.setdefault(path_of(exchange.body["url"]), path_of(made["url"]))
            self.ids.setdefault(exchange.body["id"], made["id"])
        if "/batches/" in target and response.status == 200:
            # By the order of the items; a run of an earlier batch has to be the same one.
            shown = zip(exchange.body.get("runs", []), json.loads(text).get("runs", []), strict=False)
            for recorded, ours in shown:
                self.ids.setdefault(recorded, ours)
        for recorded, ours in self.ids.items():
            text = text.replace(ours, recorded)
        return Answer(response.status, headers, text)


def in_order(exchanges: list[Exchange]) -> list[Exchange]:
    """Put the request that made the run before those that were sent at the same time."""
    groups = [re.sub(r", request \d+$", "", exchange.label) for exchange in exchanges]
    first = {group: groups.index(group) for group in groups if "concurrent" in group}

    def place(exchange: Exchange) -> tuple[int, bool]:
        index = exchanges.index(exchange)
        is_cached = bool(exchange.body.get("isCached")) if groups[index] in first else False
        return first.get(groups[index], index), is_cached

    return sorted(exchanges, key=place) if first else exchanges


def path_of(url: str) -> str:
    return "/api/" + url.partition("/api/")[2]


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
