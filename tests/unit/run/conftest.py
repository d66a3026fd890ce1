"""What the tests of runs share: a local server in this process, and its clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from in_process import client, log, lost, network, server
from virtual_watch import watch_by

from airflow_provider_trigger.api.models import Run
from airflow_provider_trigger.run.waited import Waited, WaitSettings
from airflow_provider_trigger.run.watch import wait_for_runs

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


@pytest.fixture
def wait(client, virtual_time, log) -> Callable[..., list[Waited]]:
    """Wait for runs, and return what became of each."""
    client.breaker.has_worked = True  # the server has started them

    def run(*runs: Any, **settings: Any) -> list[Waited]:
        made = WaitSettings(**{"patience": 60.0, "poll_interval": 5.0} | settings)
        run_ids = [getattr(one, "id", one) for one in runs]
        return list(wait_for_runs(run_ids, made, client, log=log).values())

    return run
