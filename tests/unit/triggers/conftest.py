"""What the tests of triggers share: a triggerer in virtual time, a connection that changes, and a log."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from fake_clock import Clock
from fake_log import Log
from fetched_hook import get_hook
from green_threads import use_green_threads
from virtual_loop import run_in_virtual_time

from airflow_provider_trigger.api.client import TriggerDevClient
from airflow_provider_trigger.api.exchange import Reply, Send
from airflow_provider_trigger.triggers import run as triggers
from airflow_provider_trigger.triggers import watch
from airflow_provider_trigger.triggers.run import TriggerDevRunTrigger

SendOne = Callable[[Callable[[Send], Reply], Send], Coroutine[Any, Any, Reply]]


@pytest.fixture
def use_virtual_time(
    client, server, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> Callable[[SendOne], None]:
    """Let triggers reach a server in this process, in virtual time; what is given sends each request."""

    def use(send_one: SendOne) -> None:
        fields = {"conn_type": "trigger_dev", "host": "trigger.test", "password": server.secret_key}
        monkeypatch.setenv("AIRFLOW_CONN_MINE", json.dumps(fields))
        hook, at_once = asyncio.run(get_hook("mine")), client.send

        async def send(_: TriggerDevClient, step: Send) -> Reply:
            return await send_one(at_once, step)

        async def get(*_: Any, **__: Any) -> Any:
            return hook

        async def fetch_again(*_: Any, **__: Any) -> None:
            """Airflow's own ways to get a connection need real time."""

        use_green_threads(clock, send, monkeypatch)
        monkeypatch.setattr(triggers.ResumingTrigger, "hook", get)
        monkeypatch.setattr(watch, "fetch_again", fetch_again)
        monkeypatch.setattr(triggers, "time", clock)

    return use


@pytest.fixture
def in_triggerer(use_virtual_time, clock: Clock, log) -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Run a coroutine in virtual time; return its result."""

    async def send(at_once: Callable[[Send], Reply], step: Send) -> Reply:
        return at_once(step)

    use_virtual_time(send)
    return lambda main: run_in_virtual_time(main, clock)


@pytest.fixture
def set_connection(server, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Set a connection to the server, the default one unless another id is given, and return its id."""

    def change(
        key: str = server.secret_key, *, conn_id: str = "", host: str = server.url, **extra: Any
    ) -> str:
        conn_id = conn_id or "trigger_dev_default"
        fields = {"conn_type": "trigger_dev", "host": host, "password": key, "extra": extra}
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(fields))
        return conn_id

    return change


@pytest.fixture
def log(keep_log) -> Log:
    """The log of triggers."""
    kept: Log = keep_log(TriggerDevRunTrigger)
    return kept
