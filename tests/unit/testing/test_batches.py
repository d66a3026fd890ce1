"""Calls with batches, as far as no recording shows them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fake_clock import Clock
from in_process import routed
from starlette.responses import Response

from airflow_provider_trigger.testing import TriggerDevServer

TRIGGER = "/api/v2/tasks/batch"
STREAMED = "/api/v3/batches"


def shown(answer: Response) -> Any:
    return json.loads(bytes(answer.body))


def post(server: TriggerDevServer, *options: Any) -> str:
    """Trigger a batch with one item for each given options; return its id."""
    given = {"items": [{"task": "parked", "payload": {}, "options": one} for one in options]}
    answer = routed(server, "POST", TRIGGER, given)
    assert answer.status_code == 202, answer.body
    batch_id: str = shown(answer)["id"]
    return batch_id


def test_runs_know_their_first_batch_only_and_a_replay_none(server: TriggerDevServer) -> None:
    first = post(server, {"idempotencyKey": "k"})
    second = post(server, {"idempotencyKey": "k"}, {})
    cached, own = shown(routed(server, "GET", f"/api/v2/batches/{second}"))["runs"]
    assert server.runs[cached].batch_id == first

    def listed(batch_id: str) -> list[str]:
        answer = routed(server, "GET", f"/api/v1/runs?filter[batch]={batch_id}")
        return [run["id"] for run in shown(answer)["data"]]

    assert (listed(first), listed(second), listed("batch_none")) == ([cached], [own], [])
    again = shown(routed(server, "POST", f"/api/v1/runs/{own}/replay"))["id"]
    assert "batchId" not in shown(routed(server, "GET", f"/api/v3/runs/{again}"))
    query = {"query": f"SELECT run_id, batch_id FROM runs WHERE batch_id = '{second}'"}
    assert shown(routed(server, "POST", "/api/v1/query", query))["results"] == [
        {"run_id": own, "batch_id": second}
    ]


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ([], "Validation error: Expected object, received array"),
        ({"items": [1]}, 'Validation error: Expected object, received number at "items[0]"'),
        ({"items": [{}]}, 'Validation error: Required at "items[0].task"'),
        (
            {"items": [{"task": "a", "options": {"delay": 5}}]},
            'Validation error: Expected string, received number at "items[0].options.delay"',
        ),
    ],
)
def test_invalid_requests(server: TriggerDevServer, body: Any, error: str) -> None:
    answer = routed(server, "POST", TRIGGER, body)
    assert (answer.status_code, shown(answer)) == (400, {"error": error})
    assert (server.runs, dict(server.batches)) == ({}, {})


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("1", 'Invalid item at line 2: Expected object, received number at "item"'),
        ('{"index": 1}', 'Invalid item at line 2: Required at "item.task"'),
        ('{"task": "a", "index": 1, "options": {"delay": 5}}', 'at "item.options.delay"'),
    ],
)
def test_the_lines_before_an_invalid_one_are_taken(
    server: TriggerDevServer, clock: Clock, line: str, error: str
) -> None:
    batch_id = shown(routed(server, "POST", STREAMED, {"runCount": 3}))["id"]
    lines = f'{{"index": 0, "task": "parked"}}\n{line}\n'
    answer = routed(server, "POST", f"{STREAMED}/{batch_id}/items", lines)
    assert answer.status_code == 400
    assert error in shown(answer)["error"]
    clock.now += 1
    assert len(server.batches[batch_id].runs) == 1
