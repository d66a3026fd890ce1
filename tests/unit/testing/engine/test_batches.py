"""Batches of the local server, by a clock that the test sets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from fake_clock import START, Clock
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_trigger.testing import TriggerDevServer
from airflow_provider_trigger.testing.engine.batches import NOT_TRIGGERED, Batch, BatchItem
from airflow_provider_trigger.testing.engine.states import FINAL


@pytest.fixture
def server(clock: Clock) -> TriggerDevServer:
    server = TriggerDevServer(clock=clock.time)
    server.on_task("resize", start_after=0, after=3)
    return server


def items(count: int, **options: Any) -> list[BatchItem]:
    return [BatchItem(task_identifier="resize", payload=number, options=options) for number in range(count)]


def begin(server: TriggerDevServer, *, items: Sequence[BatchItem]) -> Batch:
    return server.batches.create(items, environment=server.environment)


def payloads(batch: Batch) -> list[Any]:
    return [run.payload for run in batch.runs]


# When the runs are made


def test_the_runs_of_a_small_batch_are_there_at_once(server: TriggerDevServer) -> None:
    batch = begin(server, items=items(20, tags=["t"]))
    assert payloads(batch) == list(range(20))
    assert list(server.runs.values()) == batch.runs
    assert {(run.batch_id, run.tags, run.created_at) for run in batch.runs} == {
        (batch.id, ("t",), batch.created_at)
    }


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


def test_on_a_faster_server_they_follow_faster(clock: Clock) -> None:
    server = TriggerDevServer(clock=clock.time, speed=100)
    begin(server, items=items(500))
    clock.now += 0.0501
    assert len(server.runs) == 250


def test_a_stop_meanwhile_leaves_more_to_come(server: TriggerDevServer, clock: Clock) -> None:
    batch = begin(server, items=items(100))
    clock.now += 1.001
    for run in batch.runs:
        run.cancel()
    clock.now += 0.5
    assert [run.status for run in batch.runs] == ["CANCELED"] * 50 + ["EXECUTING"] * 25


def test_what_is_said_about_a_task_holds_for_the_runs_after_it(
    server: TriggerDevServer, clock: Clock
) -> None:
    batch = begin(server, items=items(50))
    clock.now += 0.501
    server.on_task("resize", start_after=None)
    clock.now += 2
    assert [run.status for run in batch.runs] == ["EXECUTING"] * 25 + ["QUEUED"] * 25


def test_a_version_that_lacks_the_task_holds_for_the_runs_after_it(
    server: TriggerDevServer, clock: Clock
) -> None:
    batch = begin(server, items=items(50))
    clock.now += 0.501
    server.unknown_task("resize")
    clock.now += 2
    assert [run.status for run in batch.runs] == ["EXECUTING"] * 25 + ["PENDING_VERSION"] * 25


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


def test_a_key_that_is_in_use_stands_for_its_run(server: TriggerDevServer) -> None:
    earlier, _ = server.trigger("resize", payload="earlier", options={"idempotencyKey": "k"})
    first = begin(server, items=[*items(1), *items(2, idempotencyKey="k"), *items(1)])
    assert payloads(first) == [0, "earlier", "earlier", 0]
    assert earlier.batch_id is None
    twice = begin(server, items=items(2, idempotencyKey="l"))
    assert twice.runs[0] is twice.runs[1]
    again = begin(server, items=items(2, idempotencyKey="l"))
    assert again.runs == twice.runs
    assert (again.id != twice.id, again.runs[0].batch_id) == (True, twice.id)


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


@pytest.mark.parametrize("status", FINAL)
def test_which_runs_are_cached(server: TriggerDevServer, status: str) -> None:
    first = begin(server, items=items(1, idempotencyKey="k")).runs[0]
    first.status = status
    second = begin(server, items=items(1, idempotencyKey="k")).runs[0]
    assert (second is first) == (status in ("COMPLETED", "CANCELED", "INTERRUPTED"))


# Its status


def test_it_is_completed_when_its_runs_are_final(server: TriggerDevServer, clock: Clock) -> None:
    batch = begin(server, items=items(3))
    clock.now += 1
    batch.runs[0].cancel()
    clock.now += 1.9
    assert batch.status == "PENDING"
    clock.now += 10
    assert (batch.status, batch.updated_at.timestamp()) == ("COMPLETED", START + 3)
    assert [run.status for run in batch.runs] == ["CANCELED", "COMPLETED", "COMPLETED"]


def test_it_is_not_completed_before_all_of_its_runs_are_made(server: TriggerDevServer, clock: Clock) -> None:
    server.on_task("resize", start_after=0, after=0)
    batch = begin(server, items=items(25))
    clock.now += 0.4801
    assert (batch.status, {run.status for run in batch.runs}) == ("PENDING", {"COMPLETED"})
    clock.now += 0.02
    assert batch.status == "COMPLETED"


def test_it_does_not_wait_for_the_runs_of_others(server: TriggerDevServer) -> None:
    first = begin(server, items=items(2, idempotencyKey="k"))
    again = begin(server, items=items(2, idempotencyKey="k"))
    assert (first.status, again.status) == ("PENDING", "COMPLETED")


# What cannot be triggered


def test_an_item_that_cannot_be_triggered_is_a_failed_run(server: TriggerDevServer) -> None:
    bad = BatchItem(task_identifier="resize", payload=1, options={"tags": ["t"]}, failure=NOT_TRIGGERED)
    batch = begin(server, items=[*items(1), bad])
    failed = batch.runs[1]
    assert (failed.status, failed.tags, failed.payload) == ("SYSTEM_FAILURE", (), 1)
    assert failed.batch_id == batch.id
    assert failed.error == {"message": "trigger.dev internal error (BATCH_ITEM_COULD_NOT_TRIGGER)"}
    assert (failed.started_at, failed.attempt_count, failed.finished_at) == (None, 0, failed.created_at)
    assert batch.status == "PENDING"


def test_an_unknown_task_is_none_of_these(server: TriggerDevServer, clock: Clock) -> None:
    server.unknown_task("missing")
    batch = begin(server, items=[BatchItem(task_identifier="missing")])
    clock.now += 60
    assert (batch.runs[0].status, batch.status) == ("PENDING_VERSION", "PENDING")


# Items that are streamed


def open_batch(server: TriggerDevServer, run_count: int, **arguments: Any) -> Batch:
    batch = server.batches.open(run_count, environment=server.environment, **arguments)
    assert batch is not None
    return batch


def stream(server: TriggerDevServer, batch: Batch, *indexes: int, **item: Any) -> list[bool]:
    made = BatchItem(task_identifier="resize", **item)
    return [server.batches.stream(batch, index, made) for index in indexes]


def test_it_is_processed_once_it_has_all_items(server: TriggerDevServer, clock: Clock) -> None:
    batch = open_batch(server, 3)
    assert (batch.status, batch.sealed, batch.processed_at) == ("PENDING", False, None)
    assert stream(server, batch, 2, 2, 0) == [True, False, True]
    clock.now += 60
    # Its runs exist all the same.
    assert (batch.status, batch.sealed, batch.item_count, len(batch.runs)) == ("PENDING", False, 2, 2)
    stream(server, batch, 1)
    assert (batch.status, batch.sealed) == ("PROCESSING", True)
    clock.now += 0.0201
    assert (batch.status, batch.processed_at) == ("PENDING", batch.updated_at)
    clock.now += 3
    assert batch.status == "COMPLETED"
    assert batch.processed_at is not None
    assert batch.updated_at > batch.processed_at


def test_its_runs_follow_one_after_another_in_the_order_of_the_items(
    server: TriggerDevServer, clock: Clock
) -> None:
    batch = open_batch(server, 100)
    for index in reversed(range(100)):
        stream(server, batch, index, payload=index)
    clock.now += 0.5001
    assert payloads(batch) == list(range(75, 100))
    clock.now += 2
    assert payloads(batch) == list(range(100))


@pytest.mark.parametrize(("failure", "seconds"), [(NOT_TRIGGERED, 43), ("PAYLOAD_TOO_LARGE", 0)])
def test_an_item_that_cannot_be_triggered_is_tried_for_a_while(
    server: TriggerDevServer, clock: Clock, failure: str, seconds: float
) -> None:
    batch = open_batch(server, 2)
    stream(server, batch, 0, failure=failure)
    stream(server, batch, 1)
    clock.now += seconds
    assert batch.status == "PROCESSING"
    clock.now += 0.1
    assert batch.runs[0].status == "SYSTEM_FAILURE"
    assert batch.status != "PROCESSING"


def test_a_batchs_key_can_be_used_once_in_an_environment(server: TriggerDevServer) -> None:
    open_batch(server, 1, key="k")
    assert server.batches.open(1, environment=server.environment, key="k") is None
    assert server.batches.open(1, environment=server.add_environment("dev"), key="k") is not None
    assert open_batch(server, 1) is not open_batch(server, 1)


def test_the_first_requests_with_its_items_are_free(server: TriggerDevServer, clock: Clock) -> None:
    used, old = open_batch(server, 1), open_batch(server, 1)
    assert [server.batches.is_free(used) for _ in range(12)] == [True] * 10 + [False] * 2
    clock.now += 1799
    assert server.batches.is_free(old)
    clock.now += 1
    assert not server.batches.is_free(old)
