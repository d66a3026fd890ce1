"""
Cancel many runs under a random mix of faults, in virtual time, and check what is reported against the truth.

The rounds, the client's retries, pacing and circuit breaker are the real ones, and so is the model of the
server; only sockets and threads are replaced.
"""

from __future__ import annotations

import random
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from report import Report
from virtual_clock import Clock
from virtual_crew import virtual_crews
from virtual_network import FAULTS, Network, Outage, draw_rates

from airflow_provider_trigger.api.client import TriggerDevClient
from airflow_provider_trigger.api.errors import AuthenticationError
from airflow_provider_trigger.api.http import ServerSettings
from airflow_provider_trigger.cancel.cancellation import Cancellation
from airflow_provider_trigger.cancel.outcome import CancelOutcome, CancelResult
from airflow_provider_trigger.cancel.record import CancelSettings
from airflow_provider_trigger.testing.engine.engine import Engine

SLACK = 2.0
"""By how much a time limit may be exceeded, in seconds."""


@dataclass
class CancelScenario:
    """One course of events, all of it drawn from a seed."""

    seed: int
    runs: int

    def __post_init__(self) -> None:
        chance = self.chance = random.Random(self.seed)
        self.clock = Clock()
        self.skew = chance.choice([0.0, 0.0, 40.0, -40.0])
        limit, refill, interval = chance.choice([(750, 250, 10.0), (100, 60, 2.0), (60, 60, 2.0)])
        self.engine = Engine(
            clock=lambda: self.clock.wall() + self.skew,
            rate_limit=chance.choice([None, limit, limit]),
            refill=refill,
            refill_interval=interval,
            bulk_actions=chance.random() < 0.8,
            bulk_lag=chance.choice([0.0, 0.0, 3.0]),
            bulk_duration=chance.choice([None, 0.2, 2.0]),
            bulk_rate=chance.choice([None, 20.0, 200.0]),
        )
        self.waits = chance.random() < 0.25
        self.time_limit = None if self.waits or chance.random() < 0.5 else chance.uniform(5, 60)
        self.kill_at = chance.uniform(0.1, 30) if chance.random() < 0.3 else float("inf")
        self.concurrency = chance.choice([1, 8, 32, 32])
        self.ids = [self._add_run() for _ in range(self.runs)]
        self.clock.now += 5.0 if chance.random() < 0.5 else 0.0  # some are triggered a moment ago
        faults = chance.sample(FAULTS, k=chance.randint(0, 6))
        outages = []
        if chance.random() < 0.4:
            start = self.clock.now + chance.uniform(0, 10)
            kind = chance.choice(["503", "refused", "hang", "page"])
            outages.append(Outage(start=start, end=start + chance.uniform(0.5, 8), kind=kind))
        broken = chance.sample(self.ids, k=min(5, len(self.ids))) if chance.random() < 0.3 else []
        self.network = Network(
            clock=self.clock,
            engine=self.engine,
            chance=chance,
            rates=draw_rates(faults, chance),
            latency=chance.choice([(0.005, 0.02), (0.02, 0.3)]),
            outages=outages,
            broken_runs=set(broken),
            skew=self.skew,
        )

    def _add_run(self) -> str:
        chance = self.chance
        if chance.random() < 0.02:
            return f"run_unknown{chance.randrange(10**9)}"
        status = chance.choice(
            ["EXECUTING", "EXECUTING", "QUEUED", "WAITING", "DELAYED", "COMPLETED", "EXPIRED"]
        )
        then: list[tuple[float, str]] = []
        if status in ("QUEUED", "WAITING", "EXECUTING") and chance.random() < 0.3:
            start = chance.uniform(0, 20)
            then = [(start, "EXECUTING"), (start + chance.uniform(0, 20), "COMPLETED")]
        run = self.engine.add_run(
            status,
            then=then,
            acknowledge_after=chance.choice([0.1, 1.0, 5.0, None]),
            completes_despite_cancel=chance.random() < 0.1,
        )
        return run.id

    def play(self) -> Report:
        """Cancel the runs, and compare."""
        random.seed(self.seed)  # for the jitter of the backoff
        begun = self.clock.now
        server = ServerSettings(
            base_url="https://trigger.test",
            secret_key=self.engine.secret_key,
            user_agent="simulation/1",
            timeout=30.0,
            retry_for=120.0,
        )
        client = TriggerDevClient(server)
        client.exchange.monotonic, client.exchange.wall = self.clock.monotonic, self.clock.wall
        settings = CancelSettings(
            max_concurrency=self.concurrency,
            time_limit=self.time_limit,
            termination_timeout=90.0 if self.waits else None,
            poll_interval=2.0,
        )
        kill_at = begun + self.kill_at
        stopped: Any = {"is_stopped": lambda: self.clock.now >= kill_at}
        work = Cancellation(client, self.ids, settings, **stopped)
        with virtual_crews(self.network, self.clock), suppress(AuthenticationError):
            work.run()
        ended, results = self.clock.now, work.results
        report = Report(
            self.seed,
            self._describe(),
            ended - begun,
            self.network.requests,
            Counter(result.outcome.value for result in results),
        )
        report.violations += self._late(ended - begun)
        self._let_in_flight_arrive()
        for result in results:
            if wrong := self._wrong(result, work.finished):
                report.violations.append(f"{result.run_id}: {wrong} ({result})")
        return report

    def _describe(self) -> str:
        network, engine = self.network, self.engine
        faults = " ".join(f"{name}={rate:.0%}" for name, rate in network.rates.items())
        return (
            f"limit={self.time_limit} kill={self.kill_at:.1f} waits={self.waits} threads={self.concurrency} "
            f"bucket={engine.rate_limit} "
            f"bulk={engine.bulk_actions}/{engine.bulk_duration}/{engine.bulk_rate} "
            f"outages={[(round(one.start), round(one.end), one.kind) for one in network.outages]} {faults}"
        )

    def _late(self, duration: float) -> list[str]:
        if self.time_limit is not None and duration > self.time_limit + SLACK:
            return [f"took {duration:.1f} s with a time limit of {self.time_limit:.1f} s"]
        if duration > self.kill_at + SLACK:
            return [f"took {duration:.1f} s though killed after {self.kill_at:.1f} s"]
        return []

    def _let_in_flight_arrive(self) -> None:
        """Let requests in flight, and workers that acknowledge, come to their end."""
        until = self.clock.now + 0.001
        while self.clock.next(until=until):
            pass

    def _wrong(self, result: CancelResult, is_finished: bool) -> str | None:
        run = self.engine.runs.get(result.run_id)
        is_broken = result.run_id in self.network.broken_runs
        if (result.outcome is CancelOutcome.NOT_FOUND) != (run is None):
            may_fail = result.outcome is CancelOutcome.FAILED and (is_broken or not is_finished)
            return None if may_fail and run is None else "exists and was not found, or the other way round"
        if run is None:
            return None
        if result.outcome is CancelOutcome.FAILED:
            return self._wrong_failure(result, is_finished)
        shown = run.status
        if result.outcome is CancelOutcome.CANCELED:
            completed_meanwhile = not result.terminated and shown == "COMPLETED"
            if shown != "CANCELED" and not completed_meanwhile:
                return f"reported canceled, and is {shown}"
        elif shown != result.status and shown != "CANCELED":
            return f"reported {result.status}, and is {shown}"
        if result.terminated and not run.terminated:
            return f"reported terminated, and its worker has not stopped ({shown})"
        return None

    def _wrong_failure(self, result: CancelResult, is_finished: bool) -> str | None:
        run = self.engine.runs[result.run_id]
        if str(result.error).startswith("not sent") and self.network.requested[result.run_id]:
            return "reported as not sent, and was sent"
        passing = result.run_id not in self.network.broken_runs
        if is_finished and passing and run.status not in ("CANCELED", "COMPLETED", "EXPIRED"):
            return f"left {run.status} though all its faults passed"
        return None
