"""What the tests of runs share: a local server in this process, and its clock."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from in_process import client, log, lost, network, server
from virtual_watch import watch_by

from airflow_provider_trigger.api.models import Run

__all__ = ["client", "log", "lost", "network", "server"]


@pytest.fixture(scope="session")
def make_run() -> Callable[..., Run]:
    """Make a run as the API shows it."""
    return lambda status="EXECUTING", **shown: Run.from_answer({"id": "run_1", "status": status} | shown)


@pytest.fixture
def virtual_time(clock, monkeypatch: pytest.MonkeyPatch):
    """Let the modules that sleep themselves go by the clock, and return it."""
    watch_by(clock, monkeypatch)
    return clock
