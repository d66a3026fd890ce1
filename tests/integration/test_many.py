"""Many ids in one call; 1,000 of them at the true numbers, 750 + 250 in 10 s, take a minute: a benchmark."""

from __future__ import annotations

import threading
import time
from collections import Counter
from math import ceil
from typing import Any

import pytest

from airflow_provider_trigger.testing import TriggerDevServer

# A fifth of the true bucket, and forty times as fast.
BUCKET: dict[str, Any] = {"rate_limit": 150, "refill": 50, "refill_interval": 0.25}
RESERVE = ceil(0.05 * 150)


@pytest.fixture
def server():
    with TriggerDevServer(**BUCKET, acknowledge_after=None) as server:
        yield server


@pytest.fixture
def lowest(server):
    """The lowest number of tokens that was left in the bucket after any request."""
    left = [server.take_tokens(0)]
    limiter = server._limiter
    take = limiter.take

    def take_and_note(key):
        taken = take(key)
        left.append(taken.remaining)
        return taken

    limiter.take = take_and_note
    return lambda: min(left)


def needed(known, unknown):
    return Counter(
        [("POST", f"/api/v2/runs/{run_id}/cancel") for run_id in known + unknown]
        + [("GET", f"/api/v3/runs/{run_id}") for run_id in known]
    )


def test_no_id_is_lost_and_no_request_is_one_too_many(server, lowest, cancel):
    known = [server.add_run().id for _ in range(180)]
    unknown = [f"run_unknown{number}" for number in range(20)]
    ids = [run_id for pair in zip(known[:20], unknown, strict=True) for run_id in pair] + known[20:]
    result = cancel(*ids, on_not_found="ignore")
    assert [one["run_id"] for one in result.results] == ids
    assert Counter(result.outcomes) == {"canceled": 180, "not_found": 20}
    assert Counter((request.method, request.path) for request in server.requests) == needed(known, unknown)
    assert {request.status for request in server.requests} == {200, 404}
    assert lowest() >= RESERVE


@pytest.mark.parametrize("max_concurrency", [1, 100])
def test_the_reserve_is_left_alone_at_any_concurrency(max_concurrency, server, lowest, cancel):
    runs = [server.add_run() for _ in range(100)]
    result = cancel(*runs, max_concurrency=max_concurrency)
    assert set(result.outcomes) == {"canceled"}
    assert len(server.requests) == 200
    assert lowest() >= RESERVE


def test_others_who_empty_the_bucket_cost_time_and_no_run(server, connect, cancel):
    connect(retry_for=60)
    runs = [server.add_run() for _ in range(150)]
    ended = threading.Event()

    def use_it():
        while not ended.is_set():
            server.take_tokens(20)
            time.sleep(0.1)

    user = threading.Thread(target=use_it)
    user.start()
    try:
        result = cancel(*runs)
    finally:
        ended.set()
        user.join()
    assert result.error is None
    assert set(result.outcomes) == {"canceled"}
    assert all(run.status == "CANCELED" for run in runs)
