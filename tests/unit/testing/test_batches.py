"""Batches, by a clock that the test sets: when their runs are made, and what no recording says of calls."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from fake_clock import START, Clock
from hypothesis import given
from hypothesis import strategies as st
from in_process import routed
from starlette.responses import Response

from airflow_provider_trigger.testing import TriggerDevServer
from airflow_provider_trigger.testing.engine.batches import Batch, BatchItem

TRIGGER = "/api/v2/tasks/batch"
STREAMED = "/api/v3/batches"


@pytest.fixture
def server(clock: Clock) -> TriggerDevServer:
    server = TriggerDevServer(clock=clock.time)
    server.on_task("parked", start_after=None)
    server.on_task("resize", start_after=0, after=3)
    server.unknown_region("moon")
    return server


def items(count: int, **options: Any) -> list[BatchItem]:
    return [BatchItem(task_identifier="resize", payload=number, options=options) for number in range(count)]


def begin(server: TriggerDevServer, *, items: Sequence[BatchItem]) -> Batch:
    return server.batches.create(items, environment=server.environment)


def payloads(batch: Batch) -> list[Any]:
    return [run.payload for run in batch.runs]


# When the runs are made


def test_those_of_a_large_one_follow_one_after_another(server: TriggerDevServer, clock: Clock) -> None:
    batch = begin(server, items=items(101))
    assert (len(server.runs), batch.runs, batch.status) == (0, [], "PENDING")
    assert batch.updated_at == batch.created_at
    clock.now += 1.001
    assert len(server.runs) == 50
    assert payloads(batch) == list(range(50))
    assert batch.updated_at.timestamp() == pytest.approx(START + 1)
    clock.now += 60
    created = [run.created_at.timestamp() - START for run in server.runs.values()]
    assert created == pytest.approx([(number + 1) / 50 for number in range(101)], abs=0.001)


@given(reads=st.lists(st.floats(0, 3), max_size=6), cancel_at=st.floats(0, 3))
def test_it_does_not_matter_when_they_are_read(reads: list[float], cancel_at: float) -> None:
    ends = []
    for steps in (reads, []):
        clock = Clock()
        begun = clock.now
        server = TriggerDevServer(clock=clock.time)
        server.on_task("resize", start_after=0, after=1)
        keyed = [
            BatchItem(task_identifier="resize", payload=number, options={"idempotencyKey": f"k{number % 40}"})
            for number in range(60)
        ]
        batch = begin(server, items=keyed)
        for step in sorted([*steps, cancel_at]):
            clock.now = begun + step
            if step == cancel_at:
                server.trigger("resize", options={"idempotencyKey": "k30"}, payload="own")
                for run in batch.runs:
                    run.cancel()
            _ = batch.status, [run.status for run in server.runs.values()]
        clock.now = begun + 30
        ends.append(
            [(run.payload, run.state.status, run.created_at, run.updated_at) for run in batch.runs]
            + [(batch.updated_at, batch.status, len(server.runs))]
        )
    assert ends[0] == ends[1]


# Idempotency keys


def test_a_key_that_is_used_before_its_item_is_made(server: TriggerDevServer, clock: Clock) -> None:
    keyed = BatchItem(task_identifier="resize", options={"idempotencyKey": "k"})
    batch = begin(server, items=[*items(49), keyed])
    clock.now += 0.5
    other, is_cached = server.trigger("resize", options={"idempotencyKey": "k"})
    clock.now += 5
    assert (batch.runs[-1], other.batch_id, is_cached) == (other, None, False)
    clock.now += 5
    late = begin(server, items=[*items(49), keyed])
    clock.now += 0.999
    assert server.reset_key("k", "resize") is other
    clock.now += 1
    assert late.runs[-1] is not other


# Items that are streamed


# Calls


def shown(answer: Response) -> Any:
    return json.loads(bytes(answer.body))


def post(server: TriggerDevServer, *options: Any, environment: str = "prod") -> str:
    """Trigger a batch with one item for each given options; return its id."""
    given = {"items": [{"task": "parked", "payload": {}, "options": one} for one in options]}
    answer = routed(server, "POST", TRIGGER, given, env=environment)
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
