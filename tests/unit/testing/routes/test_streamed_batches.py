"""Batches whose items are streamed, where the contract tests have no recording."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fake_clock import Clock
from starlette.requests import Request
from starlette.responses import Response

from airflow_provider_trigger.testing import TriggerDevServer
from airflow_provider_trigger.testing.routes.router import Router

CREATE = "/api/v3/batches"
LINES = "application/x-ndjson"


@pytest.fixture
def server(clock: Clock) -> TriggerDevServer:
    server = TriggerDevServer(clock=clock.time)
    server.on_task("parked", start_after=None)
    return server


def post(server: TriggerDevServer, path: str, body: str, *, content_type: str = LINES) -> Response:
    headers = [
        (b"authorization", f"Bearer {server.secret_key}".encode()),
        (b"content-type", content_type.encode()),
    ]
    scope = {"type": "http", "method": "POST", "headers": headers, "query_string": b""}
    return Router(server).answer(Request(scope), path, body=body.encode())


def shown(answer: Response) -> Any:
    return json.loads(bytes(answer.body))


def create(server: TriggerDevServer, run_count: int) -> str:
    batch_id: str = shown(post(server, CREATE, json.dumps({"runCount": run_count})))["id"]
    return batch_id


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ([], "Validation error: Expected object, received array"),
        ({}, 'Validation error: Expected number, received null at "runCount"'),
        ({"runCount": True}, 'Validation error: Expected number, received boolean at "runCount"'),
        ({"runCount": 0}, 'Validation error: Number must be greater than 0 at "runCount"'),
    ],
)
def test_invalid_batches(server: TriggerDevServer, body: Any, error: str) -> None:
    answer = post(server, CREATE, json.dumps(body))
    assert (answer.status_code, shown(answer)) == (400, {"error": error})
    assert not server.batches


@pytest.mark.parametrize(
    ("line", "status", "error"),
    [
        ("1", 400, 'Invalid item at line 2: Expected object, received number at "item"'),
        ('{"index": 1}', 400, 'Invalid item at line 2: Required at "item.task"'),
        ('{"task": "a"}', 400, 'Invalid item at line 2: Expected number, received null at "item.index"'),
        ('{"task": "a", "index": -1}', 400, "Invalid item at line 2"),
        ('{"task": "a", "index": true}', 400, "received boolean"),
        ('{"task": "a", "index": 1, "options": {"delay": 5}}', 400, 'at "item.options.delay"'),
        ('{"task": "a", "index": 3}', 422, "Item index 3 exceeds batch runCount 3"),
        ("{", 400, "Invalid JSON at line 2"),
    ],
)
def test_the_lines_before_an_invalid_one_are_taken(
    server: TriggerDevServer, clock: Clock, line: str, status: int, error: str
) -> None:
    batch_id = create(server, 3)
    answer = post(server, f"{CREATE}/{batch_id}/items", f'{{"index": 0, "task": "parked"}}\n{line}\n')
    assert answer.status_code == status
    assert error in shown(answer)["error"]
    clock.now += 1
    assert len(server.batches[batch_id].runs) == 1


def test_a_large_item_is_a_failed_run(server: TriggerDevServer, clock: Clock) -> None:
    batch_id = create(server, 1)
    line = json.dumps({"index": 0, "task": "parked", "payload": "x" * 3 * 1024 * 1024})
    assert shown(post(server, f"{CREATE}/{batch_id}/items", line))["sealed"]
    clock.now += 0.1
    (run,) = server.runs.values()
    assert run.error == {"message": "trigger.dev internal error (PAYLOAD_TOO_LARGE)"}


def test_both_content_types_are_taken(server: TriggerDevServer) -> None:
    line = '{"index": 0, "task": "parked"}'
    for content_type, status in (
        ("application/ndjson", 200),
        (f"{LINES}; charset=utf-8", 200),
        ("text/plain", 415),
    ):
        path = f"{CREATE}/{create(server, 1)}/items"
        assert post(server, path, line, content_type=content_type).status_code == status


def test_which_requests_cost_no_token(server: TriggerDevServer) -> None:
    batch_id, router = create(server, 1), Router(server)
    assert router.is_free(f"{CREATE}/{batch_id}/items")
    assert not router.is_free(f"{CREATE}/batch_none/items")
    assert not router.is_free(CREATE)
    assert server.batches[batch_id].requests == 1
