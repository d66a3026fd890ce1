"""
End tasks that wait for a Trigger.dev run in every way of ``docs/endings.json``, and see what becomes of it.

What counts is the local Trigger.dev server's record.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from whole_airflow.airflow import WholeAirflow
from whole_airflow.processes import wait_until
from whole_airflow.state import State
from whole_airflow.versions import AIRFLOW, RETRIES_KILLED_TASKS, TRIES_CLEARED_TASKS_AGAIN

from airflow_provider_trigger.testing import ServerRun, TriggerDevServer

EVENTS: dict[str, Any] = json.loads((Path(__file__).parents[2] / "docs" / "endings.json").read_text())[
    "events"
]
MODES = ("running", "deferred")

CANCELED, CONTINUES, LEFT = "canceled", "continues", "left"

# How many tasks run side by side: Airflow is configured for no more than eight.
_RUNNING_AT_A_TIME = 6
# When the rate limit's bucket is full again, in seconds.
_REFILLED_AFTER = 5
# How long a run must be left alone to count as left alone, in seconds.
_QUIET = 12


def expected(event: str, mode: str, version: tuple[int, ...]) -> str:
    """Return what the table says for a version of Airflow."""
    cell = EVENTS[event][mode]
    return cell if isinstance(cell, str) else str(cell.get("{}.{}".format(*version), cell["otherwise"]))


class Ending:
    """
    One task that ends in one way.

    :param event: which way
    :param mode: ``running`` or ``deferred``
    """

    def __init__(self, airflow: WholeAirflow, server: TriggerDevServer, state: State, event: str, mode: str):
        self.airflow, self.server, self.state = airflow, server, state
        self.event, self.mode = event, mode
        self.dag_id, self.run_id = f"end_{event}_{mode}", f"{event}_{mode}".replace("_", "")
        self.error: Exception | None = None
        self.seen = ""
        self._quiet_until = 0.0

    @property
    def runs(self) -> list[ServerRun]:
        """Its runs on the server, the first one first."""
        return [run for run in list(self.server.runs.values()) if f"airflow_dag:{self.dag_id}" in run.tags]

    @property
    def is_tried_again(self) -> bool:
        """Whether this Airflow has another try for a task that was cleared, or whose process was killed."""
        if self.mode == "deferred":
            return True
        return RETRIES_KILLED_TASKS if self.event == "process_killed" else TRIES_CLEARED_TASKS_AGAIN

    def start(self) -> None:
        """Start it, and wait until it waits for its run."""
        self.airflow.api.trigger(self.dag_id, self.run_id)

    def wait_for_run(self) -> None:
        """Wait until it waits for its run."""
        wait_until(lambda: self.runs, timeout=90, what=f"a run of {self.dag_id}")
        if self.event not in ("execution_timeout", "timeout", "no_version", "kept_timeout"):
            self.airflow.api.wait_for_task(self.dag_id, self.run_id, "work", self.mode)
            if self.mode == "deferred":
                self._wait_for_trigger()

    def _wait_for_trigger(self) -> None:
        """Wait until a triggerer has taken up its trigger: before that, nothing can cancel the run."""
        before = self._checks
        wait_until(lambda: self._checks > before, timeout=90, what=f"the trigger of {self.dag_id}")

    @property
    def _checks(self) -> int:
        """How often the status of its run was checked."""
        path = f"/api/v3/runs/{self.runs[0].id}"
        return sum(request.path == path for request in list(self.server.requests))

    def cause(self) -> None:
        """End the task; where it is deferred, the first cancel of its run finds the rate limit used up."""
        if self.mode == "deferred":
            self.server.rate_limit_next(1, reset_after=_REFILLED_AFTER, path=f"/{self.runs[0].id}/cancel")
        cause = getattr(self, f"_cause_{self.event.removeprefix('kept_')}", None)
        if cause is not None:
            cause()

    def _cause_marked_failed(self) -> None:
        self.airflow.api.mark_task(self.dag_id, self.run_id, "work", "failed")

    def _cause_marked_success(self) -> None:
        self.airflow.api.mark_task(self.dag_id, self.run_id, "work", "success")

    def _cause_dag_run_marked_failed(self) -> None:
        self.airflow.api.mark_dag_run(self.dag_id, self.run_id, "failed")

    def _cause_cleared(self) -> None:
        self.airflow.clear(self.dag_id, self.run_id, "work")

    def _cause_process_killed(self) -> None:
        started = self.state.wait_for_start(self.run_id)
        assert {started.pid, started.parent} <= set(self.airflow.pids())
        os.kill(started.pid, signal.SIGKILL)

    def observe(self) -> None:
        """Wait until it is clear what became of its first run."""
        first = self.runs[0]
        what = expected(self.event, self.mode, AIRFLOW)
        if what == CANCELED:
            wait_until(lambda: first.status == "CANCELED", timeout=120, what=f"a cancel after {self.dag_id}")
            self.seen = CANCELED
            if self.event == "cleared" and self.is_tried_again:
                wait_until(lambda: len(self.runs) == 2, timeout=400, what=f"a second run of {self.dag_id}")
            return
        if self.event in ("process_killed", "kept_cleared") and self.is_tried_again:
            self.state.wait_for_start(self.run_id, attempt=2, timeout=400)
            self.airflow.api.wait_for_task(self.dag_id, self.run_id, "work", self.mode)
        self._quiet_until = time.monotonic() + _QUIET

    def conclude(self) -> None:
        """Decide whether its run was left alone, after a while in which nothing happened to it."""
        if not self.seen:
            time.sleep(max(0.0, self._quiet_until - time.monotonic()))
            alone = self.runs[0].cancel_requests == 0 and len(self.runs) == 1
            self.seen = expected(self.event, self.mode, AIRFLOW) if alone else CANCELED

    def finish(self) -> None:
        """Let the task go, so that it holds no slot."""
        self.airflow.api.mark_dag_run(self.dag_id, self.run_id, "failed")


_STEPS = (
    Ending.start,
    Ending.wait_for_run,
    Ending.cause,
    Ending.observe,
    Ending.conclude,
    Ending.finish,
)


class Observation:
    """
    What became of the run of each task.

    :param airflow: a whole Airflow with the Dags of ``ending_dags.py``
    :param server: the server that its connection names
    :param state: what its tasks write
    """

    def __init__(self, airflow: WholeAirflow, server: TriggerDevServer, state: State) -> None:
        self.airflow = airflow
        server.on_task("never", after=None, acknowledge_after=0.2)
        server.unknown_task("unknown")
        self._endings = {
            (event, mode): Ending(airflow, server, state, event, mode)
            for event in EVENTS
            for mode in MODES
            if EVENTS[event][mode]
        }

    def observe(self) -> None:
        """Make all events happen; what goes wrong with one is kept for its own test."""
        endings = list(self._endings.values())
        of_triggerer = [ending for ending in endings if ending.event.startswith("triggerer")]
        running = [ending for ending in endings if ending.mode == "running"]
        deferred = [ending for ending in endings if ending.mode == "deferred" and ending not in of_triggerer]
        while running:
            self._observe(running[:_RUNNING_AT_A_TIME])
            del running[:_RUNNING_AT_A_TIME]
        self._observe(deferred)
        self._observe_triggerer(of_triggerer)

    def seen(self, event: str, mode: str) -> str:
        """Return what became of a run."""
        ending = self._endings[event, mode]
        if ending.error:
            raise ending.error
        return ending.seen

    def _observe(self, endings: Iterable[Ending]) -> None:
        endings = list(endings)
        for step in _STEPS:
            for ending in endings:
                self._try(ending, step)

    def _observe_triggerer(self, endings: list[Ending]) -> None:
        for ending in endings:
            self._try(ending, Ending.start)
            self._try(ending, Ending.wait_for_run)
        triggerers = [process for name, process in self.airflow.processes.items() if "triggerer" in name]
        for process in triggerers:
            process.stop(timeout=30)
            process.start()
        self.airflow.wait_until_healthy()
        time.sleep(_QUIET)
        for process in triggerers:
            process.kill()
            process.start()
        self.airflow.wait_until_healthy()
        for step in _STEPS[3:]:
            for ending in endings:
                self._try(ending, step)

    def _try(self, ending: Ending, step: Callable[[Ending], None]) -> None:
        if ending.error is None:
            try:
                step(ending)
            except Exception as error:
                ending.error = error
