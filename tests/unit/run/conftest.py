"""What the tests of runs share: a local server in this process, and its clock."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from in_process import client, log, lost, network, server, without_listed_keys
from patient_clock import PassingClock, PatientClock

from airflow_provider_trigger.api.models.runs import Run
from airflow_provider_trigger.report import ends

__all__ = ["client", "log", "lost", "network", "server", "without_listed_keys"]


@pytest.fixture(scope="session")
def make_run() -> Callable[..., Run]:
    """Make a run as the API shows it."""
    return lambda status="EXECUTING", **shown: Run.from_answer({"id": "run_1", "status": status} | shown)


@pytest.fixture
def log_stop(log):
    """Log what came of each cancel of a guard."""
    return partial(ends.log_stop, log, "mine")


@pytest.fixture
def virtual_time(clock, monkeypatch: pytest.MonkeyPatch):
    """Let the modules that sleep themselves go by the clock, and return it."""
    for module in ("drive", "earlier"):
        monkeypatch.setattr(f"airflow_provider_trigger.run.{module}.time", clock)
    return clock


@pytest.fixture
def passing_time(virtual_time, monkeypatch: pytest.MonkeyPatch) -> PassingClock:
    """Let the guard go by the clock, too, which continues while its threads work."""
    passing = PassingClock(virtual_time)
    monkeypatch.setattr("airflow_provider_trigger.run.guard.time", passing)
    return passing


@pytest.fixture
def batch_time(virtual_time, passing_time, monkeypatch: pytest.MonkeyPatch):
    """Let the modules of batches, which sleep in threads, go by the clock too, and return it."""
    monkeypatch.setattr("airflow_provider_trigger.run.sending.time", PatientClock(virtual_time))
    return virtual_time
