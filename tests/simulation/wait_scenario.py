"""
Wait in a triggerer for many runs under a random mix of faults, in virtual time, and compare with the truth.

Triggers, waits, the watch and its pace, cancels and the client's exchange are the real ones, and so is the
model of the server; only sockets, threads and Airflow itself are replaced.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter

from report import Report
from virtual_clock import Clock
from virtual_loop import VirtualLoop
from virtual_network import FAULTS, QUERY_PATH, Network, Outage, draw_rates
from virtual_triggerer import Deferred, Triggerer, virtual_triggers
from wait_promises import LATEST_IF_LOST, Planned, Promises

from airflow_provider_trigger.cancel.cancellation import TIME_LIMIT
from airflow_provider_trigger.run.waited import WaitSettings
from airflow_provider_trigger.testing.engine.engine import Engine
from airflow_provider_trigger.triggers.run import TriggerDevRunTrigger

MOST_REJECTED = 40
"""
How many requests the rate limit may reject: those in flight when it is used up, as each client has a pace.
"""

SECONDS_OF_WAITS = 400.0
ENDS = ("COMPLETED", "COMPLETED", "COMPLETED", "FAILED", "CRASHED", "TIMED_OUT", "SYSTEM_FAILURE", "CANCELED")


class WaitScenario:
    """One course of events, all of it drawn from a seed."""

    def __init__(self, seed: int, runs: int) -> None:
        self.seed = seed
        chance = self.chance = random.Random(seed)
        self.clock = Clock()
        self.skew = chance.choice([0.0, 0.0, 40.0, -40.0])
        limit, refill, interval = chance.choice([(750, 250, 10.0), (750, 250, 10.0), (100, 60, 2.0)])
        self.engine = Engine(
            clock=lambda: self.clock.wall() + self.skew,
            rate_limit=chance.choice([None, limit, limit, limit]),
            refill=refill,
            refill_interval=interval,
            query=chance.random() < 0.85,
            query_lag=chance.uniform(0.7, 1.2),
            bulk_actions=chance.random() < 0.8,
            bulk_lag=chance.choice([0.0, 3.0]),
            bulk_duration=chance.choice([None, 0.2, 2.0]),
        )
        has_on_kill = chance.random() < 0.6
        self.triggerer = Triggerer(clock=self.clock, chance=chance, has_on_kill=has_on_kill)
        faults = chance.sample(FAULTS, k=chance.randint(0, 6))
        self.network = Network(
            clock=self.clock,
            engine=self.engine,
            chance=chance,
            rates=draw_rates(faults, chance),
            latency=chance.choice([(0.005, 0.02), (0.02, 0.3)]),
            outages=self._outages(),
            broken_runs=set(),
            skew=self.skew,
        )
        share = chance.choice([0.0, 0.1, 0.3])
        self.all_killed_at = chance.uniform(5, 200) if chance.random() < 0.15 else float("inf")
        self.loses = chance.choice(["nothing", "nothing", "some ends", "ends without a database"])
        self.all_are_long = chance.random() < 0.1
        poll_interval = chance.choice([None, None, None, 10.0])
        self.planned = [self._plan(killed=share, poll_interval=poll_interval) for _ in range(runs)]
        self.restarts = sorted(chance.uniform(10, 300) for _ in range(chance.choice([0, 0, 1, 2])))
        self.used_up = self._span(5, 40) if self.engine.rate_limit and chance.random() < 0.25 else None

    def _span(self, shortest: float, longest: float) -> tuple[float, float]:
        start = self.chance.uniform(0, 250)
        return start, start + self.chance.uniform(shortest, longest)

    def _outages(self) -> list[Outage]:
        chance, found = self.chance, []
        for _ in range(chance.choice([0, 0, 1, 1, 2])):
            start, end = self._span(1, 60)
            found.append(Outage(start=start, end=end, kind=chance.choice(["503", "refused", "hang", "page"])))
        for _ in range(chance.choice([0, 0, 1, 2, 4])):
            start, end = self._span(1, 120)
            kind = chance.choice(["no database", "busy", "hang", "503", "disconnect"])
            found.append(Outage(start=start, end=end, kind=kind, path=QUERY_PATH))
        return found

    def _plan(self, *, killed: float, poll_interval: float | None) -> Planned:
        chance = self.chance
        count = chance.choice([1] * 12 + [2, 5])
        longest = chance.choice([SECONDS_OF_WAITS] if self.all_are_long else [20, 20, 120, SECONDS_OF_WAITS])
        starts_at = chance.uniform(0, 30)
        # Also before the trigger has its connection.
        killed_at = starts_at + chance.uniform(0, chance.choice([2, 150]))
        is_killed = chance.random() < killed
        return Planned(
            starts_at=starts_at,
            ends_after=[chance.uniform(0.5, longest) for _ in range(count)],
            kill_at=min(killed_at if is_killed else float("inf"), max(starts_at + 0.01, self.all_killed_at)),
            settings=WaitSettings(poll_interval=poll_interval),
        )

    def play(self) -> Report:
        """Wait for the runs, and compare."""
        random.seed(self.seed)  # for the jitter of the backoff
        with (
            virtual_triggers(self.network, self.triggerer),
            asyncio.Runner(
                loop_factory=lambda: VirtualLoop(self.clock.monotonic, self.clock.advance)
            ) as runner,
        ):
            runner.run(self._happen())
        tasks = [one.task for one in self.planned if one.task]
        report = Report(
            self.seed,
            self._describe(),
            self.clock.now,
            self.network.requests,
            Counter("killed" if task.killed_at is not None else "event" for task in tasks),
        )
        promises = Promises(self.network, self._faults())
        for planned in self.planned:
            report.violations += promises.broken(planned)
        report.rejected = rejected = sum(
            not (self.used_up and self.used_up[0] <= at <= self.used_up[1] + 11)
            for at in self.network.rejected_at
        )
        if rejected > MOST_REJECTED and not self._has_pages():
            report.violations.append(f"the rate limit has rejected {rejected} requests")
        return report

    def _has_pages(self) -> bool:
        """Return whether pages come, which show no rate limit and so make a client forget it."""
        return "page" in self.network.rates or any(one.kind == "page" for one in self.network.outages)

    async def _happen(self) -> None:
        events = [self._live(planned) for planned in self.planned]
        events += [self._restart(at) for at in self.restarts]
        if self.used_up:
            events.append(self._use_up(*self.used_up))
        await asyncio.gather(*events)
        tasks = self.triggerer.tasks
        until = SECONDS_OF_WAITS + 600
        while any(task.is_deferred for task in tasks) and self.clock.now < until:
            await asyncio.sleep(1)
        await asyncio.sleep(TIME_LIMIT + 240)

    async def _live(self, planned: Planned) -> None:
        await asyncio.sleep(planned.starts_at)
        run_ids = [self._start_run(planned, number) for number in range(len(planned.ends_after))]
        trigger = TriggerDevRunTrigger(run_ids=run_ids, wait=planned.settings.to_json())
        planned.task = Deferred(run_ids=run_ids, trigger=trigger)
        self.triggerer.defer(planned.task)
        if planned.kill_at < float("inf"):
            await asyncio.sleep(planned.kill_at - self.clock.now)
            await self.triggerer.kill(planned.task)

    def _start_run(self, planned: Planned, number: int) -> str:
        chance, ends_after = self.chance, planned.ends_after[number]
        then = [(chance.uniform(0, ends_after), "EXECUTING")]
        if chance.random() < 0.1:
            then += [(chance.uniform(then[0][0], ends_after), status) for status in ("QUEUED", "EXECUTING")]
        end = "EXPIRED" if chance.random() < 0.05 else chance.choice(ENDS)
        if end == "EXPIRED":
            then = []
        then = [*sorted(then), (ends_after, end)]
        run = self.engine.add_run(
            "QUEUED",
            run_id=f"run_{len(self.engine.runs):04}",
            then=then,
            acknowledge_after=chance.choice([0.1, 1.0, 5.0, None]),
            completes_despite_cancel=chance.random() < 0.1,
        )
        planned.ends.append(end)
        if latest := self._lost_for(self.clock.now + ends_after):
            run.lost_since = self.engine.time.now() + ends_after - 0.001
            planned.latest = max(planned.latest, latest)
        return run.id

    def _lost_for(self, at: float) -> float:
        """Return how long an end may not be noticed, in seconds; 0 if the query does not lose it."""
        if self.loses == "some ends" and self.chance.random() < 0.03:
            ages = [(at - one.starts_at, end) for one in self.planned for end in one.ends_after]
            return LATEST_IF_LOST + sum(0 <= age <= end for age, end in ages)
        without_database = any(
            one.start + 10 < at < one.end for one in self.network.outages if one.kind == "no database"
        )
        is_lost = self.loses == "ends without a database" and without_database
        return LATEST_IF_LOST if is_lost and self.chance.random() < 0.5 else 0.0

    async def _restart(self, at: float) -> None:
        await asyncio.sleep(at)
        await self.triggerer.restart(after=self.chance.uniform(0.1, 15))

    async def _use_up(self, start: float, end: float) -> None:
        """Let another user of the key take all tokens for a while."""
        await asyncio.sleep(start)
        while self.clock.now < end:
            self.engine.take_tokens(self.engine.take_tokens(0))
            await asyncio.sleep(0.2)

    def _describe(self) -> str:
        network, engine = self.network, self.engine
        faults = " ".join(f"{name}={rate:.0%}" for name, rate in network.rates.items())
        outages = [
            (round(one.start), round(one.end), one.kind + ("" if one.path == "/" else " (query)"))
            for one in network.outages
        ]
        return (
            f"bucket={engine.rate_limit} query={engine.query} skew={self.skew} "
            f"on_kill={self.triggerer.has_on_kill} restarts={[round(at) for at in self.restarts]} "
            f"all killed={self.all_killed_at:.0f} "
            f"loses={self.loses} all long={self.all_are_long} "
            f"used up={self.used_up} outages={outages} {faults}"
        )

    def _faults(self) -> list[tuple[float, float]]:
        """Return from when until when nothing can be noticed."""
        found = [(one.start, one.end) for one in self.network.outages if one.path == "/"]
        return found + [(at, at + 15) for at in self.restarts] + ([self.used_up] if self.used_up else [])
