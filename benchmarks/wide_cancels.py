"""Cancels of more runs than are named: of a whole tree, and of all runs with a tag."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

from many_waits import connected_server
from measures import CONCURRENCY, Row

from airflow_provider_trigger.cancel.record import CancelSettings
from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook

RUNS = 40
CHILDREN = 3  # of each run: 40 runs are a root and 3 levels below it
ACKNOWLEDGED_AFTER = 3.0  # as a worker was measured to do
TAGGED, OTHERS = 1200, 300
LONGEST = 120.0


def trees() -> Iterator[Row]:
    """Compare with a cancel of the root alone, which the server passes on level by level."""
    own, baseline = _cancel_tree(include_descendants=True), _cancel_tree(include_descendants=False)
    yield Row(
        f"a tree of {RUNS} runs: until all are CANCELED; baseline: a cancel of its root alone",
        f"{own:.1f} s",
        f"{baseline:.1f} s",
        f"{baseline / own:.1f}",
        "<= 5 s",
        own <= 5,
    )


def tags() -> Iterator[Row]:
    """Cancel the runs of a tag, within the default rate limit."""
    with connected_server() as server:
        server.add_runs(TAGGED, tags=["mine", "nightly"])
        server.add_runs(OTHERS, tags=["nightly"])
        begun = time.monotonic()
        results = TriggerDevHook().cancel_runs(tags=["mine"], max_runs=TAGGED)
        seconds, requests = time.monotonic() - begun, server.requests()
        canceled = server.statuses().get("CANCELED", 0)
    yield Row(
        f"{TAGGED:,} runs of a tag, among {TAGGED + OTHERS:,}",
        f"{seconds:.1f} s, {len(requests):,} requests, {canceled:,} canceled, "
        f"{sum(status == 429 for _, _, status, _ in requests)} rejected",
        "",
        "",
        f"{TAGGED:,} canceled, 0 rejected",
        canceled == TAGGED == len(results) and all(status != 429 for _, _, status, _ in requests),
    )


def _cancel_tree(*, include_descendants: bool) -> float:
    """Cancel a tree; return the seconds until none of its runs is alive."""
    settings = CancelSettings(max_concurrency=CONCURRENCY, include_descendants=include_descendants)
    with connected_server() as server:
        [root, *_] = server.add_tree(RUNS, children=CHILDREN, acknowledge_after=ACKNOWLEDGED_AFTER)
        time.sleep(2.0)  # until the query shows them
        with TriggerDevHook().cancellation([root], settings) as work:
            canceling = threading.Thread(target=work.run)
            begun = time.monotonic()
            canceling.start()
            while server.statuses().get("CANCELED") != RUNS and time.monotonic() - begun < LONGEST:
                time.sleep(0.05)
            seconds = time.monotonic() - begun
            canceling.join()
        return seconds
