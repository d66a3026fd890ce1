"""
Make every event of ``docs/routes.json`` happen, all side by side, and see which routes canceled their run.

What counts is the local Trigger.dev server's record: a route was taken when a cancel came for its run.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from whole_airflow.airflow import WholeAirflow
from whole_airflow.processes import wait_until
from whole_airflow.state import State
from whole_airflow.versions import TRIES_CLEARED_TASKS_AGAIN

from airflow_provider_trigger.testing import TriggerDevServer

TABLE = json.loads((Path(__file__).parents[2] / "docs" / "routes.json").read_text())
EVENTS: dict[str, Any] = TABLE["events"]
ROUTES: dict[str, Any] = TABLE["routes"]

YES, LATER, NO = "yes", "later", "no"


def expected(event: str, route: str, version: tuple[int, ...]) -> str:
    """Return what the table says for a version of Airflow."""
    cell = EVENTS[event]["routes"][route]
    if isinstance(cell, str):
        return cell
    return cell.get("{}.{}".format(*version), cell["otherwise"])


def dag_run_of(event: str) -> str:
    """Return the id of the event's Dag run; the runs of its routes are named after it."""
    return event.replace("_", "")


def run_of(event: str, route: str) -> str:
    """Return the id of the Trigger.dev run that a route has to cancel."""
    return f"run_{dag_run_of(event)}{route.replace('_', '')}"


class Observation:
    """
    Which routes were taken after which event.

    :param airflow: a whole Airflow with the Dags of ``routes_dags.py``
    :param server: the server that its connection names
    :param state: what its tasks tell
    """

    def __init__(self, airflow: WholeAirflow, server: TriggerDevServer, state: State) -> None:
        self.airflow = airflow
        self.server = server
        self.state = state
        self._before_next_try: dict[str, set[str]] = {}
        self._never_over: dict[str, set[str]] = {}
        self._errors: dict[str, Exception] = {}

    def observe(self) -> None:
        """Make all events happen; what goes wrong with one is kept for its own tests."""
        for event in EVENTS:
            for route in ROUTES:
                self.server.add_run(run_id=run_of(event, route))
            self.airflow.api.trigger(f"route_{event}", dag_run_of(event))
        for step in (self._cause, self._wait):
            for event in EVENTS:
                if event not in self._errors:
                    self._try(event, step)
        self._fence("attheend")

    def seen(self, event: str, route: str) -> str:
        """Return whether a route was taken: "yes", "no", or "later": not before the next try was over."""
        if event in self._errors:
            raise self._errors[event]
        if event in self._before_next_try and route in self._before_next_try[event]:
            return YES
        if route not in self._taken(event):
            return NO
        return LATER if event in self._before_next_try else YES

    def _try(self, event: str, step: Callable[[str], None]) -> None:
        try:
            step(event)
        except Exception as error:
            self._errors[event] = error

    def _taken(self, event: str) -> set[str]:
        if event in self._never_over:
            return self._never_over[event]
        return {route for route in ROUTES if self.server.runs[run_of(event, route)].cancel_requests}

    def _cause(self, event: str) -> None:
        cause = getattr(self, f"_cause_{event}", None)
        if cause is not None:
            cause(f"route_{event}", dag_run_of(event))

    def _cause_task_killed(self, dag_id: str, run_id: str) -> None:
        self.state.kill(run_id)

    def _cause_worker_killed(self, dag_id: str, run_id: str) -> None:
        self.state.kill(run_id, parent_too=True)

    def _cause_marked_failed(self, dag_id: str, run_id: str) -> None:
        self.state.wait_for_start(run_id)
        self.airflow.api.mark_task(dag_id, run_id, "work", "failed")

    def _cause_marked_success(self, dag_id: str, run_id: str) -> None:
        self.state.wait_for_start(run_id)
        self.airflow.api.mark_task(dag_id, run_id, "work", "success")

    def _cause_dag_run_marked_failed(self, dag_id: str, run_id: str) -> None:
        self.state.wait_for_start(run_id)
        self.airflow.api.mark_dag_run(dag_id, run_id, "failed")

    def _cause_cleared(self, dag_id: str, run_id: str) -> None:
        self.state.wait_for_start(run_id)
        self.airflow.clear(dag_id, run_id, "work")

    def _wait(self, event: str) -> None:
        run_id = dag_run_of(event)
        if event == "cleared" and not TRIES_CLEARED_TASKS_AGAIN:
            callback = self.server.runs[run_of(event, "task_failure_callback")]
            wait_until(lambda: callback.cancel_requests > 1, timeout=90, what="its callbacks, time and again")
            self._never_over[event] = self._taken(event)
            return
        if event == "cleared":
            self.state.wait_for_start(run_id, attempt=2)
            self._fence("betweentries")
            self._before_next_try[event] = self._taken(event)
            self.state.release(run_id, attempt=2)
        self.airflow.api.wait_for_dag_run(f"route_{event}", run_id, timeout=180)

    def _fence(self, run_id: str) -> None:
        """Wait until all callbacks that were due have run: one that comes after them has."""
        fence = self.server.add_run(run_id=f"run_{run_id}fence")
        self.airflow.api.trigger("route_fence", run_id)
        wait_until(lambda: fence.cancel_requests, timeout=120, what="the Dag-level callback of route_fence")
