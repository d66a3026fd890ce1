"""Batches under a random mix of faults: each item has one run in the end, and no other run is left alive."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from run_operator import batch

PATHS = ["/tasks/batch", "/api/v2/batches/", "/api/v3/runs/", "/cancel", "/bulk-actions", "/query", None]


def add_fault(server, rng):
    """Let some of the next requests fail in one of the ways of a busy server and its network."""
    where = {"path": rng.choice(PATHS)}
    is_handled = rng.random() < 0.5
    rng.choice(
        [
            lambda: server.fail_next(
                rng.randint(1, 3), rng.choice([429, 502, 503]), after_handling=is_handled, **where
            ),
            lambda: server.fail_next(1, rng.choice([401, 500]), **where),
            lambda: server.rate_limit_next(1, reset_after=rng.uniform(0.2, 1), **where),
            lambda: server.disconnect_next(rng.randint(1, 2), after_handling=is_handled, **where),
            lambda: server.hang_next(1, after_handling=is_handled, **where),
            lambda: server.delay_next(3, rng.uniform(0.1, 0.4), after_handling=is_handled, **where),
            lambda: server.truncate_next(1, **where),
        ]
    )()


@pytest.mark.parametrize("deferrable", [False, True], ids=["waits", "defers"])
@pytest.mark.parametrize("kill_when", ["raises"], indirect=True)
@pytest.mark.parametrize("seed", range(2))
def test_each_item_has_one_run_in_the_end_and_no_other_run_is_left_alive(
    seed, deferrable, server, connect, run_try, kill_when
):
    rng = random.Random(seed)
    connect(timeout=1, retry_for=20)
    server.on_task("double", output=lambda payload: payload * 2, after=rng.uniform(0, 0.4))
    payloads = [rng.randint(0, 9) for _ in range(rng.choice([5, 30, 70]))]
    for _ in range(rng.randint(1, 5)):
        add_fault(server, rng)
    killed = batch("double", payloads=payloads)
    has_ended: list[bool] = []
    if rng.random() < 0.7:
        count = rng.randint(1, 20)
        kill_when(lambda: not has_ended and len(server.requests) >= count, killed.on_kill)
    run_try(killed)
    has_ended.append(True)
    again = run_try(batch("double", payloads=payloads, deferrable=deferrable), try_number=2)
    assert (again.error, again.output) == (None, [payload * 2 for payload in payloads])
    assert [server.runs[one].payload for one in again.pushed["run_id"]] == payloads
    statuses = Counter(run.status for run in server.runs.values())
    assert statuses["COMPLETED"] == len(payloads)
    assert set(statuses) <= {"COMPLETED", "CANCELED"}
