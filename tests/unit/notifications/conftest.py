"""What the tests of notifiers share: the two ways in which Airflow has them work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from event_loop import run as run_on_loop
from in_world import clock
from token_server import tokens, waitpoints, wired

__all__ = ["clock", "tokens", "waitpoints", "wired"]


def call(notifier: Any, given: Any) -> None:
    notifier.notify(given)


def await_it(notifier: Any, given: Any) -> None:
    run_on_loop(notifier.async_notify(given))


@pytest.fixture(params=[call, await_it], ids=["called", "awaited"])
def run(request: pytest.FixtureRequest) -> Callable[[Any, Any], None]:
    """Let a notifier do its work with a context, as a callback, and as an alert of a deadline."""
    way: Callable[[Any, Any], None] = request.param
    return way
