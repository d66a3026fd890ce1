"""Thousands of deferred runs in one triggerer: how soon an end is noticed, at what cost, how they stop."""

from __future__ import annotations

import asyncio
import json
import os
import random
import resource
import statistics
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from measures import Row
from remote_server import RemoteServer, remote_server

from airflow_provider_trigger.api.client import TriggerDevClient
from airflow_provider_trigger.api.errors import TriggerDevError
from airflow_provider_trigger.api.runs import retrieve_run
from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook
from airflow_provider_trigger.run.polled import check_interval
from airflow_provider_trigger.threads import in_thread
from airflow_provider_trigger.triggers.run import TriggerDevRunTrigger
from airflow_provider_trigger.triggers.watch import CHECK_CONCURRENCY

# The default rate limit of a server of one's own; the query lags behind as a real one was measured to do.
SERVER: dict[str, Any] = {
    "rate_limit": 750,
    "refill": 250,
    "refill_interval": 10,
    "latency": 0.02,
    "query_lag": 0.72,
}
DURATIONS = (20.0, 60.0)  # of the shortest run and the longest, in seconds

COUNTS = (1000, 5000)
COMPARED = (1000,)
ENDED_AT_ONCE = 1000
# Of the median, the 99th percentile, and the requests a minute.
_TARGETS = (2.0, 5.0, 150.0)
_EXPLAINED = (
    " deferred runs: from end to event, median and 99th percentile; requests a minute; 429s; processor; "
    "baseline: a check per run"
)
# So long the server may take to show that all of them have ended, in seconds.
LONGEST_STOP = 120.0


@dataclass
class Measured:
    """
    What waiting for many runs needed.

    :param delays: of each run, the seconds from its end to the trigger's event
    :param requests: in all
    :param rejected: of these, with 429
    :param cpu: the processor's seconds
    :param seconds: from the first wait to the last event
    """

    delays: list[float]
    requests: int
    rejected: int
    cpu: float
    seconds: float

    @property
    def median(self) -> float:
        """The median of the delays, in seconds."""
        return statistics.median(self.delays)

    @property
    def percentile_99(self) -> float:
        """The 99th percentile of the delays, in seconds."""
        return statistics.quantiles(self.delays, n=100)[98]

    @property
    def requests_per_minute(self) -> float:
        """The requests in a minute."""
        return self.requests / self.seconds * 60

    def __str__(self) -> str:
        return (
            f"{self.median:.1f} s, {self.percentile_99:.1f} s, {self.requests_per_minute:.0f}, "
            f"{self.rejected}, {self.cpu / self.seconds:.0%}"
        )


Way = Callable[[list[str], dict[str, float]], Coroutine[Any, Any, None]]


def many_waits() -> Iterator[Row]:
    """Compare with a check per run, in the intervals that one wait by itself has."""
    for count in COUNTS:
        own = _measure(_by_triggers, count)
        baseline = _measure(_by_one_check_each, count) if count in COMPARED else None
        yield _row(f"{count:,}{_EXPLAINED if count == COUNTS[0] else ''}", own, baseline)


def ends_of_many_tasks() -> Iterator[Row]:
    """Measure how long runs go on whose tasks are ended at once, with an empty bucket."""
    seconds = _stop_all(ENDED_AT_ONCE)
    yield Row(
        f"{ENDED_AT_ONCE:,} deferred tasks ended at once, bucket empty: until no run is alive",
        f"{seconds:.0f} s",
        "",
        "",
        "<= 30 s",
        seconds <= 30,
    )


def _row(what: str, own: Measured, baseline: Measured | None) -> Row:
    median, percentile, per_minute = _TARGETS
    met = own.median <= median and own.percentile_99 <= percentile
    return Row(
        what,
        str(own),
        str(baseline) if baseline else "",
        f"{baseline.percentile_99 / own.percentile_99:.1f}" if baseline else "",
        f"<= {median:g} s, {percentile:g} s, {per_minute:g}, 0",
        met and own.requests_per_minute <= per_minute and not own.rejected,
    )


async def _by_triggers(run_ids: list[str], heard: dict[str, float]) -> None:
    async def wait(run_id: str) -> None:
        async for _ in TriggerDevRunTrigger(run_ids=[run_id]).run():
            heard[run_id] = time.time()

    await asyncio.gather(*map(wait, run_ids))


async def _by_one_check_each(run_ids: list[str], heard: dict[str, float]) -> None:
    in_flight = asyncio.Semaphore(CHECK_CONCURRENCY)

    async def wait(run_id: str, client: TriggerDevClient) -> None:
        age, check = 0.0, partial(client.call, retrieve_run(run_id), patience=0)
        while True:
            try:
                async with in_flight:
                    run = await in_thread(check)
            except TriggerDevError:
                pass  # the next check shows it
            else:
                age = run.age
                if run.is_final:
                    heard[run_id] = time.time()
                    return
            await asyncio.sleep(check_interval(age))

    with TriggerDevClient(TriggerDevHook().settings) as client:
        await asyncio.gather(*(wait(run_id, client) for run_id in run_ids))


def _measure(way: Way, count: int, **server: Any) -> Measured:
    chance = random.Random(count)
    heard: dict[str, float] = {}
    with connected_server(**server) as remote:
        run_ids = remote.add_runs_that_end([chance.uniform(*DURATIONS) for _ in range(count)])
        remote.requests()
        cpu, begun = time.process_time(), time.monotonic()
        asyncio.run(way(run_ids, heard))
        cpu, seconds = time.process_time() - cpu, time.monotonic() - begun
        ended = {run_id: at for run_id, _, _, at in remote.runs()}
        requests = remote.requests()
    return Measured(
        delays=[heard[run_id] - ended[run_id] for run_id in run_ids],
        requests=len(requests),
        rejected=sum(status == 429 for _, _, status, _ in requests),
        cpu=cpu,
        seconds=seconds,
    )


def _stop_all(count: int) -> float:
    """End all tasks of deferred runs; return how long the last run was alive, in seconds."""
    with connected_server() as remote:
        triggers = [TriggerDevRunTrigger(run_ids=[run_id]) for run_id in remote.add_runs(count)]

        async def wait(trigger: TriggerDevRunTrigger) -> None:
            async for _ in trigger.run():
                pass

        async def main() -> float:
            waits = [asyncio.ensure_future(wait(trigger)) for trigger in triggers]
            await asyncio.sleep(10)
            remote.take_tokens(SERVER["rate_limit"])
            begun = time.monotonic()
            for one in waits:
                one.cancel()
            killing = asyncio.gather(*(trigger.on_kill() for trigger in triggers))
            while remote.statuses().get("EXECUTING") and time.monotonic() - begun < LONGEST_STOP:
                await asyncio.sleep(0.2)
            seconds = time.monotonic() - begun
            await killing
            return seconds

        return asyncio.run(main())


@contextmanager
def connected_server(**options: Any) -> Iterator[RemoteServer]:
    """
    Start a server in another process, with the default connection to it.

    :param options: of the server, in place of those of ``SERVER``
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # the baseline opens many sockets
    with remote_server(**SERVER | options) as remote:
        connection = {"conn_type": "trigger_dev", "host": remote.url, "password": remote.secret_key}
        os.environ["AIRFLOW_CONN_TRIGGER_DEV_DEFAULT"] = json.dumps(connection)
        yield remote
