"""Cancel many runs under a random mix of faults, and check what is reported against the truth."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import suppress
from typing import Any

from scenario import Scenario

from airflow_provider_trigger.api.errors import AuthenticationError
from airflow_provider_trigger.cancel.outcome import CancelOutcome, CancelResult
from airflow_provider_trigger.cancel.record import CancelSettings
from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook

SLACK = 2.0
"""By how much a time limit may be exceeded, in seconds."""


class CancelScenario(Scenario):
    """One course of events, all of it drawn from a seed."""

    def draw_settings(self) -> dict[str, Any]:
        chance = self.chance
        limit, refill, interval = chance.choice([(750, 250, 10.0), (100, 60, 2.0), (60, 60, 2.0)])
        return {
            "rate_limit": chance.choice([None, limit, limit]),
            "refill": refill,
            "refill_interval": interval,
            "bulk_actions": chance.random() < 0.8,
            "bulk_lag": chance.choice([0.0, 0.0, 3.0]),
            "bulk_duration": chance.choice([None, 0.2, 2.0]),
            "bulk_rate": chance.choice([None, 20.0, 200.0]),
        }

    def happen(self) -> None:
        chance, world = self.chance, self.world
        waits = chance.random() < 0.25
        time_limit = None if waits or chance.random() < 0.5 else chance.uniform(5, 60)
        kill_after = chance.uniform(0.1, 30) if chance.random() < 0.3 else float("inf")
        ids = [self._add_run() for _ in range(self.runs)]
        world.sleep(5.0 if chance.random() < 0.5 else 0.0)  # some are triggered a moment ago
        if chance.random() < 0.4:
            kind = chance.choice(["503", "refused", "hang", "page"])
            world.network.outage(kind, after=chance.uniform(0, 10), seconds=chance.uniform(0.5, 8))
        self.broken = set(chance.sample(ids, k=min(5, len(ids))) if chance.random() < 0.3 else [])
        for run_id in self.broken:
            world.network.fault("500", run_id)
        self.draw_faults(most=6)
        world.network.latency = chance.choice([(0.005, 0.02), (0.02, 0.3)])
        settings = CancelSettings(
            max_concurrency=chance.choice([1, 8, 32, 32]),
            time_limit=time_limit,
            termination_timeout=90.0 if waits else None,
            poll_interval=2.0,
        )
        self.description = f"{settings} killed after {kill_after:.1f}"
        begun = world.now
        with (
            suppress(AuthenticationError),
            TriggerDevHook().cancellation(
                ids, settings, is_stopped=lambda: world.now >= begun + kill_after
            ) as work,
        ):
            work.run()
        took = world.now - begun
        limits = {"time limit": time_limit, "kill": kill_after}
        for name, seconds in limits.items():
            if seconds is not None and took > seconds + SLACK:
                self.violations.append(f"took {took:.1f} s with a {name} after {seconds:.1f} s")
        world.sleep(0.001)
        results, runs = work.results, world.server.runs
        self.outcomes = Counter(result.outcome.value for result in results)
        truth = {one: (runs[one].status, runs[one].terminated) if one in runs else None for one in ids}
        world.sleep(31)  # until each request that was sent is noted
        requested = self._requested()
        for result in results:
            if wrong := self._wrong(result, truth[result.run_id], requested, work.finished):
                self.violations.append(f"{result.run_id}: {wrong} ({result})")

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
        run = self.world.server.add_run(
            status,
            then=then,
            acknowledge_after=chance.choice([0.1, 1.0, 5.0, None]),
            completes_despite_cancel=chance.random() < 0.1,
        )
        return run.id

    def _requested(self) -> set[str]:
        """Return the runs whose cancel was sent."""
        found = set[str]()
        for sent in self.world.network.sent:
            if sent.request.endswith("/cancel"):
                found.add(sent.request.split("/")[-2])
            elif sent.request == "POST /api/v1/bulk-actions" and self.world.server.bulk_actions:
                found.update(json.loads(sent.body)["runIds"])
        return found

    def _wrong(
        self, result: CancelResult, truth: tuple[str, bool] | None, requested: set[str], is_finished: bool
    ) -> str | None:
        is_broken, has_failed = result.run_id in self.broken, result.outcome is CancelOutcome.FAILED
        if (result.outcome is CancelOutcome.NOT_FOUND) != (truth is None):
            may_fail = has_failed and truth is None and (is_broken or not is_finished)
            return None if may_fail else "exists and was not found, or the other way round"
        if truth is None:
            return None
        shown, is_terminated = truth
        if has_failed:
            if str(result.error).startswith("not sent") and result.run_id in requested:
                return "reported as not sent, and was sent"
            if is_finished and not is_broken and shown not in ("CANCELED", "COMPLETED", "EXPIRED"):
                return f"left {shown} though all its faults passed"
            return None
        if result.outcome is CancelOutcome.CANCELED:
            completed_meanwhile = not result.terminated and shown == "COMPLETED"
            if shown != "CANCELED" and not completed_meanwhile:
                return f"reported canceled, and is {shown}"
        elif shown not in (result.status, "CANCELED"):
            return f"reported {result.status}, and is {shown}"
        if result.terminated and not is_terminated:
            return f"reported terminated, and its worker has not stopped ({shown})"
        return None
