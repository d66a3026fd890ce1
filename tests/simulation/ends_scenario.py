"""Follow ends of runs under a random mix of faults and kills, and compare what was sent with the truth."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

from scenario import Scenario
from watcher import Watcher, supervised

from airflow_provider_trigger.testing import ServerRun

MOST_REQUESTS = 32
"""In a minute: a poll each 2 s, and the looks at the connection."""

LATEST_DUPLICATE = 72.0
"""A second event of a run was first stored at most so many seconds before a kill."""

SECONDS = 300.0
DRAIN = 600.0
"""After all faults, at most."""

FINAL = ("COMPLETED", "COMPLETED", "COMPLETED", "FAILED", "CRASHED", "TIMED_OUT", "CANCELED", "EXPIRED")
FILTERS: tuple[dict[str, Any], ...] = (
    {"task_identifiers": "etl"},
    {"task_identifiers": ["etl", "it's"], "statuses": ["COMPLETED", "FAILED", "CANCELED"]},
    {"tags": ["a", "b"], "statuses": ["COMPLETED", "CRASHED", "TIMED_OUT", "EXPIRED"]},
    {"tags": "b", "statuses": "CANCELED"},
)


def to_ms(time: str) -> str:
    """Return the text of a time in UTC up to its milliseconds."""
    return time[:23]


class EndsScenario(Scenario):
    """One course of events, all of it drawn from a seed."""

    def draw_settings(self) -> dict[str, Any]:
        chance = self.chance
        self.longest_lag = chance.choice([4.6, 30.0, 30.0])
        limit, list_lag = chance.choice([None, 750, 100]), chance.choice([0.0, 1.5])
        return {"rate_limit": limit, "query_lag": 0.0, "list_lag": list_lag}

    def happen(self) -> None:
        with supervised():
            self._happen_supervised()

    def _happen_supervised(self) -> None:
        chance, world = self.chance, self.world
        self._draw_outages()
        self.draw_faults(most=4)
        world.network.latency = chance.choice([(0.02, 0.15), (0.05, 0.4)])
        filters = chance.sample(FILTERS, k=chance.randint(1, len(FILTERS)))
        self.watchers = [Watcher(world, name=f"watcher {n}", **one) for n, one in enumerate(filters)]
        self.made: list[ServerRun] = []
        works: list[Callable[[], None]] = [partial(self._live, 0.0)] * (self.runs // 5)
        works += [partial(self._live, 60 + chance.uniform(0, SECONDS)) for _ in range(self.runs)]
        for _ in range(chance.choice([0, 1, 2])):
            burst = partial(self._live, 60 + chance.uniform(0, SECONDS), end="COMPLETED", ends_after=20.0)
            works += [burst] * chance.choice([60, 500])
        works += [self._restart] * chance.choice([0, 1, 4, 12])
        works += [partial(self._pause, one) for one in self.watchers if chance.random() < 0.3]
        if world.server.rate_limit is not None and chance.random() < 0.3:
            works.append(partial(self.use_up, *self.span(10, 60, latest=SECONDS)))
        threads = self.begin(works)
        world.sleep(60 - world.now)
        for watcher in self.watchers:
            watcher.start()
        for thread in threads:
            thread.join()
        world.sleep(max(0.0, 60 + SECONDS - world.now) + 20)  # something more would be too much
        while world.now < SECONDS + DRAIN and any(self._missing(one) for one in self.watchers):
            world.sleep(20)
        for watcher in self.watchers:
            watcher.kill()
        self._compare()
        self.description = f"lag={self.longest_lag} {filters} kills={[one.kills for one in self.watchers]}"

    def _draw_outages(self) -> None:
        chance = self.chance
        for part, kinds in (
            ("", ["503", "refused", "hang", "page"]),
            ("/api/v1/query", ["no database", "busy", "hang", "503"]),
        ):
            for _ in range(chance.choice([0, 0, 1, 2])):
                start, end = self.span(1, 90, latest=SECONDS)
                self.world.network.fault(chance.choice(kinds), part, start=1060 + start, end=1060 + end)

    def _live(self, at: float, *, end: str = "", ends_after: float = 0.0) -> None:
        """Let a run live; the query shows its end with a lag of its own."""
        chance, world = self.chance, self.world
        world.sleep(at)
        end = end or chance.choice(FINAL)
        ends_after = ends_after or chance.choice([1, 5, 30, 200]) * chance.uniform(0.2, 1)
        starts = end != "EXPIRED" and (end != "CANCELED" or chance.random() < 0.5)
        run = world.server.add_run(
            chance.choice(["QUEUED", "DELAYED"]),
            run_id=f"run_{chance.getrandbits(96):024x}",
            then=[(ends_after * chance.random(), "EXECUTING")] if starts else [],
            task_identifier=chance.choice(["etl", "etl", "it's", "other"]),
            tags=chance.choice([["a", "b"], ["b"], ["a"], []]),
            acknowledge_after=chance.choice([0.1, 5.0, None]),
            completes_despite_cancel=chance.random() < 0.2,
        )
        self.made.append(run)
        world.sleep(ends_after)
        run.lost_since = world.server.time.now()
        if end == "CANCELED":
            run.cancel()
        else:
            run.status = end
        # As measured: median 1.7 s, 99th percentile 4.1 s, if it is not made longer.
        lag = min(chance.lognormvariate(0.53, 0.38), 4.6)
        is_worse = self.longest_lag > 4.6 and chance.random() < 0.3
        world.sleep(chance.uniform(0.5, self.longest_lag) + 0.5 if is_worse else lag)
        run.lost_since = float("inf")

    def _restart(self) -> None:
        """Kill the triggerer."""
        chance, world = self.chance, self.world
        world.sleep(60 + chance.uniform(0, SECONDS))
        for watcher in self.watchers:
            watcher.kill()
        world.sleep(chance.choice([0.5, 10, 10, 100]) * chance.random())
        for watcher in self.watchers:
            watcher.start()

    def _pause(self, watcher: Watcher) -> None:
        self.world.sleep(60 + self.chance.uniform(0, SECONDS / 2))
        watcher.kill()
        self.world.sleep(self.chance.uniform(10, 300))
        watcher.start()

    # The comparison

    def _wants(self, watcher: Watcher, run: ServerRun) -> bool:
        trigger = watcher.trigger
        is_task = trigger.task_identifiers is None or run.task_identifier in trigger.task_identifiers
        return is_task and set(trigger.tags or ()) <= set(run.tags) and run.status in trigger.statuses

    def _missing(self, watcher: Watcher) -> list[ServerRun]:
        """
        Return the runs that have ended since the watcher's first start, and that it has not heard of.

        One that was canceled before its start has no time of its end, and the query does not show it.
        """
        heard, begun = {run_id for _, run_id in watcher.events}, watcher.begins_at
        ended = [run for run in self.made if run.finished_at and run.id not in heard]
        late = [run for run in ended if begun is None or to_ms(run.finished_at.isoformat()) > to_ms(begun)]
        return [run for run in late if self._wants(watcher, run)]

    def _compare(self) -> None:
        times = sorted(sent.at - 1000 for sent in self.world.network.sent)
        kills = sorted(at for one in self.watchers for at in one.kills)
        for first, last in zip(times, times[MOST_REQUESTS:], strict=False):
            if last - first < 60 and not any(first <= at <= last for at in kills):
                self.violations.append(f"{MOST_REQUESTS + 1} requests from {first:.1f} to {last:.1f} s")
                break
        for number, watcher in enumerate(self.watchers):
            for run in self._missing(watcher):
                self.outcomes["lost"] += 1
                self.violations.append(f"{run.id} {run.status}, {run.finished_at}, is lost to {number}")
            found: dict[str, list[float]] = {}
            for at, run_id in watcher.events:
                found.setdefault(run_id, []).append(at)
            for run_id, stored in found.items():
                if not self._wants(watcher, self.world.server.runs[run_id]):
                    self.violations.append(f"{run_id} is not wanted by {number}")
                self.outcomes["events"] += 1
                self.outcomes["duplicates"] += len(stored) - 1
                self._check_duplicates(run_id, stored, watcher.kills)

    def _check_duplicates(self, run_id: str, times: list[float], kills: list[float]) -> None:
        for before, after in itertools.pairwise(times):
            between = [at for at in kills if before <= at <= after]
            if not between:
                self.violations.append(f"{run_id} twice without a kill: {before:.1f} and {after:.1f}")
            elif between[0] - before > LATEST_DUPLICATE:
                self.violations.append(f"{run_id} again, {between[0] - before:.1f} s before a kill")
