"""
Follow ends of runs under a random mix of faults and kills, in virtual time, and compare with the truth.

The feed, the client's exchange and the model of the server are the real ones; only sockets,
threads, and Airflow are replaced.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest
from fetched_hook import get_hook
from report import Report
from virtual_clock import Clock
from virtual_loop import VirtualLoop
from virtual_network import FAULTS, QUERY_PATH, Network, Outage, draw_rates
from virtual_triggerer import Triggerer, virtual_triggers

from airflow_provider_trigger.api.exchange import Reply, Send
from airflow_provider_trigger.defaults import CONN_ID
from airflow_provider_trigger.ends import EndFilter, Position, time_text
from airflow_provider_trigger.testing.engine.engine import Engine
from airflow_provider_trigger.testing.engine.runs import ServerRun
from airflow_provider_trigger.triggers.ends import follow_ends

MOST_REQUESTS = 32
"""In a minute: a poll each 2 s, and the looks at the connection."""

LATEST_DUPLICATE = 12.0
"""A second event of a run was first sent at most so many seconds before a kill."""

SECONDS = 300.0
DRAIN = 600.0
"""After all faults, at most."""

FINAL = ("COMPLETED", "COMPLETED", "COMPLETED", "FAILED", "CRASHED", "TIMED_OUT", "CANCELED", "EXPIRED")
FILTERS = (
    EndFilter(task_identifiers=("etl",)),
    EndFilter(task_identifiers=("etl", "it's"), statuses=("COMPLETED", "FAILED", "CANCELED")),
    EndFilter(tags=("a", "b"), statuses=("COMPLETED", "CRASHED", "TIMED_OUT", "EXPIRED")),
    EndFilter(tags=("b",), statuses=("CANCELED",)),
)


@dataclass(eq=False, kw_only=True)
class Watcher:
    """
    An AssetWatcher: its events arrive late, and its position is saved still later.

    :param stored: the position that another process begins with
    :param first: the position of the first start
    :param events: when which run's event has arrived; at most once in the same process
    """

    filter: EndFilter
    clock: Clock
    chance: random.Random
    stored: dict[str, Any] | None = None
    first: Position | None = None
    events: list[tuple[str, float]] = field(default_factory=list)
    kills: list[float] = field(default_factory=list)
    job: asyncio.Task[None] | None = None

    async def watch(self) -> None:
        saves: list[asyncio.Task[None]] = []
        arrived_at = 0.0
        try:
            settings = (await get_hook(CONN_ID)).settings
            position = Position.from_json(self.stored) if self.stored else None
            with follow_ends(settings, self.filter, position) as (feed, follower):
                while follower.position is None:
                    await feed.polled()
                if self.stored is None:
                    self.first = follower.position
                    self.stored = self.first.to_json()
                while True:
                    if follower.is_empty:
                        await feed.polled()
                    ended, position = follower.hand_over()
                    arrived_at = max(arrived_at, self.clock.now + self.chance.uniform(0.1, 4)) + 1e-6
                    run_ids = [run.id for run in ended]
                    saves.append(asyncio.create_task(self._arrive(run_ids, position.to_json(), arrived_at)))
                    await asyncio.sleep(2.0 if len(ended) == 50 else 0)
        finally:
            for task in saves:
                task.cancel()

    async def _arrive(self, run_ids: list[str], position: dict[str, Any], at: float) -> None:
        """Let events arrive in order, each batch before its position is saved."""
        sent_at = self.clock.now
        await asyncio.sleep(at - sent_at)
        self.events += [(run_id, sent_at) for run_id in run_ids]
        await asyncio.sleep(5.0)
        self.stored = position

    def start(self) -> None:
        self.job = asyncio.create_task(self.watch())

    async def kill(self) -> None:
        if self.job is not None and not self.job.done():
            self.kills.append(self.clock.now)
            self.job.cancel()
            await asyncio.gather(self.job, return_exceptions=True)

    def wants(self, run: ServerRun) -> bool:
        one = self.filter
        is_task = not one.task_identifiers or run.task_identifier in one.task_identifiers
        return is_task and set(one.tags) <= set(run.tags) and run.status in one.statuses


def follow_in_virtual_time(main: Coroutine[Any, Any, Any], network: Network, sent: list[float]) -> Any:
    """Run what follows ends; requests go to the network, and when each was sent is added to the list."""
    clock, to_network = network.clock, network.send

    def send(step: Send, answer: Callable[[Reply], None]) -> None:
        sent.append(clock.now)
        to_network(step, answer)

    triggerer = Triggerer(clock=clock, chance=network.chance, has_on_kill=True)
    with virtual_triggers(network, triggerer), pytest.MonkeyPatch.context() as patch:
        patch.setattr(network, "send", send)
        with asyncio.Runner(loop_factory=lambda: VirtualLoop(clock.monotonic, clock.advance)) as runner:
            return runner.run(main)


class EndsScenario:
    """One course of events, all of it drawn from a seed."""

    def __init__(self, seed: int, runs: int) -> None:
        self.seed, self.runs = seed, runs
        chance = self.chance = random.Random(seed)
        self.clock = Clock()
        skew = chance.choice([0.0, 0.0, 40.0, -40.0])
        self.longest_lag = chance.choice([4.6, 30.0, 30.0])
        self.engine = Engine(
            clock=lambda: self.clock.wall() + skew,
            rate_limit=chance.choice([None, 750, 100]),
            query_lag=0.0,
            list_lag=chance.choice([0.0, 1.5]),
        )
        faults = chance.sample(FAULTS, k=chance.randint(0, 4))
        self.network = Network(
            clock=self.clock,
            engine=self.engine,
            chance=chance,
            rates=draw_rates(faults, chance),
            latency=chance.choice([(0.02, 0.15), (0.05, 0.4)]),
            outages=self._outages(),
            broken_runs=set(),
            skew=skew,
        )
        self.watchers = [
            Watcher(filter=one, clock=self.clock, chance=chance)
            for one in chance.sample(FILTERS, k=chance.randint(1, len(FILTERS)))
        ]
        self.made: list[ServerRun] = []
        self.sent: list[float] = []
        self.used_up = self.engine.rate_limit is not None and chance.random() < 0.3
        self.violations: list[str] = []

    def _outages(self) -> list[Outage]:
        chance, found = self.chance, []
        for path, kinds in (
            ("/", ["503", "refused", "hang", "page"]),
            (QUERY_PATH, ["no database", "busy", "hang", "503"]),
        ):
            for _ in range(chance.choice([0, 0, 1, 2])):
                start = chance.uniform(1, SECONDS)
                end = start + chance.uniform(1, 90)
                found.append(Outage(start=start, end=end, kind=chance.choice(kinds), path=path))
        return found

    def play(self) -> Report:
        """Follow, and compare."""
        random.seed(self.seed)
        follow_in_virtual_time(self._happen(), self.network, self.sent)
        outcomes = self._compare()
        return Report(
            self.seed,
            self._describe(),
            self.clock.now,
            self.network.requests,
            outcomes,
            violations=self.violations,
        )

    async def _happen(self) -> None:
        chance = self.chance
        for _ in range(self.runs // 5):
            await self._add_run(0.0)  # before anyone watches
        await asyncio.sleep(60)
        for watcher in self.watchers:
            watcher.start()
        events = [self._live() for _ in range(self.runs)]
        if chance.random() < 0.7:
            events += [self._burst(chance.choice([60, 500])) for _ in range(chance.choice([1, 2]))]
        events += [self._restart() for _ in range(chance.choice([0, 1, 4, 12]))]
        events += [self._pause(one) for one in self.watchers if chance.random() < 0.3]
        if self.used_up:
            events.append(self._use_up())
        await asyncio.gather(*events)
        await asyncio.sleep(max(0.0, 60 + SECONDS - self.clock.now))
        await asyncio.sleep(20)  # something more would be too much
        while self.clock.now < SECONDS + DRAIN and any(self._missing(one) for one in self.watchers):
            await asyncio.sleep(20)
        for watcher in self.watchers:
            await watcher.kill()
        self._check_requests()

    async def _live(self) -> None:
        await self._add_run(self.chance.uniform(0, SECONDS))

    async def _burst(self, count: int) -> None:
        await asyncio.sleep(self.chance.uniform(0, SECONDS))
        await asyncio.gather(*(self._add_run(0.0, end="COMPLETED", ends_after=20.0) for _ in range(count)))

    async def _add_run(self, at: float, *, end: str = "", ends_after: float = 0.0) -> None:
        """Let a run live; the query shows its end with a lag of its own."""
        chance = self.chance
        await asyncio.sleep(at)
        end = end or chance.choice(FINAL)
        ends_after = ends_after or chance.choice([1, 5, 30, 200]) * chance.uniform(0.2, 1)
        starts = end != "EXPIRED" and (end != "CANCELED" or chance.random() < 0.5)
        run = self.engine.add_run(
            chance.choice(["QUEUED", "DELAYED"]),
            run_id=f"run_{chance.getrandbits(96):024x}",
            then=[(ends_after * chance.random(), "EXECUTING")] if starts else [],
            task_identifier=chance.choice(["etl", "etl", "it's", "other"]),
            tags=chance.choice([["a", "b"], ["b"], ["a"], []]),
            acknowledge_after=chance.choice([0.1, 5.0, None]),
            completes_despite_cancel=chance.random() < 0.2,
        )
        if end != "CANCELED":
            run.later(
                self.engine.time.now() + ends_after, lambda life, now: life.without_plan().moved(now, end)
            )
        self.made.append(run)
        asyncio.get_running_loop().create_task(self._replicate(run, ends_after, end))

    async def _replicate(self, run: ServerRun, ends_after: float, end: str) -> None:
        """Show the query nothing of an end, until its lag is over."""
        await asyncio.sleep(ends_after - 0.001)
        run.lost_since = self.engine.time.now()
        await asyncio.sleep(0.002)
        if end == "CANCELED":
            run.cancel()
        # As measured: median 1.7 s, 99th percentile 4.1 s, if it is not made longer.
        lag = min(self.chance.lognormvariate(0.53, 0.38), 4.6)
        worse = self.longest_lag > 4.6 and self.chance.random() < 0.3
        await asyncio.sleep(self.chance.uniform(0.5, self.longest_lag) + 0.5 if worse else lag)
        run.lost_since = float("inf")

    async def _restart(self) -> None:
        """Kill the triggerer."""
        await asyncio.sleep(self.chance.uniform(0, SECONDS))
        for watcher in self.watchers:
            await watcher.kill()
        self._check_requests()
        await asyncio.sleep(self.chance.choice([0.5, 10, 10, 100]) * self.chance.random())
        for watcher in self.watchers:
            if watcher.job is None or watcher.job.done():
                watcher.start()

    async def _pause(self, watcher: Watcher) -> None:
        await asyncio.sleep(self.chance.uniform(0, SECONDS / 2))
        await watcher.kill()
        await asyncio.sleep(self.chance.uniform(10, 300))
        if watcher.job is None or watcher.job.done():
            watcher.start()

    async def _use_up(self) -> None:
        await asyncio.sleep(self.chance.uniform(0, SECONDS))
        until = self.clock.now + self.chance.uniform(10, 60)
        while self.clock.now < until:
            self.engine.take_tokens(self.engine.take_tokens(0))
            await asyncio.sleep(0.2)

    # The comparison

    def _missing(self, watcher: Watcher) -> list[ServerRun]:
        """
        Return the runs that have ended since the watcher's first start, and that it has not heard of.

        The query shows no end of a run that was canceled before its start.
        """
        heard, first = {run_id for run_id, _ in watcher.events}, watcher.first
        ended = [run for run in self.made if run.finished_at and run.id not in heard and watcher.wants(run)]
        return [run for run in ended if first is None or time_text(run.finished_at) > first.start]

    def _check_requests(self) -> None:
        times = list(self.sent)
        self.sent.clear()
        for first, last in zip(times, times[MOST_REQUESTS:], strict=False):
            if last - first < 60:
                self.violations.append(f"{MOST_REQUESTS + 1} requests from {first:.1f} to {last:.1f} s")
                return

    def _compare(self) -> Counter[str]:
        outcomes = Counter[str]()
        for number, watcher in enumerate(self.watchers):
            for run in self._missing(watcher):
                outcomes["lost"] += 1
                self.violations.append(f"{run.id} {run.status}, {run.updated_at}, is lost to {number}")
            times: dict[str, list[float]] = {}
            for run_id, at in watcher.events:
                times.setdefault(run_id, []).append(at)
            for run_id, found in times.items():
                if not watcher.wants(self.engine.runs[run_id]):
                    self.violations.append(f"{run_id} is not wanted by {number}")
                outcomes["events"] += 1
                outcomes["duplicates"] += len(found) - 1
                self._check_duplicates(run_id, found, watcher.kills)
        return outcomes

    def _check_duplicates(self, run_id: str, times: list[float], kills: list[float]) -> None:
        for before, after in itertools.pairwise(times):
            between = [at for at in kills if before <= at <= after]
            if not between:
                self.violations.append(f"{run_id} twice without a kill: {before:.1f} and {after:.1f}")
            elif between[0] - before > LATEST_DUPLICATE:
                self.violations.append(f"{run_id} again, {between[0] - before:.1f} s before a kill")

    def _describe(self) -> str:
        network, engine = self.network, self.engine
        outages = [(round(one.start), round(one.end), one.kind, one.path) for one in network.outages]
        kills = [[round(at) for at in one.kills] for one in self.watchers]
        return (
            f"bucket={engine.rate_limit} lag={self.longest_lag} "
            f"used up={self.used_up} watchers={[FILTERS.index(one.filter) for one in self.watchers]} "
            f"kills={kills} outages={outages} {network.rates}"
        )
