"""
What becomes of runs when their task ends: each cell of ``docs/endings.json``, on this Airflow.

Tasks that wait for Trigger.dev runs are ended in every way. What counts is the local server's record. What
the table says of a run holds for all of a batch.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from whole_airflow.airflow import WholeAirflow
from whole_airflow.processes import wait_until
from whole_airflow.state import State, runs_of
from whole_airflow.versions import RETRIES_KILLED_TASKS, TRIES_CLEARED_TASKS_AGAIN, in_this_airflow

from airflow_provider_trigger.testing import ServerRun, TriggerDevServer

EVENTS: dict[str, Any] = json.loads((Path(__file__).parents[2] / "docs" / "endings.json").read_text())[
    "events"
]
MODES = ("running", "deferred")

# The items of a task, each of which has a run; those of a batch are more than two requests start, and enough
# for a bulk action.
PAYLOADS = {"single": range(1), "batch": range(45)}
# The others would show nothing more of a batch, and each takes its time.
_OF_RUNNING_BATCHES = (
    "execution_timeout",
    "timeout",
    "marked_failed",
    "dag_run_marked_failed",
    "cleared",
    "process_killed",
)
CASES = [
    (kind, event, mode)
    for kind in PAYLOADS
    for event in EVENTS
    for mode in MODES
    if EVENTS[event][mode] and (kind == "single" or mode == "deferred" or event in _OF_RUNNING_BATCHES)
]

CANCELED = "canceled"

# How many tasks run side by side: Airflow is configured for no more than eight.
_RUNNING_AT_A_TIME = 6
# When the rate limit's bucket is full again, in seconds.
_REFILLED_AFTER = 5
# How long runs must be left alone to count as left alone, in seconds.
_QUIET = 12


class Ending:
    """One task, with one run or a batch, that ends in one way while it is running or deferred."""

    def __init__(
        self, airflow: WholeAirflow, server: TriggerDevServer, state: State, kind: str, event: str, mode: str
    ) -> None:
        self.airflow, self.server, self.state = airflow, server, state
        self.kind, self.event, self.mode = kind, event, mode
        self.payloads = list(PAYLOADS[kind])
        self.dag_id, self.run_id = f"end_{kind}_{event}_{mode}", f"{kind}{event}{mode}".replace("_", "")
        self.expected = in_this_airflow(EVENTS[event][mode])
        self.error: Exception | None = None
        self.seen = ""
        self._checks_before = 0
        self._quiet_until = 0.0

    @property
    def runs(self) -> list[ServerRun]:
        """Its runs on the server, the first ones first."""
        return runs_of(self.server, self.dag_id)

    def has_runs(self, times: int = 1) -> bool:
        """Return whether there are so many runs of each item, and no other ones."""
        items = Counter(str(run.payload) for run in self.runs)
        return items == Counter({str(payload): times for payload in self.payloads})

    @property
    def is_tried_again(self) -> bool:
        """Whether this Airflow has another try for a task that was cleared, or whose process was killed."""
        if self.mode == "deferred":
            return True
        return RETRIES_KILLED_TASKS if self.event == "process_killed" else TRIES_CLEARED_TASKS_AGAIN

    def start(self) -> None:
        self.airflow.api.trigger(self.dag_id, self.run_id, {"payloads": self.payloads})

    def wait_for_runs(self) -> None:
        """Wait until it waits for its runs, or its trigger does."""
        wait_until(self.has_runs, timeout=90, what=lambda: f"the runs of {self.dag_id}: {self._describe()}")
        if self.event not in ("execution_timeout", "timeout", "no_version", "kept_timeout"):
            self.airflow.api.wait_for_task(self.dag_id, self.run_id, "work", self.mode)
            self._checks_before = self._checks

    def wait_for_trigger(self) -> None:
        """Wait until a triggerer has taken up its trigger: before that, nothing can cancel the runs."""
        if self.mode == "deferred":
            wait_until(
                lambda: self._checks > self._checks_before, timeout=90, what=f"the trigger of {self.dag_id}"
            )

    @property
    def _checks(self) -> int:
        """How often the status of its first run was checked, alone or by a query for many runs."""
        path, quoted = f"/api/v3/runs/{self.runs[0].id}", self.runs[0].id.encode()
        requests = list(self.server.requests)
        return sum(
            request.path == path or (request.path == "/api/v1/query" and quoted in request.body)
            for request in requests
        )

    @property
    def first_cancel(self) -> str:
        """The path of the request that cancels its runs first, where the triggerer does."""
        return "/api/v1/bulk-actions" if self.kind == "batch" else f"/{self.runs[0].id}/cancel"

    def cause(self) -> None:
        if self.event == "process_killed":
            self.state.kill(self.run_id)
        self.airflow.end_task(self.event.removeprefix("kept_"), self.dag_id, self.run_id)

    def observe(self) -> None:
        """Wait until it is clear what became of its first runs."""
        first_runs = self.runs[: len(self.payloads)]
        if self.expected == CANCELED:
            wait_until(
                lambda: {run.status for run in first_runs} == {"CANCELED"},
                timeout=120,
                what=lambda: f"a cancel after {self.dag_id}: {self._describe()}",
            )
            again = self.event == "cleared" and self.is_tried_again
            if again:
                wait_until(
                    lambda: self.has_runs(2),
                    timeout=400,
                    what=lambda: f"further runs of {self.dag_id}: {self._describe()}",
                )
            self.seen = CANCELED if self.has_runs(2 if again else 1) else self._describe()
            return
        if self.event in ("process_killed", "kept_cleared") and self.is_tried_again:
            self.state.wait_for_start(self.run_id, attempt=2, timeout=400)
            self.airflow.api.wait_for_task(self.dag_id, self.run_id, "work", self.mode)
        self._quiet_until = time.monotonic() + _QUIET

    def conclude(self) -> None:
        """Decide whether its runs were left alone, after a while in which nothing happened to them."""
        if not self.seen:
            time.sleep(max(0.0, self._quiet_until - time.monotonic()))
            canceled = any(run.cancel_requests or run.status == "CANCELED" for run in self.runs)
            alone = self.has_runs() and not canceled
            self.seen = self.expected if alone else self._describe()

    def _describe(self) -> str:
        runs = self.runs
        counts = ", ".join(f"{count} {status}" for status, count in Counter(r.status for r in runs).items())
        return f"{len(runs)} runs of {len(self.payloads)} items ({counts})"

    def finish(self) -> None:
        """Let the task go, so that it holds no slot."""
        self.airflow.api.mark_dag_run(self.dag_id, self.run_id, "failed")


class Observation:
    """What became of the runs of each task."""

    def __init__(self, airflow: WholeAirflow, server: TriggerDevServer, state: State) -> None:
        self.airflow, self.server = airflow, server
        server.on_task("never", after=None, acknowledge_after=0.2)
        server.unknown_task("unknown")
        self.endings = {case: Ending(airflow, server, state, *case) for case in CASES}

    def observe(self) -> None:
        """Make all events happen; what goes wrong with one is kept for its own test."""
        endings = list(self.endings.values())
        of_triggerer = [ending for ending in endings if ending.event.startswith("triggerer")]
        running = [ending for ending in endings if ending.mode == "running"]
        deferred = [ending for ending in endings if ending.mode == "deferred" and ending not in of_triggerer]
        while running:
            self._observe(running[:_RUNNING_AT_A_TIME])
            del running[:_RUNNING_AT_A_TIME]
        self._observe(deferred)
        self._observe_triggerer(of_triggerer)

    def _observe(self, endings: Sequence[Ending]) -> None:
        # The tasks wait side by side, but the triggerer gets no cancels of both kinds at once: it would put
        # all of them into the bulk action of a batch.
        kinds = [[ending for ending in endings if ending.kind == kind] for kind in PAYLOADS]
        for of_kind in kinds:
            self._do(of_kind, Ending.start, Ending.wait_for_runs, Ending.wait_for_trigger)
        for of_kind in kinds:
            self._use_up_rate_limit(of_kind)
            self._do(of_kind, Ending.cause, Ending.observe)
        self._do(endings, Ending.conclude, Ending.finish)

    def _use_up_rate_limit(self, endings: Iterable[Ending]) -> None:
        """Let the first cancel of each deferred task with one run, and that of all batches, meet it."""
        deferred = [ending for ending in endings if ending.mode == "deferred" and ending.error is None]
        for path in {ending.first_cancel for ending in deferred}:
            self.server.rate_limit_next(1, reset_after=_REFILLED_AFTER, path=path, method="POST")

    def _observe_triggerer(self, endings: Sequence[Ending]) -> None:
        self._do(endings, Ending.start, Ending.wait_for_runs, Ending.wait_for_trigger)
        for process in self.airflow.triggerers:
            process.stop(timeout=30)
            process.start()
        self.airflow.wait_until_healthy()
        time.sleep(_QUIET)
        for process in self.airflow.triggerers:
            process.kill()
            process.start()
        self.airflow.wait_until_healthy()
        self._do(endings, Ending.observe, Ending.conclude, Ending.finish)

    def _do(self, endings: Iterable[Ending], *steps: Callable[[Ending], None]) -> None:
        for step in steps:
            for ending in [ending for ending in endings if ending.error is None]:
                try:
                    step(ending)
                except Exception as error:
                    ending.error = error


@pytest.fixture(scope="module")
def observation(airflow: WholeAirflow, server: TriggerDevServer, state: State) -> Observation:
    """Return what was seen when every task had ended."""
    observation = Observation(airflow, server, state)
    observation.observe()
    return observation


@pytest.mark.parametrize(("kind", "event", "mode"), CASES, ids=map("-".join, CASES))
def test_ending(observation: Observation, kind: str, event: str, mode: str) -> None:
    ending = observation.endings[kind, event, mode]
    if ending.error:
        raise ending.error
    assert ending.seen == ending.expected


def test_deferred_tasks_have_met_the_rate_limit(observation: Observation, server: TriggerDevServer) -> None:
    limited = {request.path.split("/")[-1] for request in server.requests if request.status == 429}
    assert limited == {"cancel", "bulk-actions"}
