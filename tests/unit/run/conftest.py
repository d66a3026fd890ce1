"""What the tests of runs share: a local server in this process."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from in_process import client, log, network, server

from airflow_provider_trigger.api.models import Run

__all__ = ["client", "log", "network", "server"]


@pytest.fixture(scope="session")
def make_run() -> Callable[..., Run]:
    """Make a run as the API shows it."""
    return lambda status="EXECUTING", **shown: Run.from_answer({"id": "run_1", "status": status} | shown)
