"""What the tests of triggers share: the clock of a watch, and a connection."""

from __future__ import annotations

import asyncio

import pytest
from fake_clock import Clock
from fetched_hook import get_hook

from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook
from airflow_provider_trigger.triggers import watch


@pytest.fixture
def virtual_time(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock by which a watch goes."""
    clock = Clock()
    monkeypatch.setattr(watch, "time", clock)
    return clock


@pytest.fixture
def hook(connection: str) -> TriggerDevHook:
    """A hook that has its connection."""
    return asyncio.run(get_hook(connection))
