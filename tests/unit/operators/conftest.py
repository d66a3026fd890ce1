"""What the tests of operators share that have a run of their own: Airflow's way to end a task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fake_airflow import TaskInstance, context_of
from in_world import clock, in_signal_handler
from token_server import tokens, waitpoints, wired

from airflow_provider_trigger.testing import TriggerDevServer

__all__ = ["clock", "in_signal_handler", "tokens", "waitpoints", "wired"]


@pytest.fixture
def ti() -> TaskInstance:
    return TaskInstance()


@pytest.fixture
def execute(connection: str, ti: TaskInstance) -> Callable[..., Any]:
    return lambda made: made.execute(context_of(ti))


@pytest.fixture
def endless(server: TriggerDevServer) -> TriggerDevServer:
    """A server whose runs never end by themselves."""
    server.on_task("resize", after=None)
    return server


@pytest.fixture
def run_of(server) -> Callable[..., Any]:
    """Return the only run of the local server, None while there is none or it has another status."""

    def find(*statuses: str) -> Any:
        runs = list(server.runs.values())
        assert len(runs) < 2, runs
        return next((run for run in runs if not statuses or run.status in statuses), None)

    return find


@pytest.fixture
def sent(server) -> Callable[[], list[str]]:
    """Return what was requested: ``trigger``, ``cancel``, ``retrieve`` …"""

    def names() -> list[str]:
        words = {"trigger": "trigger", "cancel": "cancel", "reset": "reset", "replay": "replay"}
        words |= {"events": "events"}
        paths = [one.path.partition("?")[0] for one in list(server.requests)]
        return [
            words.get(path.rpartition("/")[2], "list" if path == "/api/v1/runs" else "retrieve")
            for path in paths
        ]

    return names
