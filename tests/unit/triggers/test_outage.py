"""What the wait for many runs logs during an outage, in the worker and deferred, in virtual time."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from calls_in_loop import calls_in_loop
from fetched_hook import get_hook
from in_process import client, log, lost, network, server
from virtual_loop import run_in_virtual_time

from airflow_provider_trigger.api.exchange import Reply, Send
from airflow_provider_trigger.run import drive
from airflow_provider_trigger.run.wait import wait_for_runs
from airflow_provider_trigger.run.wait_settings import WaitSettings
from airflow_provider_trigger.triggers import watch
from airflow_provider_trigger.triggers.watch_clients import WatchClients

__all__ = ["client", "log", "lost", "network", "server"]

ENDS_AT = 290


@pytest.fixture
def drives(client, server, clock, log, monkeypatch: pytest.MonkeyPatch) -> dict[str, Callable[..., Any]]:
    """The ways to take the steps of a wait."""
    fields = {"conn_type": "trigger_dev", "host": "trigger.test", "password": server.secret_key}
    monkeypatch.setenv("AIRFLOW_CONN_MINE", json.dumps(fields))
    for module in (drive, watch):
        monkeypatch.setattr(module, "time", clock)

    async def send(step: Send) -> Reply:
        return client.send(step)

    monkeypatch.setattr(WatchClients, "_call", calls_in_loop(send))
    hook = asyncio.run(get_hook("mine"))
    return {
        "worker": lambda steps: drive.drive(steps, client),
        "deferred": lambda steps: run_in_virtual_time(watch.drive(steps, hook), clock),
    }


@pytest.fixture
def wait(drives, network, server, clock, log, lost) -> Callable[[str, int], list[str]]:
    """Wait for so many runs, with an outage from 40 s to 259 s; return each line with its level."""

    def before(_: str) -> None:
        network.repair()
        if 1040 <= clock.now < 1259:
            network.fault("", lost)

    def run(where: str, count: int) -> list[str]:
        network.before = before
        runs = [server.add_run("EXECUTING", then=[(ENDS_AT, "COMPLETED")]) for _ in range(count)]
        settings = WaitSettings(logs_progress=True, names_completed=False)
        drives[where](wait_for_runs([one.id for one in runs], settings, log=log, now=clock.time))
        return [f"{level}: {text}" for level, text in log.leveled if not text.startswith("Connection ")]

    return run


def matches(shown: str, line: str) -> bool:
    """Whether a line is as shown, where ``…`` may be anything."""
    return re.fullmatch(".*".join(map(re.escape, shown.split("…"))), line) is not None


@pytest.mark.parametrize(
    ("where", "count"),
    [("worker", 5), ("worker", 20), ("worker", 50), ("deferred", 5), ("deferred", 20), ("deferred", 300)],
)
def test_an_outage_is_a_line_at_its_begin_one_a_minute_and_one_at_its_end(wait, where, count) -> None:
    said = wait(where, count)
    failed = f"warning: Status checks of … of {count} runs"
    expected = [
        f"info: Waiting for {count} runs",
        f"info: 0 of {count} runs have ended: {count} EXECUTING",
        f"{failed} failed…; still waiting: …ConnectionError",
        *[f"{failed} have failed for 1… s; still waiting: …ConnectionError"] * 3,
        "info: … runs can be checked again after 2… s",
    ]
    expected[3] = expected[3].replace("1…", "…")
    assert [line for line, shown in zip(said, expected, strict=False) if not matches(shown, line)] == []
    assert said[-1] == f"info: {count} of {count} runs have ended: {count} COMPLETED"
    assert not [line for line in said[len(expected) :] if line.startswith("warning")]
