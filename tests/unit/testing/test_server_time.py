"""Durations and dates, and a server on which everything happens faster than usual, by the test's clock."""

from __future__ import annotations

import pytest
from fake_clock import Clock

from airflow_provider_trigger.testing import ServerRun, TriggerDevServer


@pytest.fixture
def server(clock: Clock) -> TriggerDevServer:
    return TriggerDevServer(clock=clock.time, speed=100, refill_interval=10)


def changes(run: ServerRun, clock: Clock) -> list[tuple[float, str]]:
    """Return the statuses of a run, and how many seconds of real time after its trigger each came."""
    seen: list[tuple[float, str]] = []
    begun = clock.now
    for hundredths in range(2000):
        clock.now = begun + hundredths / 100 + 0.000_001
        if not seen or seen[-1][1] != run.status:
            seen.append((hundredths / 100, run.status))
    return seen


@pytest.mark.parametrize(
    ("behavior", "options", "ends"),
    [
        ({"after": 600}, {}, [(0, "QUEUED"), (1, "EXECUTING"), (7, "COMPLETED")]),
        (
            {"after": 200, "waiting": 300},
            {},
            [(0, "QUEUED"), (1, "EXECUTING"), (2, "WAITING"), (5, "EXECUTING"), (6, "COMPLETED")],
        ),
        (
            {"after": 100},
            {"delay": "10m"},
            [(0, "DELAYED"), (6, "QUEUED"), (7, "EXECUTING"), (8, "COMPLETED")],
        ),
        (
            {"after": 100, "failures": 1, "retry_after": 200},
            {},
            [(0, "QUEUED"), (1, "EXECUTING"), (2, "QUEUED"), (4, "EXECUTING"), (5, "COMPLETED")],
        ),
    ],
)
def test_runs(server: TriggerDevServer, clock: Clock, behavior, options, ends) -> None:
    server.on_task("train", **{"start_after": 100, **behavior})
    run, _ = server.trigger("train", options=options)
    assert changes(run, clock) == ends


def test_keys_urls_and_tokens(server: TriggerDevServer, clock: Clock) -> None:
    options = {"idempotencyKey": "k", "idempotencyKeyTTL": "100s"}
    first, _ = server.trigger("train", options=options)
    server.take_tokens(750)
    clock.now += 0.09
    assert server.take_tokens(0) == 0
    clock.now += 0.02
    assert server.take_tokens(0) == 250
    assert server.trigger("train", options=options) == (first, True)
    clock.now += 1
    assert server.trigger("train", options=options)[0] is not first
