"""The calls for batches of the local server, where the contract tests have no recording."""

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


@pytest.fixture
def server(clock: Clock) -> TriggerDevServer:
    server = TriggerDevServer(clock=clock.time)
    server.on_task("parked", start_after=None)
    server.unknown_region("moon")
    return server


def shown(answer: Response) -> Any:
    return json.loads(bytes(answer.body))


def post(server: TriggerDevServer, *options: Any, environment: str = "prod") -> str:
    """Trigger a batch with one item for each given options; return its id."""
    given = {"items": [{"task": "parked", "payload": {}, "options": one} for one in options]}
    answer = routed(server, "POST", TRIGGER, given, env=environment)
    assert answer.status_code == 202, answer.body
    batch_id: str = shown(answer)["id"]
    return batch_id


def test_options_are_those_of_a_single_run(server: TriggerDevServer) -> None:
    options = {"tags": "solo", "ttl": 60, "delay": "1h", "metadata": {"m": 1}, "idempotencyKey": "k"}
    batch_id = post(server, options)
    (run,) = server.runs.values()
    assert run.options == options | {"tags": ["solo"], "ttl": "60s"}
    assert (run.status, run.tags, run.ttl, run.metadata) == ("DELAYED", ("solo",), "60s", {"m": 1})
    retrieved = shown(routed(server, "GET", f"/api/v3/runs/{run.id}"))
    assert (retrieved["batchId"], retrieved["idempotencyKey"]) == (batch_id, "k")


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
    "options",
    [
        {"tags": [f"t{number}" for number in range(12)]},
        {"lockToVersion": "20200101.1"},
        {"region": "moon"},
        {"metadata": {"m": "x" * 300_000}},
    ],
)
def test_an_item_that_cannot_be_triggered_does_not_stop_the_others(
    server: TriggerDevServer, options: Any
) -> None:
    batch_id = post(server, {}, options, {"delay": "soon"})
    runs = shown(routed(server, "GET", f"/api/v2/batches/{batch_id}"))["runs"]
    assert [server.runs[run].status for run in runs] == ["QUEUED", "SYSTEM_FAILURE", "QUEUED"]


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ([], "Validation error: Expected object, received array"),
        ({"items": {}}, 'Validation error: Expected array, received object at "items"'),
        ({"items": [1]}, 'Validation error: Expected object, received number at "items[0]"'),
        ({"items": [{}]}, 'Validation error: Required at "items[0].task"'),
        ({"items": [{"task": 1}]}, 'Validation error: Expected string, received number at "items[0].task"'),
        (
            {"items": [{"task": "a"}, {"task": "b", "options": 1}]},
            'Validation error: Expected object, received number at "items[1].options"',
        ),
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
    ("size", "object_store", "status"),
    [(500_000, False, 202), (600_000, False, 500), (600_000, True, 202), (1_000_001, True, 413)],
)
def test_large_requests(server: TriggerDevServer, size: int, object_store: bool, status: int) -> None:
    server.object_store = object_store
    items = [{"task": "parked", "payload": "x" * (size // 2)}] * 2
    assert routed(server, "POST", TRIGGER, {"items": items}).status_code == status
    assert len(server.runs) == (2 if status == 202 else 0)


def test_another_environments_batches_are_unknown(server: TriggerDevServer) -> None:
    batch_id = post(server, {}, environment="dev")
    assert [run.environment.name for run in server.runs.values()] == ["dev"]
    for version, environment, status in (("v1", "prod", 404), ("v2", "prod", 404), ("v2", "dev", 200)):
        answer = routed(server, "GET", f"/api/{version}/batches/{batch_id}", env=environment)
        assert answer.status_code == status


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ([], "Validation error: Expected object, received array"),
        ({}, 'Validation error: Expected number, received null at "runCount"'),
        ({"runCount": True}, 'Validation error: Expected number, received boolean at "runCount"'),
        ({"runCount": 0}, 'Validation error: Number must be greater than 0 at "runCount"'),
    ],
)
def test_invalid_streamed_batches(server: TriggerDevServer, body: Any, error: str) -> None:
    answer = routed(server, "POST", STREAMED, body)
    assert (answer.status_code, shown(answer)) == (400, {"error": error})
    assert not server.batches


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("1", 'Invalid item at line 2: Expected object, received number at "item"'),
        ('{"index": 1}', 'Invalid item at line 2: Required at "item.task"'),
        ('{"task": "a"}', 'Invalid item at line 2: Expected number, received null at "item.index"'),
        ('{"task": "a", "index": -1}', "Invalid item at line 2"),
        ('{"task": "a", "index": true}', "received boolean"),
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
