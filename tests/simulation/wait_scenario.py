"""Wait in a triggerer for many runs under a random mix of faults, and compare with the truth."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
from airflow_task import Task
from hub import START, replace_names
from scenario import Scenario

from airflow_provider_trigger import _compat
from airflow_provider_trigger._compat import BaseOperator
from airflow_provider_trigger.triggers.run import TriggerDevRunTrigger

MOST_REJECTED = 40
"""
How many requests the rate limit may reject: those in flight when it is used up, as each client has a pace.
"""

LATEST = 60.0
"""How long after its run's end a wait may last, in seconds, while no fault lasts."""

LATEST_IF_LOST = 90.0
"""The same where the query has lost the end, in seconds; while it works, 1 s more for each run."""

TIME_LIMIT = 120.0
"""How long the runs of a task that was ended are canceled, in seconds."""

SECONDS_OF_WAITS = 400.0
ENDS = ("COMPLETED", "COMPLETED", "COMPLETED", "FAILED", "CRASHED", "TIMED_OUT", "SYSTEM_FAILURE", "CANCELED")
QUERY = "/api/v1/query"


class Waits(BaseOperator):
    """Defer until runs have ended, and return the trigger's event."""

    def __init__(self, *, run_ids: list[str], settings: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.run_ids, self.settings = run_ids, settings

    def execute(self, context: Any) -> None:
        trigger = TriggerDevRunTrigger(run_ids=self.run_ids, wait=self.settings)
        self.defer(trigger=trigger, method_name="resume")

    def resume(self, context: Any, event: Any) -> Any:
        return event


@dataclass(eq=False, kw_only=True)
class Planned:
    """
    A task that waits for runs. Times are in seconds of the world.

    :param starts_at: when it starts them and waits
    :param ends_after: when each of its runs ends after that
    :param kill_at: when it is ended from outside, infinite for never
    :param latest: how long after the end of its runs it may wait while no fault lasts
    :param ends: the last status of each run
    :param ended_at: when it was resumed, or ended from outside
    """

    starts_at: float
    ends_after: list[float]
    kill_at: float
    latest: float = LATEST
    ends: list[str] = field(default_factory=list)
    run_ids: list[str] = field(default_factory=list)
    task: Task | None = None
    was_killed: bool = False
    ended_at: float | None = None


class WaitScenario(Scenario):
    """One course of events, all of it drawn from a seed."""

    def draw_settings(self) -> dict[str, Any]:
        chance = self.chance
        limit, refill, interval = chance.choice([(750, 250, 10.0), (750, 250, 10.0), (100, 60, 2.0)])
        return {
            "rate_limit": chance.choice([None, limit, limit, limit]),
            "refill": refill,
            "refill_interval": interval,
            "query": chance.random() < 0.85,
            "query_lag": chance.uniform(0.7, 1.2),
            "bulk_actions": chance.random() < 0.8,
            "bulk_lag": chance.choice([0.0, 3.0]),
            "bulk_duration": chance.choice([None, 0.2, 2.0]),
        }

    def happen(self) -> None:
        chance = self.chance
        self.has_on_kill = chance.random() < 0.6
        share = chance.choice([0.0, 0.1, 0.3])
        all_killed_at = chance.uniform(5, 200) if chance.random() < 0.15 else float("inf")
        self.loses = chance.choice(["nothing", "nothing", "some ends", "ends without a database"])
        self.settings = {"poll_interval": chance.choice([None, None, None, 10.0])}
        longest = [SECONDS_OF_WAITS] if chance.random() < 0.1 else [20, 20, 120, SECONDS_OF_WAITS]
        self._draw_outages()
        self.draw_faults(most=6)
        self.world.network.latency = chance.choice([(0.005, 0.02), (0.02, 0.3)])
        self.planned = [self._plan(share, all_killed_at, longest) for _ in range(self.runs)]
        restarts = sorted(chance.uniform(10, 300) for _ in range(chance.choice([0, 0, 1, 2])))
        used_up = self.span(5, 40) if self.world.server.rate_limit and chance.random() < 0.25 else None
        self.blind += [(at, at + 15) for at in restarts] + ([used_up] if used_up else [])
        self.description = f"{self.has_on_kill=} {restarts=} {all_killed_at=:.0f} {used_up=}"
        self.is_up = True  # the triggerer
        works = [partial(self._live, one) for one in self.planned]
        works += [partial(self._restart, at) for at in restarts]
        works += [partial(self.use_up, *used_up)] if used_up else []
        with pytest.MonkeyPatch.context() as patch:
            new = {id(_compat.triggers_have_on_kill): lambda: self.has_on_kill}
            replace_names(new, ("airflow_provider_trigger",), patch)
            for thread in self.begin(works):
                thread.join(max(0.1, SECONDS_OF_WAITS + 600 - self.world.now))
            self.world.sleep(TIME_LIMIT + 240)
        for one in self.planned:
            self.outcomes["killed" if one.was_killed else "event"] += 1
            self.violations += self._broken(one)
        rejected = [at - 1000 for at in self.world.network.rejected_at]
        self.rejected = sum(not (used_up and used_up[0] <= at <= used_up[1] + 11) for at in rejected)
        kinds = {one.kind for one in self.world.network.faults}
        # Pages show no rate limit, and so make a client forget it.
        if self.rejected > MOST_REJECTED and "page" not in kinds:
            self.violations.append(f"the rate limit has rejected {self.rejected} requests")

    def _draw_outages(self) -> None:
        chance, network = self.chance, self.world.network
        self.blind: list[tuple[float, float]] = []
        """From when until when nothing can be noticed."""
        self.without_database: list[tuple[float, float]] = []
        for _ in range(chance.choice([0, 0, 1, 1, 2])):
            start, end = self.span(1, 60)
            kind = chance.choice(["503", "refused", "hang", "page"])
            network.outage(kind, after=start, seconds=end - start)
            self.blind.append((start, end))
        for _ in range(chance.choice([0, 0, 1, 2, 4])):
            start, end = self.span(1, 120)
            kind = chance.choice(["no database", "busy", "hang", "503", "lost"])
            network.fault(kind, QUERY, start=1000 + start, end=1000 + end)
            self.without_database += [(start, end)] if kind == "no database" else []

    def _plan(self, killed: float, all_killed_at: float, longest: list[float]) -> Planned:
        chance = self.chance
        count, seconds = chance.choice([1] * 12 + [2, 5]), chance.choice(longest)
        starts_at = chance.uniform(0, 30)
        killed_at = starts_at + chance.uniform(0, chance.choice([2, 150]))
        is_killed = chance.random() < killed
        return Planned(
            starts_at=starts_at,
            ends_after=[chance.uniform(0.5, seconds) for _ in range(count)],
            kill_at=min(killed_at if is_killed else float("inf"), max(starts_at + 0.01, all_killed_at)),
        )

    def _live(self, one: Planned) -> None:
        world = self.world
        world.sleep(one.starts_at)
        one.run_ids = [self._start_run(one, ends_after) for ends_after in one.ends_after]
        name = f"wait_{one.run_ids[0]}"
        task = one.task = world.task(lambda: Waits(task_id=name, run_ids=one.run_ids, settings=self.settings))
        task.begin()
        if one.kill_at < float("inf"):
            task.join(one.kill_at - world.now)
            # Without a triggerer, it is not noticed.
            world.until(lambda: task.outcome.result or (self.is_up and task.is_deferred), within=1000)
            if not task.outcome.result:
                one.was_killed = True
                task.stop()
        task.join()
        one.ended_at = world.now

    def _start_run(self, planned: Planned, ends_after: float) -> str:
        chance, server = self.chance, self.world.server
        then = [(chance.uniform(0, ends_after), "EXECUTING")]
        if chance.random() < 0.1:
            then += [(chance.uniform(then[0][0], ends_after), status) for status in ("QUEUED", "EXECUTING")]
        end = "EXPIRED" if chance.random() < 0.05 else chance.choice(ENDS)
        run = server.add_run(
            "QUEUED",
            then=[*(sorted(then) if end != "EXPIRED" else []), (ends_after, end)],
            acknowledge_after=chance.choice([0.1, 1.0, 5.0, None]),
            completes_despite_cancel=chance.random() < 0.1,
        )
        planned.ends.append(end)
        if latest := self._lost_for(self.world.now + ends_after):
            run.lost_since = server.time.now() + ends_after - 0.001
            planned.latest = max(planned.latest, latest)
        return run.id

    def _lost_for(self, at: float) -> float:
        """Return how long an end may not be noticed, in seconds; 0 if the query does not lose it."""
        if self.loses == "some ends" and self.chance.random() < 0.03:
            ages = [(at - one.starts_at, end) for one in self.planned for end in one.ends_after]
            return LATEST_IF_LOST + sum(0 <= age <= end for age, end in ages)
        is_without = any(start + 10 < at < end for start, end in self.without_database)
        is_lost = self.loses == "ends without a database" and is_without
        return LATEST_IF_LOST if is_lost and self.chance.random() < 0.5 else 0.0

    def _restart(self, at: float) -> None:
        """Stop the triggerer, and run all its triggers again in another one."""
        self.world.sleep(at)
        if self.is_up:
            self.is_up = False
            self.world.triggerer.stop()
            self.world.sleep(self.chance.uniform(0.1, 14))
            self.world.triggerer.start()
            self.is_up = True

    # What each task is promised

    def _broken(self, one: Planned) -> list[str]:
        assert one.task is not None
        outcome, runs = one.task.outcome, self.world.server.runs
        if one.was_killed:
            assert one.ended_at is not None
            until = self._end_of_faults(one.ended_at, TIME_LIMIT) + TIME_LIMIT
            states = {run_id: runs[run_id].state_at(self._server_time(until)) for run_id in one.run_ids}
            left = {run_id: state and state.status for run_id, state in states.items()}
            alive = [run_id for run_id, state in states.items() if not (state and state.final)]
            return [
                f"{run_id}, whose task ended at {one.ended_at:.1f}, is {left[run_id]}" for run_id in alive
            ]
        if one.ended_at is None:
            return [f"{one.run_ids} waited for in vain: {one.ends_after}"]
        if outcome.state != "success":
            return [f"{one.run_ids} raised {outcome.error!r}"]
        if any(runs[run_id].cancel_requests for run_id in one.run_ids):
            return [f"{one.run_ids} canceled, although its task was not ended"]
        wrong = []
        for run, end in zip(outcome.result["runs"], one.ends, strict=True):
            state = runs[run["run_id"]].state_at(self._server_time(one.ended_at))
            if run["end"] != "final" or run["status"] != end or not state or not state.final:
                wrong.append(f"{run} at {one.ended_at:.1f}, ends as {end}, is {state and state.status}")
        end_at = one.starts_at + max(one.ends_after)
        late = one.ended_at - self._end_of_faults(end_at, one.latest, *self._hung(one.run_ids))
        if late > one.latest:
            wrong.append(f"{one.run_ids} end at {end_at:.1f}, noticed at {one.ended_at:.1f}")
        return wrong

    def _hung(self, run_ids: list[str]) -> list[tuple[float, float]]:
        """Return from when until when a check of these runs may have had no answer."""
        paths = {f"GET /api/v3/runs/{run_id}" for run_id in run_ids}
        sent = [one for one in self.world.network.sent if one.status is None and one.request in paths]
        return [(one.at - 1000, one.at - 1000 + 30) for one in sent]

    def _end_of_faults(self, at: float, seconds: float, *spans: tuple[float, float]) -> float:
        """Return the end of faults that begin in some seconds, and of those that follow them."""
        for start, end in sorted([*self.blind, *spans]):
            if start < at + seconds and end > at:
                at = end
        return at

    def _server_time(self, at: float) -> float:
        return START + at + self.skew
