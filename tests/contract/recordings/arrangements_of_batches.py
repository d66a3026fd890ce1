"""What has to be on the server before the batches are replayed, and what becomes of them."""

from __future__ import annotations

import re
from typing import Any

from arrangements_of_starts import AT_ONCE, OBEY, PARKED

from airflow_provider_trigger.testing import Batch
from airflow_provider_trigger.testing.engine.batches import BatchItem


def arrange_small_batches(replay: Any) -> None:
    replay.server.on_task("hello-task", start_after=None)


def arrange_batches(replay: Any) -> None:
    replay.server.on_task("job", **AT_ONCE)


def arrange_more_batches(replay: Any) -> None:
    server = replay.server
    server.on_task(PARKED, start_after=None)
    server.on_task(OBEY, start_after=0, after=1)
    server.unknown_task("no-such-task-in-batch")
    server.trigger(PARKED, options={"idempotencyKey": "bc1 1795639490"})[0].cancel()
    server.add_run("FAILED", task_identifier=OBEY, idempotency_key="bc2 1795639490")


def before_batches(replay: Any, exchange: Any) -> None:
    """Create the batches that no exchange creates, and read each as long after that as it was recorded."""
    match = re.search(r"batch_\w{25}", exchange.target)
    if match is None or exchange.left_out or isinstance(exchange.body, str):
        return
    if match[0] not in replay.ids:
        replay.ids[match[0]] = open_batch(replay, exchange).id
    batch = replay.server.batches[replay.ids[match[0]]]
    after = re.search(r": ([\d.]+) s ", exchange.label)
    if "filter[batch]" in exchange.target:
        newest_first = [run.id for run in reversed(batch.runs)]
        listed = [run["id"] for run in exchange.body["data"]]
        replay.ids |= dict(zip(listed, newest_first, strict=True))
    elif "batch of 500" in exchange.label:  # the real server needed a second before it began
        shown = exchange.body["runs"]
        cut = re.search(r"(\d+) in all", str(shown))
        replay.now = batch.created + (int(cut[1]) if cut else len(shown)) / 50 + 0.001
    elif "repeated batch" in exchange.label or exchange.label == "that batch":
        replay.now += 2
    elif after is not None:  # in the recordings, the items come right after the batch
        replay.now = batch.created + float(after[1]) + (0.05 if batch.streamed else 0)
    elif "minutes later" in exchange.label:
        replay.now += 60
    elif "30 minutes" in exchange.label:
        replay.now = max(replay.now, batch.created + 1800)


def open_batch(replay: Any, exchange: Any) -> Batch:
    """Create a batch whose items are streamed; if its runs are shown, with its items."""
    server = replay.server
    count = exchange.body.get("runCount", 2 if "runCount 2" in exchange.label else 3)
    batch: Batch = server.batches.open(count, environment=server.environment)
    if "FAIL" in exchange.label:
        server.on_task("failing", times=2, start_after=0, after=0.5, error="no")
    elif "canceled" not in exchange.label:
        return batch
    for index in range(count):
        task = "failing" if "FAIL" in exchange.label else PARKED
        server.batches.stream(batch, index, BatchItem(task_identifier=task))
    if "canceled" in exchange.label:
        replay.now += 0.1
        for run in batch.runs:
            run.cancel()
    return batch
