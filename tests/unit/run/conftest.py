"""What the tests of runs share: a local server in this process, and its clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from in_process import client, log, lost, network, server
from patient_clock import PatientClock
from virtual_watch import watch_by

from airflow_provider_trigger.api.models import Run
from airflow_provider_trigger.run.guard import Guard
from airflow_provider_trigger.run.request import TaskRequest
from airflow_provider_trigger.run.stop import StopNote
from airflow_provider_trigger.run.waited import Waited, WaitSettings
from airflow_provider_trigger.run.watch import wait_for_runs

__all__ = ["client", "log", "lost", "network", "server"]


@pytest.fixture(scope="session")
def make_run() -> Callable[..., Run]:
    """Make a run as the API shows it."""
    return lambda status="EXECUTING", **shown: Run.from_answer({"id": "run_1", "status": status} | shown)


@pytest.fixture(scope="session")
def request_for() -> Callable[..., TaskRequest]:
    """Make a request to start a run, with a key or without one."""

    def make(key: object = "k0", payload: Any = None, **options: Any) -> TaskRequest:
        given = options | ({} if key is None else {"idempotencyKey": str(key)})
        return TaskRequest(task_identifier="resize", payload=payload, options=given)

    return make


@pytest.fixture
def stops() -> list[float]:
    """When the task was stopped: empty, until a test adds a time."""
    return []


@pytest.fixture
def guard(client, stops) -> Guard:
    """Make a guard whose task has not ended."""
    note = StopNote(lambda: stops[0] if stops else None)
    return Guard(client, note, cancels=True, stop_time=4.0, log_stop=lambda stop: None)


@pytest.fixture
def virtual_time(clock, monkeypatch: pytest.MonkeyPatch):
    """Let the modules that sleep themselves go by the clock, and return it."""
    watch_by(clock, monkeypatch)
    monkeypatch.setattr("airflow_provider_trigger.run.starts.time", PatientClock(clock))
    return clock


@pytest.fixture
def batch_time(virtual_time, monkeypatch: pytest.MonkeyPatch):
    """Let the modules of batches, which sleep in threads, go by the clock too, and return it."""
    monkeypatch.setattr("airflow_provider_trigger.run.sending.time", PatientClock(virtual_time))
    return virtual_time


@pytest.fixture
def wait(client, virtual_time, log) -> Callable[..., list[Waited]]:
    """Wait for runs, and return what became of each."""
    client.breaker.has_worked = True  # the server has started them

    def run(*runs: Any, **settings: Any) -> list[Waited]:
        made = WaitSettings(**{"patience": 60.0, "poll_interval": 5.0} | settings)
        run_ids = [getattr(one, "id", one) for one in runs]
        return list(wait_for_runs(run_ids, made, client, log=log).values())

    return run
