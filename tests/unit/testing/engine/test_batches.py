"""Batches of the local server, by a clock that the test sets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from fake_clock import START, Clock
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_trigger.testing import TriggerDevServer
from airflow_provider_trigger.testing.engine.batches import Batch, BatchItem


@pytest.fixture(autouse=True)
def _on_task(server: TriggerDevServer) -> None:
    server.on_task("resize", start_after=0, after=3)


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


def test_what_is_said_about_a_task_holds_for_the_runs_after_it(
    server: TriggerDevServer, clock: Clock
) -> None:
    batch = begin(server, items=items(50))
    clock.now += 0.501
    server.on_task("resize", start_after=None)
    clock.now += 2
    assert [run.status for run in batch.runs] == ["EXECUTING"] * 25 + ["QUEUED"] * 25


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


def test_the_first_requests_with_its_items_are_free(server: TriggerDevServer, clock: Clock) -> None:
    used, old = (server.batches.open(1, environment=server.environment) for _ in range(2))
    assert used
    assert old
    assert [server.batches.is_free(used) for _ in range(12)] == [True] * 10 + [False] * 2
    clock.now += 1799
    assert server.batches.is_free(old)
    clock.now += 1
    assert not server.batches.is_free(old)
