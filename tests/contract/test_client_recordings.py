"""What a real Trigger.dev server answered, read as the client reads it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from shortened import as_sent, body_as_sent

from airflow_provider_trigger.api import errors
from airflow_provider_trigger.api.http import Call, Response
from airflow_provider_trigger.api.models import ListedRun, Run, RunPage
from airflow_provider_trigger.api.runs import (
    Batch,
    RunEvent,
    cancel_run,
    cancel_runs_in_bulk,
    list_events,
    list_runs_page,
    query_runs,
    replay_run,
    reschedule_run,
    reset_idempotency_key,
    retrieve_batch,
    retrieve_run,
    trigger_batch,
    trigger_task,
)
from airflow_provider_trigger.api.statuses import RunStatus
from airflow_provider_trigger.api.tokens import (
    CreatedToken,
    WaitpointToken,
    complete_token,
    create_token,
    retrieve_token,
)

RECORDINGS = Path(__file__).parent / "recordings"
CANCEL = re.compile(r"POST /api/v2/runs/([^/?]+)/cancel$")
RETRIEVE = re.compile(r"GET /api/v3/runs/([^/?]+)$")
LIST = re.compile(r"GET /api/v1/runs(\?|$)")
REPLAY = re.compile(r"POST /api/v1/runs/([^/?]+)/replay$")
RESCHEDULE = re.compile(r"POST /api/v1/runs/([^/?]+)/reschedule$")
TRIGGER = re.compile(r"POST /api/v1/tasks/([^/?]+)/trigger$")
RESET = re.compile(r"POST /api/v1/idempotencyKeys/([^/?…]+)(?:/reset|…<2078 characters>)$")
QUERY = re.compile(r"POST /api/v1/query$")
BATCH = re.compile(r"POST /api/v2/tasks/batch$")
BULK = re.compile(r"POST /api/v1/bulk-actions$")
EVENTS = re.compile(r"GET /api/v1/runs/([^/?]+)/events$")
CREATE_TOKEN = re.compile(r"POST /api/v1/waitpoints/tokens$")
COMPLETE_TOKEN = re.compile(r"POST /api/v1/waitpoints/tokens/([^/]+)/complete$")
TOKEN = re.compile("/waitpoints/tokens")
RETRIEVE_TOKEN = re.compile(r"GET /api/v1/waitpoints/tokens/([^/?]+)$")
RETRIEVE_BATCH = re.compile(r"GET /api/v2/batches/([^/?]+)$")
BY_ID: dict[re.Pattern[str], Callable[[str], Call[Any]]] = {
    CANCEL: cancel_run,
    RETRIEVE: retrieve_run,
    REPLAY: replay_run,
    EVENTS: list_events,
    RETRIEVE_BATCH: retrieve_batch,
    RETRIEVE_TOKEN: retrieve_token,
}
WITH_BODY = (RESCHEDULE, RESET, BATCH, BULK, COMPLETE_TOKEN, CREATE_TOKEN, TRIGGER)
# What is not fed to the client although its path is one of ours: why, and the lines of each file.
LEFT_OUT = {
    "cut when it was recorded": "batch:10 batch:11 batch_v2:7 batches:3 batches:65 bulk_actions:21 "
    "waitpoint_tokens:14 waitpoint_tokens:47",
    "a query of another form": "ended_since:8 ended_since:9 ended_since:10 query:6 query:10 query_2:5",
    "a bulk action of another kind": "batches:55 batches:57 bulk_actions:6 bulk_actions:10 bulk_actions:12 "
    "bulk_actions:16 bulk_actions:17 bulk_actions:19 bulk_actions:20",
    "a body or an id that the client does not send": "batch:6 batch:7 bulk_actions:25 bulk_actions:26 "
    "idempotency:32 idempotency:41 replay_reschedule:11 trigger:4 trigger:35 trigger:36 trigger:37 "
    "trigger:38 trigger:39 trigger:40 trigger:41 trigger:49 waitpoint_tokens:2 waitpoint_tokens:6 "
    "waitpoint_tokens:27 waitpoint_tokens:30",
}
LEFT_OUT_LINES = frozenset(" ".join(LEFT_OUT.values()).split())
# What the API's page says of each status, for the calls in use.
KINDS = {
    400: errors.ResponseError,
    401: errors.AuthenticationError,
    403: errors.PermissionDeniedError,
    404: errors.NotFoundError,
    413: errors.ResponseError,
    422: errors.ResponseError,
    429: errors.RateLimitError,
    500: errors.ServerError,
    503: errors.ServerError,
}


@dataclass(frozen=True)
class Exchange:
    """A line of the recordings, and the call of ours that it answers, if it answers one."""

    name: str
    recorded: dict[str, Any]

    @property
    def call(self) -> Call[Any] | None:
        target = self.recorded.get("request", "")
        if self.name.split(" ")[0] in LEFT_OUT_LINES:
            return None
        for pattern, make in BY_ID.items():
            if match := pattern.match(target):
                # An id that no client would send raw was recorded to see what the server makes of it.
                return make(unquote(match[1]))
        if LIST.match(target):
            return list_runs_page(created_from=None)
        if QUERY.match(target):
            # The ids that were sent were often cut.
            rows = self.response.json_object().get("results", [])
            return query_runs([row["run_id"] for row in rows] or ["run_1"])
        return self._call_with_body(target) if any(one.match(target) for one in WITH_BODY) else None

    def _call_with_body(self, target: str) -> Call[Any]:
        body = json.loads(body_as_sent(self.recorded.get("request_body") or "{}"))
        if match := RESCHEDULE.match(target):
            return reschedule_run(unquote(match[1]), delay=body["delay"])
        if match := RESET.match(target):
            # A long key was cut when it was recorded, in the path and in the answer.
            key = as_sent(self.recorded["body"])["id"] if "…" in target else unquote(match[1])
            return reset_idempotency_key(key, task_identifier=body["taskIdentifier"])
        if BATCH.match(target):
            return trigger_batch(body["items"])
        if BULK.match(target):
            return cancel_runs_in_bulk(body["runIds"], name=body.get("name", ""))
        if match := COMPLETE_TOKEN.match(target):
            return complete_token(match[1], body["data"])
        if CREATE_TOKEN.match(target):
            return create_token(body)
        task = unquote(target.split("/")[-2])
        payload, options = body.get("payload"), dict(body.get("options", {}))
        return trigger_task(task, payload=payload, options=options, trace=self.trace)

    @property
    def trace(self) -> dict[str, str]:
        headers = self.recorded["request_headers"]
        return {name: text for name, text in headers.items() if name.startswith("trace")}

    @property
    def response(self) -> Response:
        body = as_sent(self.recorded["body"])
        for name in ("data", "results"):
            if isinstance(body, dict) and isinstance(body.get(name), list):
                # The rest of a long list was cut when it was recorded.
                body = body | {name: [item for item in body[name] if isinstance(item, dict)]}
        return Response(
            status=self.recorded["status"],
            headers=self.recorded["headers"],
            body=body.encode() if isinstance(body, str) else json.dumps(body).encode(),
        )

    @property
    def is_of_a_key_that_no_run_has(self) -> bool:
        """Whether it is the 404 that is an answer, and no failure."""
        text = str(self.recorded["body"])
        return bool(RESET.match(self.recorded["request"])) and "No runs found with idempotency key" in text


def read_all() -> list[Exchange]:
    exchanges = []
    for path in sorted(RECORDINGS.glob("*.jsonl")):
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            recorded = json.loads(line)
            name = f"{path.stem}:{number} {recorded.get('label', 'a note')}"
            exchanges.append(Exchange(name, recorded))
    return exchanges


EXCHANGES = read_all()
ANSWERS = [exchange for exchange in EXCHANGES if exchange.call]
NO_KEYS = [exchange for exchange in ANSWERS if exchange.is_of_a_key_that_no_run_has]
SUCCESSES = [exchange for exchange in ANSWERS if exchange.recorded["status"] < 300]
FAILURES = [
    exchange for exchange in ANSWERS if exchange.recorded["status"] >= 300 and exchange not in NO_KEYS
]


def each(exchanges: list[Exchange]) -> Any:
    return pytest.mark.parametrize("exchange", exchanges, ids=[exchange.name for exchange in exchanges])


def test_each_line_whose_path_is_ours_is_fed_to_the_client_or_left_out_for_a_reason() -> None:
    of_ours = [LIST, QUERY, *BY_ID, *WITH_BODY]
    named = {exchange.name.split(" ")[0]: exchange.recorded.get("request", "") for exchange in EXCHANGES}
    ours = {name for name, target in named.items() if any(one.match(target) for one in of_ours)}
    assert {exchange.name.split(" ")[0] for exchange in ANSWERS} == ours - LEFT_OUT_LINES
    assert ours >= LEFT_OUT_LINES
    assert {exchange.call.request.path.split("/")[3] for exchange in ANSWERS if exchange.call} >= {
        *("runs", "tasks", "batches", "bulk-actions", "query", "idempotencyKeys", "waitpoints")
    }


@each(SUCCESSES)
def test_a_success_is_read(exchange: Exchange) -> None:
    assert exchange.call is not None
    result, body = exchange.call.read(exchange.response), exchange.response.json()
    target = exchange.recorded["request"]
    if CANCEL.match(target) or RESET.match(target) or COMPLETE_TOKEN.match(target):
        assert result is None
    elif TOKEN.search(target):
        check_token(exchange, result, body)
    elif LIST.match(target):
        seen_at = exchange.response.date()
        runs = [ListedRun.from_answer(run, seen_at=seen_at) for run in body["data"]]
        assert [(run.id, run.status, run.task_identifier, run.attributes) for run in runs] == [
            (run["id"], run["status"], run["taskIdentifier"], run) for run in body["data"]
        ]
        assert result == RunPage(runs=runs, next=body["pagination"].get("next"))
    elif TRIGGER.match(target):
        assert result == (body["id"], body["isCached"])
    elif BATCH.match(target) or REPLAY.match(target) or BULK.match(target):
        assert result == body["id"]
    elif RETRIEVE_BATCH.match(target):
        check_batch(result, body)
    elif QUERY.match(target):
        check_query(result, body["results"])
    elif EVENTS.match(target):
        check_events(result, body["events"])
    else:
        check_run(result, body)


def check_run(run: Run, body: dict[str, Any]) -> None:
    assert (run.id, run.status) == (body["id"], body["status"])
    assert run.task_identifier == body["taskIdentifier"]
    assert run.attributes == body
    for time, name in (
        (run.created_at, "createdAt"),
        (run.started_at, "startedAt"),
        (run.finished_at, "finishedAt"),
    ):
        assert time == (datetime.fromisoformat(body[name]) if name in body else None)
    # Trap: the server's own word for it is false for these two.
    assert run.is_final == (body["isCompleted"] or body["status"] in ("EXPIRED", "TIMED_OUT"))
    assert (run.tags, run.idempotency_key) == (body["tags"], body.get("idempotencyKey"))
    assert (run.has_output, run.output) == ("output" in body, body.get("output"))
    assert run.output_url == body.get("outputPresignedUrl")
    assert (run.error is not None) == ("error" in body)
    if run.error is not None:
        internal = re.search(r"trigger.dev internal error \((\w+)\)", body["error"]["message"])
        assert (run.error.message, run.error.name) == (body["error"]["message"], body["error"].get("name"))
        assert run.error.stack_trace == (body["error"].get("stackTrace") or None)
        assert run.error.code == (internal[1] if internal else None)


def check_batch(batch: Batch, body: dict[str, Any]) -> None:
    assert (batch.id, batch.status, batch.run_count) == (body["id"], body["status"], body["runCount"])
    assert list(batch.run_ids) == body["runs"]


def check_query(runs: list[Run], rows: list[dict[str, Any]]) -> None:
    assert [(run.id, run.status) for run in runs] == [
        (row["run_id"], row["status"].upper().replace(" ", "_")) for row in rows
    ]
    assert {run.status for run in runs} <= set(RunStatus)


def check_events(events: list[RunEvent], shown: list[dict[str, Any]]) -> None:
    assert [(one.message, one.level) for one in events] == [(one["message"], one["level"]) for one in shown]
    times = [datetime.fromtimestamp(int(one["startTime"]) / 10**9, UTC) for one in shown]
    assert [event.started_at for event in events] == times == sorted(times)


# What each token was completed with, by what the label of its retrieve ends in.
TOKEN_OUTPUTS: dict[str, Any] = {
    "retrieve completed": {"approved": True, "by": "x"},
    "'text'": "text",
    "12345678901234567890": 12345678901234567000,
    "[1, 2]": [1, 2],
    "after callback": {"x": 1, "data": {"y": 2}},
    "not JSON": {},
}


def check_token(exchange: Exchange, token: WaitpointToken | CreatedToken, body: dict[str, Any]) -> None:
    if isinstance(token, CreatedToken):
        assert token == CreatedToken(id=body["id"], url=body["url"], is_cached=body["isCached"])
        return
    assert (token.id, token.status, token.url) == (body["id"], body["status"], body["url"])
    assert (token.is_completed, token.has_timed_out) == (body["status"] == "COMPLETED", body["outputIsError"])
    assert list(token.tags) == body["tags"]
    for time, name in (
        (token.created_at, "createdAt"),
        (token.completed_at, "completedAt"),
        (token.timeout_at, "timeoutAt"),
    ):
        assert time == (datetime.fromisoformat(body[name]) if name in body else None)
    outputs = [output for words, output in TOKEN_OUTPUTS.items() if exchange.name.endswith(words)]
    assert [token.output] == (outputs or [None])


def test_our_query_has_the_form_of_one_that_was_answered() -> None:
    [exchange] = [exchange for exchange in ANSWERS if exchange.name.endswith("with period")]
    assert exchange.call is not None
    sent, ours = json.loads(exchange.recorded["request_body"]), exchange.call.request.json
    assert ours is not None
    assert exchange.call.request.path == exchange.recorded["request"].split(" ")[1]
    assert (ours["scope"], ours.keys()) == (sent["scope"], sent.keys())
    columns, condition = re.fullmatch("SELECT (.*) FROM runs (.*)", ours["query"]).groups()  # type: ignore[union-attr]
    assert sent["query"] == f"SELECT run_id, status FROM runs {condition}"
    [unknown] = [exchange for exchange in ANSWERS if exchange.name.endswith(" unknown column")]
    available = unknown.recorded["body"]["error"].split("columns: ")[1].split(", ")
    assert set(columns.split(", ")) <= set(available)


@each(NO_KEYS)
def test_a_key_that_no_run_has_is_an_answer(exchange: Exchange) -> None:
    assert exchange.call is not None
    assert exchange.recorded["status"] == 404
    exchange.call.read(exchange.response)


SENT_BODIES = [exchange for exchange in ANSWERS if exchange.call and exchange.call.request.json is not None]


@each([exchange for exchange in SENT_BODIES if not QUERY.match(exchange.recorded["request"])])
def test_what_we_send_is_what_was_sent_then(exchange: Exchange) -> None:
    assert exchange.call is not None
    request, target = exchange.call.request, exchange.recorded["request"]
    path = target.split(" ")[1]
    assert request.path == path or (len(request.path) > 2000 and request.path.startswith(path.split("…")[0]))
    sent = json.loads(body_as_sent(exchange.recorded["request_body"]))
    if BULK.match(target):
        sent = {"name": ""} | sent
    if TRIGGER.match(target):
        sent = {"options": {}} | sent
        assert request.repeatable is bool(sent["options"].get("idempotencyKey"))
    assert json.loads(request.body() or b"") == sent
    assert request.headers == exchange.trace


@each(FAILURES)
def test_a_failure_becomes_its_own_kind_of_error(exchange: Exchange) -> None:
    assert exchange.call is not None
    response, status = exchange.response, exchange.recorded["status"]
    with pytest.raises(errors.ResponseError) as raised:
        exchange.call.read(response)
    error = raised.value
    # For paths that our client never sends.
    is_html = "text/html" in exchange.recorded["headers"].get("content-type", "")
    kind = errors.NotTriggerDevError if is_html else KINDS[status]
    is_unknown_token = status == 500 and RETRIEVE_TOKEN.match(exchange.recorded["request"])
    assert type(error) is (errors.UnknownTokenError if is_unknown_token else kind)
    assert error.status == status
    assert error.retryable is (status in (429, 500, 503))
    if isinstance(exchange.recorded["body"], str):
        assert re.match(r"\(text/(html|plain), ", error.detail)
    else:
        assert error.detail == " ".join(exchange.recorded["body"]["error"].split())[:300]
