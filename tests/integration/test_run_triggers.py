"""Many deferred runs in one triggerer: one client, one pace, and each result arrives whatever goes wrong."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from typing import Any

import pytest

from airflow_provider_trigger.api.client import TriggerDevClient
from airflow_provider_trigger.testing import TriggerDevServer
from airflow_provider_trigger.triggers import watch, watch_clients
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


@pytest.fixture
def made_clients(monkeypatch):
    made = []
    make = TriggerDevClient

    def make_client(*args, **options):
        made.append(make(*args, **options))
        return made[-1]

    monkeypatch.setattr(watch_clients, "TriggerDevClient", make_client)
    return made


def test_fifty_triggers_of_one_connection_share_a_client_and_a_pace(connect, made_clients):
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
        assert len(made_clients) == 3  # for queries, checks and what is urgent
        assert all(client._is_closed for client in made_clients)  # by the last user


def test_each_connection_has_a_client_of_its_own_and_each_loop(server, connect, made_clients):
    loops_of_others = set(watch._watches)  # of tests whose event loops are not collected yet
    server.on_task("resize", output=1)
    connect(conn_id="other", timeout=3)
    connect(conn_id="same")
    run_ids = start(server, 6)
    conn_ids = ["trigger_dev_default", "other", "same"] * 2
    connect()

    def wait():
        triggers = [
            TriggerDevRunTrigger(run_ids=[run_id], trigger_dev_conn_id=conn_id, wait={"poll_interval": 0.1})
            for run_id, conn_id in zip(run_ids, conn_ids, strict=True)
        ]
        return asyncio.run(events_of(triggers))

    assert {event["status"] for event in wait()} == {"COMPLETED"}
    of_one_loop = len(made_clients)
    assert of_one_loop == 3 * len(set(conn_ids))
    wait()
    assert len(made_clients) == 2 * of_one_loop
    assert not any(of_loop for loop, of_loop in watch._watches.items() if loop not in loops_of_others)


def test_a_trigger_that_is_canceled_leaves_the_client_to_the_others(server, connection, made_clients):
    server.on_task("resize", after=None)
    first, second = start(server, 2)

    def is_checked(run_id):
        return any(request.path.endswith(run_id) for request in list(server.requests))

    async def main():
        tasks = [
            asyncio.ensure_future(event_of(TriggerDevRunTrigger(run_ids=[one], wait={"poll_interval": 0.1})))
            for one in (first, second)
        ]
        while not (is_checked(first) and is_checked(second)):
            await asyncio.sleep(0.02)
        tasks[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await tasks[0]
        server.runs[second].status = "COMPLETED"
        return await tasks[1]

    assert asyncio.run(main())["status"] == "COMPLETED"
    assert len(made_clients) == 3
    assert server.runs[first].cancel_requests == 0


def test_a_kill_of_a_trigger_cancels_its_run(server, connection, said):
    server.on_task("resize", after=None)
    killed, kept, other = start(server, 3)

    async def main():
        await TriggerDevRunTrigger(run_ids=[killed]).on_kill()
        await TriggerDevRunTrigger(run_ids=[kept], wait={"cancels": False}).on_kill()

    asyncio.run(main())
    assert server.runs[killed].status == "CANCELED"
    assert server.runs[kept].cancel_requests == server.runs[other].cancel_requests == 0
    assert said.lines(f"Canceled run {killed}, because its task was ended")


def test_a_kill_while_the_server_is_down_says_that_the_run_may_be_alive(server, connect, said, short_cancels):
    connect(timeout=0.5, retry_for=0.5)
    server.on_task("resize", after=None)
    (run_id,) = start(server, 1)
    server.stop()
    asyncio.run(TriggerDevRunTrigger(run_ids=[run_id]).on_kill())
    assert said.lines(f"Run {run_id} may still be running")


def test_arguments_of_another_version_are_understood(server, connection):
    """An older trigger had fewer arguments; the database holds it across an upgrade."""
    server.on_task("resize", output=1)
    (run_id,) = start(server, 1)
    assert asyncio.run(event_of(TriggerDevRunTrigger(run_ids=[run_id])))["status"] == "COMPLETED"


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


@pytest.mark.parametrize("seed", [1, 2])
def test_a_random_mix_of_faults_ends_with_the_right_result_of_each_run(seed, connect, made_clients):
    chance = random.Random(seed)
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
        assert len(made_clients) == 3
