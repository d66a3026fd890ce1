"""What a real Trigger.dev server answered, read as the client reads it."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from airflow_provider_trigger.api import errors, retry
from airflow_provider_trigger.api.endpoints.runs import cancel_run, list_runs, retrieve_run
from airflow_provider_trigger.api.http import Call, Response
from airflow_provider_trigger.api.models.runs import Run
from airflow_provider_trigger.api.rate_limit import RateLimit

RECORDINGS = Path(__file__).parent / "recordings"
CANCEL = re.compile(r"POST /api/v2/runs/([^/?]+)/cancel$")
RETRIEVE = re.compile(r"GET /api/v3/runs/([^/?]+)$")
LIST = re.compile(r"GET /api/v1/runs(\?|$)")
NOT_IN_USE = re.compile(r"/tasks/|/bulk-actions|/realtime/|/result$")
# What the API's page says of each status, for the calls in use.
KINDS = {
    400: errors.ResponseError,
    401: errors.AuthenticationError,
    403: errors.PermissionDeniedError,
    404: errors.NotFoundError,
    429: errors.RateLimitError,
    500: errors.ServerError,
}
TRIES = {429: math.inf, 500: retry.TRIES_AT_500}


@dataclass(frozen=True)
class Exchange:
    """A line of the recordings, and the call of ours that it answers, if it answers one."""

    name: str
    recorded: dict[str, Any]

    @property
    def call(self) -> Call[Any] | None:
        target = self.recorded.get("request", "")
        # An id that no client would send raw was recorded to see what the server makes of it.
        if match := CANCEL.match(target) or RETRIEVE.match(target):
            run_id = unquote(match[1])
            return (cancel_run if target.startswith("POST") else retrieve_run)(run_id)
        return list_runs(page_size=100) if LIST.match(target) else None

    @property
    def left_out(self) -> str:
        """Why it answers no call of ours."""
        if "request" not in self.recorded:
            return "a note on the engine, not an exchange"
        if NOT_IN_USE.search(self.recorded["request"]):
            return "a call that is not in use"
        return "what no client of ours sends"

    @property
    def response(self) -> Response:
        body = self.recorded["body"]
        return Response(
            status=self.recorded["status"],
            headers=self.recorded["headers"],
            body=body.encode() if isinstance(body, str) else json.dumps(body).encode(),
        )

    @property
    def is_html(self) -> bool:
        return "text/html" in self.recorded["headers"]["content-type"]


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
SUCCESSES = [exchange for exchange in ANSWERS if exchange.recorded["status"] < 300]
FAILURES = [exchange for exchange in ANSWERS if exchange.recorded["status"] >= 300]


def each(exchanges: list[Exchange]) -> Any:
    return pytest.mark.parametrize("exchange", exchanges, ids=[exchange.name for exchange in exchanges])


def test_every_line_is_fed_or_left_out_for_a_reason() -> None:
    left_out = Counter(exchange.left_out for exchange in EXCHANGES if not exchange.call)
    # To be raised with every call that comes into use.
    assert (len(SUCCESSES), len(FAILURES)) == (166, 95)
    assert left_out == {
        "a note on the engine, not an exchange": 8,
        "a call that is not in use": 82,
        "what no client of ours sends": 22,
    }


@each(SUCCESSES)
def test_a_success_is_read(exchange: Exchange) -> None:
    assert exchange.call is not None
    result, body = exchange.call.read(exchange.response), exchange.recorded["body"]
    if exchange.call.request.method == "POST":
        assert result is None
    elif "data" in body:
        assert result == body["data"]
    else:
        assert isinstance(result, Run)
        assert (result.id, result.status) == (body["id"], body["status"])
        assert result.task_identifier == body["taskIdentifier"]
        assert result.attributes == body
        for time, name in ((result.started_at, "startedAt"), (result.finished_at, "finishedAt")):
            assert time == (datetime.fromisoformat(body[name]) if name in body else None)
        # Trap: the server's own word for it is false for EXPIRED.
        assert result.is_final == (body["isCompleted"] or body["status"] == "EXPIRED")


@each(FAILURES)
def test_a_failure_becomes_its_own_kind_of_error(exchange: Exchange) -> None:
    assert exchange.call is not None
    response, status = exchange.response, exchange.recorded["status"]
    with pytest.raises(errors.ResponseError) as raised:
        exchange.call.read(response)
    error = raised.value
    unknown_path = exchange.is_html and status == 404
    assert type(error) is (errors.ResponseError if unknown_path else KINDS[status])
    assert error.status == status
    assert error.retryable is (status in (429, 500))
    if exchange.is_html:
        assert error.detail.startswith("(text/html, ")
    else:
        assert error.detail == exchange.recorded["body"]["error"]
    expected = TRIES.get(status, 1)
    if exchange.recorded["headers"].get("x-should-retry") == "true":
        expected = retry.TRIES_AT_SHOULD_RETRY
    assert retry.tries_allowed(exchange.call.request, error, response, has_worked=False) == expected


@each([exchange for exchange in ANSWERS if "x-ratelimit-reset" in exchange.recorded["headers"]])
def test_the_bucket_is_seen_in_each_answer_that_shows_it(exchange: Exchange) -> None:
    headers = exchange.recorded["headers"]
    now = int(headers["x-ratelimit-reset"]) / 1000 - 5
    limit = RateLimit()
    limit.answered(limit.sent(monotonic=100.0), exchange.response, monotonic=100.0, now=now)
    reserve = math.ceil(int(headers["x-ratelimit-limit"]) * 0.05)
    spent = int(headers["x-ratelimit-remaining"]) <= reserve
    assert limit.delay(monotonic=100.0) == pytest.approx(5.05 if spent else 0, abs=0.01)


@each([exchange for exchange in FAILURES if exchange.recorded["status"] == 429])
def test_a_rejection_gives_the_same_wait_in_its_headers_and_in_its_body(exchange: Exchange) -> None:
    body = exchange.recorded["body"]
    now = body["reset"] / 1000 - body["secondsUntilReset"]
    by_header = retry.server_wait(exchange.response, now=now)
    bare = Response(status=429, headers={}, body=exchange.response.body)
    assert by_header == pytest.approx(body["secondsUntilReset"], abs=0.01)
    assert retry.server_wait(bare, now=now) == body["secondsUntilReset"]


# When a run is terminated


def checks(file: str, run_id: str) -> list[Run]:
    """Return what each check of a run showed, in their order."""
    return [
        exchange.call.read(exchange.response)
        for exchange in SUCCESSES
        if exchange.call
        and exchange.name.startswith(f"{file}:")
        and exchange.recorded["request"].endswith(f"GET /api/v3/runs/{run_id}")
    ]


def run_ids(file: str) -> list[str]:
    targets = [exchange.recorded["request"] for exchange in SUCCESSES if exchange.name.startswith(f"{file}:")]
    return list(dict.fromkeys(match[1] for target in targets if (match := RETRIEVE.match(target))))


@pytest.mark.parametrize("run_id", run_ids("cancel_settling"))
def test_a_run_that_is_terminated_never_changes_again(run_id: str) -> None:
    seen = checks("cancel_settling", run_id)
    for earlier, later in pairwise(seen):
        if earlier.is_terminated:
            assert later.status == earlier.status


@pytest.mark.parametrize(
    ("run_id", "terminated"),
    [
        ("run_cmwvxdf1j005pvu7dwch6gmse", [("CANCELED", False), ("CANCELED", True)]),
        ("run_cmwvxdg4w005svu7d5mh54y2z", [("CANCELED", False), ("COMPLETED", True)]),
        ("run_cmwvxdu3j006hvu7d7ltpha90", [("CANCELED", False)]),
        ("run_cmwvxduqs006kvu7dvs0e00vz", [("COMPLETED", True)]),
        ("run_cmwvxdvid006nvu7dd8uctr2i", [("COMPLETED", True)]),
        ("run_cmwvxdwbv006qvu7dqh6mlh26", [("CANCELED", False)]),
        ("run_cmwvxdx7b006tvu7dp6spamun", [("CANCELED", False)]),
        ("run_cmwvxdixe0061vu7dnymp00es", [("QUEUED", False), ("QUEUED", False), ("CANCELED", True)]),
        ("run_cmwvxdilp005yvu7dlichzttw", [("CANCELED", False)]),
        ("run_cmwvxdn980066vu7dncqwsfrc", [("QUEUED", False), ("QUEUED", False), ("CANCELED", True)]),
        ("run_cmwvxdn1h0063vu7dh1lb8hol", [("CANCELED", False)]),
        ("run_cmwvxdraq0069vu7dav0lz4y5", [("EXECUTING", False)]),
    ],
)
def test_each_check_of_a_canceled_run_shows_whether_it_is_terminated(
    run_id: str, terminated: list[tuple[str, bool]]
) -> None:
    assert [(run.status, run.is_terminated) for run in checks("cancel_settling", run_id)] == terminated


def test_every_run_of_those_checks_is_in_the_table() -> None:
    [table] = [
        mark.args[1]
        for mark in test_each_check_of_a_canceled_run_shows_whether_it_is_terminated.pytestmark  # type: ignore[attr-defined]
    ]
    assert sorted(run_id for run_id, _ in table) == sorted(run_ids("cancel_settling"))


@pytest.mark.parametrize("run_id", run_ids("cancel_settling"))
def test_a_canceled_run_is_terminated_when_the_engine_must_have_forced_it(run_id: str) -> None:
    [*_, last] = checks("cancel_settling", run_id)
    assert last.updated_at is not None
    later = Run.from_answer(last.attributes, seen_at=last.updated_at + timedelta(seconds=90))
    assert later.is_terminated is (last.status != "EXECUTING")


@pytest.mark.parametrize("run_id", run_ids("cancel_by_state"))
def test_a_run_that_no_worker_had_before_its_cancel_is_terminated_by_it_and_no_other_is(run_id: str) -> None:
    before, *after = checks("cancel_by_state", run_id)
    has_worker = before.status in ("EXECUTING", "DEQUEUED")
    assert before.is_without_worker is (not before.is_final and not has_worker)
    for run in after:
        if run.status == before.status == "QUEUED":
            continue  # still before the cancel
        assert run.is_final
        assert run.status == (before.status if before.is_final else "CANCELED")
        # No worker took it up in between, so the check before proves that the cancel terminated it.
        taken_up = (run.started_at, run.attempt_count) != (before.started_at, before.attempt_count)
        assert (run.is_terminated or (before.is_without_worker and not taken_up)) is not has_worker
