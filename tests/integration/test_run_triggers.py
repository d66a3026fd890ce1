"""Many deferred runs in one triggerer: one client, and each result arrives whatever goes wrong."""

from __future__ import annotations

import asyncio
import random
import threading
import time

from airflow_provider_trigger.testing import TriggerDevServer
from airflow_provider_trigger.triggers.run import TriggerDevRunTrigger


async def runs_of(trigger):
    """Return what a trigger's event says of its runs."""
    async for event in trigger.run():
        return event.payload["runs"]
    raise AssertionError("the trigger ended without an event")


async def runs_of_each(triggers):
    return await asyncio.gather(*map(runs_of, triggers))


FAULTS = [
    lambda server: server.fail_next(3, 500, path="/api/v3/runs/"),
    lambda server: server.fail_next(3, 502, path="/api/v3/runs/", body="<h1>Bad gateway</h1>"),
    lambda server: server.fail_next(2, 404, path="/api/v3/runs/"),
    lambda server: server.fail_next(2, 401, path="/api/v3/runs/"),
    lambda server: server.rate_limit_next(2, 0.5, path="/api/v3/runs/"),
    lambda server: server.hang_next(2, path="/api/v3/runs/"),
    lambda server: server.disconnect_next(3, path="/api/v3/runs/"),
    lambda server: server.truncate_next(2, path="/api/v3/runs/"),
    lambda server: server.malformed_next(3, path="/api/v3/runs/"),
    lambda server: server.malformed_next(2, "[]", "application/json", path="/api/v3/runs/"),
    lambda server: server.redirect_next(2, path="/api/v3/runs/"),
    lambda server: server.oversize_next(1, 70_000_000, path="/api/v3/runs/"),
    lambda server: server.delay_next(3, 0.4, path="/api/v3/runs/"),
    lambda server: server.take_tokens(200),
]


def test_a_random_mix_of_faults_ends_with_the_right_result_of_each_run(connect):
    chance = random.Random(1)
    ends = ["COMPLETED", "COMPLETED", "COMPLETED", "FAILED", "TIMED_OUT"]
    with TriggerDevServer(rate_limit=200, refill=80, refill_interval=1) as server:
        connect(host=server.url, timeout=0.5, retry_for=20)
        runs = []
        for number in range(30):
            end, after = chance.choice(ends), chance.uniform(0.5, 5)
            server.on_task(
                f"task_{number}",
                output=number,
                after=after,
                error="boom" if end == "FAILED" else None,
                crash="MAX_DURATION_EXCEEDED" if end == "TIMED_OUT" else None,
            )
            runs.append((server.trigger(f"task_{number}")[0], end))
        stopped = threading.Event()

        def spoil():
            until = time.monotonic() + 6
            while time.monotonic() < until and not stopped.wait(chance.uniform(0.1, 0.4)):
                if chance.random() < 0.1:
                    server.stop()
                    time.sleep(chance.uniform(0.2, 0.8))
                    server.start()
                else:
                    chance.choice(FAULTS)(server)
            server.clear_faults()

        thread = threading.Thread(target=spoil)
        thread.start()
        triggers = [TriggerDevRunTrigger(run_ids=[run.id], wait={"poll_interval": 0.2}) for run, _ in runs]
        of_all = TriggerDevRunTrigger(run_ids=[run.id for run, _ in runs], wait={"cancels": False})
        try:
            *events, all_runs = asyncio.run(runs_of_each([*triggers, of_all]))
        finally:
            stopped.set()
            thread.join()
        for [event], (run, end) in zip(events, runs, strict=True):
            assert (event["run_id"], event["end"], event["status"]) == (run.id, "final", end), event
        assert [one["status"] for one in all_runs] == [end for _, end in runs]
        assert [run.cancel_requests for run, _ in runs] == [0] * 30
