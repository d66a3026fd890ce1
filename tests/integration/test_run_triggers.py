"""Many deferred runs in one triggerer: one client, one pace, and each result arrives whatever goes wrong."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from typing import Any

from airflow_provider_trigger.testing import TriggerDevServer
from airflow_provider_trigger.triggers.run import TriggerDevRunTrigger

PACE: dict[str, Any] = {"rate_limit": 60, "refill": 40, "refill_interval": 1}


async def runs_of(trigger):
    """Return what a trigger's event says of its runs."""
    async for event in trigger.run():
        return event.payload["runs"]
    raise AssertionError("the trigger ended without an event")


async def event_of(trigger):
    [run] = await runs_of(trigger)
    return run


async def runs_of_each(triggers):
    return await asyncio.gather(*map(runs_of, triggers))


async def events_of(triggers):
    return await asyncio.gather(*map(event_of, triggers))


def start(server, count):
    """Start runs, and return their ids."""
    return [server.trigger("resize", payload=number)[0].id for number in range(count)]


def test_fifty_triggers_of_one_connection_share_a_pace(connect):
    with TriggerDevServer(**PACE) as server:
        connect(host=server.url)
        server.on_task("resize", output=1, after=3)
        run_ids = start(server, 50)
        events = asyncio.run(
            events_of([TriggerDevRunTrigger(run_ids=[one], wait={"poll_interval": 0.3}) for one in run_ids])
        )
        assert {event["status"] for event in events} == {"COMPLETED"}
        assert [event["run_id"] for event in events] == run_ids
        # With a pace for each, 50 checks every 0.3 s would use the bucket up in the first second.
        assert {request.status for request in server.requests} == {200}


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
