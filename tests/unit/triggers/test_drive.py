"""The driver on an event loop takes the steps of a wait, in virtual time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fake_clock import Clock
from fake_log import Log
from virtual_loop import run_in_virtual_time

from airflow_provider_trigger.api.errors import ServerError, TransportError, TriggerDevError
from airflow_provider_trigger.api.http import Call
from airflow_provider_trigger.hooks.asynchronous import get_hook
from airflow_provider_trigger.run.wait import wait_for_runs
from airflow_provider_trigger.run.wait_settings import WaitSettings
from airflow_provider_trigger.run.waited import Waited, WaitEnd
from airflow_provider_trigger.triggers import watch
from airflow_provider_trigger.triggers.drive import drive
from airflow_provider_trigger.triggers.watch_clients import WatchClients


@pytest.fixture
def virtual_time(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(watch, "time", clock)
    return clock


@pytest.fixture
def wait(connection: str, virtual_time: Clock, monkeypatch: pytest.MonkeyPatch):
    """Wait for a run, where a test answers each request; return what became of it, and the log."""
    hook = asyncio.run(get_hook(connection))
    log = Log()

    def run(answer: Any, **settings: Any) -> tuple[Waited, Log]:
        async def call(_: WatchClients, use: str, call: Call[Any]) -> Any:
            if isinstance(reply := answer(call.request), TriggerDevError):
                raise reply
            return reply

        monkeypatch.setattr(WatchClients, "call", call)
        made = WaitSettings(cancels=False, deadline=virtual_time.time() + 1799, **settings)
        steps = wait_for_runs(["run_1"], made, log=log, now=virtual_time.time)
        return run_in_virtual_time(drive(steps, hook), virtual_time)["run_1"], log

    return run


def failure(request: Any, status: int) -> TriggerDevError:
    sent = {"method": request.method, "path": request.path}
    return ServerError(**sent, status=status, detail="down", request_id=None, retryable=True)


def test_while_checks_fail_a_line_says_so_every_five_minutes(wait) -> None:
    waited, log = wait(lambda _: TransportError("no connection"))
    assert waited.end is WaitEnd.TIMED_OUT
    assert log.of("warning") == [
        "Status check of run run_1 failed; still waiting: no connection",
        *(
            f"Run run_1 could not be checked for {minutes} minutes; still waiting: no connection"
            for minutes in range(5, 30, 5)
        ),
    ]


def test_an_outage_that_answers_500_to_everything_ends_no_wait(wait) -> None:
    waited, _ = wait(lambda request: failure(request, 500))
    assert waited.end is WaitEnd.TIMED_OUT


def test_a_run_that_the_server_shows_in_no_way_is_waited_for_only_for_a_while(wait, virtual_time) -> None:
    asked: list[str] = []

    def answer(request: Any) -> Any:
        asked.append(request.path)
        if request.path == "/api/v1/runs":
            return []
        return failure(request, 503 if "realtime" in request.path else 500)

    begun = virtual_time.now
    waited, _ = wait(answer, patience=120.0)
    assert waited.end is WaitEnd.UNCHECKABLE
    assert asked[-3:] == ["/realtime/v1/runs/run_1", "/api/v1/runs", "/realtime/v1/runs/run_1"]
    assert asked.count("/api/v1/runs") == 1
    assert 120 <= virtual_time.now - begun <= 150
