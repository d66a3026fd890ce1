"""One clock for all parts of a local server, and a server that goes by it and was never started."""

from __future__ import annotations

import pytest
from fake_clock import Clock

from airflow_provider_trigger.testing import TriggerDevServer


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server(clock: Clock) -> TriggerDevServer:
    """A server of a task ``parked``, whose runs no worker takes."""
    server = TriggerDevServer(clock=clock.time)
    server.on_task("parked", start_after=None)
    return server
