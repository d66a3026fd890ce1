"""
Which route to cancel a run is taken when: each cell of ``docs/routes.json``, on this Airflow.

All events happen side by side. What counts is the local Trigger.dev server's record: a route was taken when a
cancel came for its run.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from whole_airflow.airflow import WholeAirflow
from whole_airflow.processes import wait_until
from whole_airflow.state import State
from whole_airflow.versions import TRIES_CLEARED_TASKS_AGAIN, in_this_airflow

from airflow_provider_trigger.testing import TriggerDevServer

TABLE = json.loads((Path(__file__).parents[2] / "docs" / "routes.json").read_text())
EVENTS: dict[str, Any] = TABLE["events"]
ROUTES: dict[str, Any] = TABLE["routes"]

YES, LATER, NO = "yes", "later", "no"


def dag_run_of(event: str) -> str:
    """Return the id of the event's Dag run; the runs of its routes are named after it."""
    return event.replace("_", "")


def run_of(event: str, route: str) -> str:
    """Return the id of the Trigger.dev run that a route has to cancel."""
    return f"run_{dag_run_of(event)}{route.replace('_', '')}"


class Observation:
    """Which routes were taken after which event."""

    def __init__(self, airflow: WholeAirflow, server: TriggerDevServer, state: State) -> None:
        self.airflow, self.server, self.state = airflow, server, state
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
        run_id = dag_run_of(event)
        if event in ("task_killed", "worker_killed"):
            self.state.kill(run_id, parent_too=event == "worker_killed")
        elif event == "cleared" or "marked" in event:
            self.state.wait_for_start(run_id)
            self.airflow.end_task(event, f"route_{event}", run_id)

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


@pytest.fixture(scope="module")
def observation(airflow: WholeAirflow, server: TriggerDevServer, state: State) -> Observation:
    """Return what was seen when every event had happened."""
    observation = Observation(airflow, server, state)
    observation.observe()
    return observation


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("event", EVENTS)
def test_route(observation: Observation, event: str, route: str) -> None:
    assert observation.seen(event, route) == in_this_airflow(EVENTS[event]["routes"][route])
