"""The clients of a watch: how each is set up, and when a changed connection takes their place."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from fake_clock import Clock

from airflow_provider_trigger.api.async_client import AsyncTriggerDevClient
from airflow_provider_trigger.api.endpoints.runs import check_run
from airflow_provider_trigger.api.errors import AuthenticationError
from airflow_provider_trigger.api.rate_limit import RateLimit
from airflow_provider_trigger.hooks import asynchronous
from airflow_provider_trigger.hooks.asynchronous import get_hook
from airflow_provider_trigger.triggers import kept, watch_clients
from airflow_provider_trigger.triggers.watch_clients import CHECKS_RESERVE, WatchClients

CONN_ID = "trigger_dev_default"


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Set the connection, and return a hook that has it."""

    def connect(*, key: str = "tr_prod_old", **extra: Any) -> Any:
        fields = {"conn_type": "trigger_dev", "host": "https://trigger.test", "password": key, "extra": extra}
        monkeypatch.setenv(f"AIRFLOW_CONN_{CONN_ID.upper()}", json.dumps(fields))
        return asyncio.run(get_hook(CONN_ID))

    return connect


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> list[AsyncTriggerDevClient]:
    """The clients that were closed."""
    closed: list[AsyncTriggerDevClient] = []

    async def close(client: AsyncTriggerDevClient) -> None:
        closed.append(client)

    monkeypatch.setattr(AsyncTriggerDevClient, "close", close)
    return closed


def test_each_use_has_its_own_connections_and_pace(connect, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[dict[str, Any]] = []

    class Client(AsyncTriggerDevClient):
        def __init__(self, settings: Any, **options: Any) -> None:
            super().__init__(settings, **options)
            made.append(options)

    monkeypatch.setattr(watch_clients, "AsyncTriggerDevClient", Client)
    WatchClients(connect())
    queries, *others = made
    assert queries == {"max_connections": 1}
    checks, urgent = (client["rate_limit"] for client in others)
    assert checks is not urgent
    for pace in (checks, urgent):
        assert isinstance(pace, RateLimit)
        assert pace._reserve == CHECKS_RESERVE


def test_outdated_clients_are_closed_when_the_last_of_several_requests_has_ended(
    connect, closed: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    outdated, renewed = connect(), connect(key="tr_prod_new")

    async def main() -> None:
        gates, opened = [asyncio.Event(), asyncio.Event()], asyncio.Event()
        opened.set()
        waiting = iter([*gates, opened, opened])

        async def answer(*_: Any, **__: Any) -> None:
            await next(waiting).wait()

        monkeypatch.setattr(AsyncTriggerDevClient, "call", answer)
        clients = WatchClients(outdated)
        calls = [asyncio.create_task(clients.call("checks", check_run("run_1"))) for _ in gates]
        await asyncio.sleep(0)
        clients.offer(renewed.settings)
        await clients.call("checks", check_run("run_1"))
        closed.remove(closed[0])  # the one that has tried the new key
        counts = [len(closed)]
        for gate, call in zip(gates, calls, strict=True):
            gate.set()
            await call
            counts.append(len(closed))
        assert counts == [0, 0, 3]
        assert {client.settings.secret_key for client in closed} == {"tr_prod_old"}
        assert not kept._tasks

    asyncio.run(main())


@pytest.fixture
def count_fetches(connect, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    """
    Let the server reject each key, after each of some pauses; return how often the connection was fetched by
    then. It is fetched unchanged, or ``fails`` is raised.
    """

    async def reject(*_: Any, **__: Any) -> None:
        sent: dict[str, Any] = {"method": "GET", "path": "/", "request_id": None}
        raise AuthenticationError(**sent, status=401, detail="Invalid API key", retryable=False)

    def count(*pauses: float, fails: Exception | None = None) -> list[int]:
        hook, clock, fetched = connect(), Clock(), []

        async def fetch(conn_id: str) -> Any:
            fetched.append(conn_id)
            if fails is not None:
                raise fails
            return hook

        async def main() -> list[int]:
            clients, counts = WatchClients(hook), []
            for seconds in pauses:
                clock.sleep(seconds)
                with pytest.raises(AuthenticationError):
                    await clients.call("checks", check_run("run_1"))
                counts.append(len(fetched))
            return counts

        monkeypatch.setattr(watch_clients, "time", clock)
        monkeypatch.setattr(AsyncTriggerDevClient, "call", reject)
        monkeypatch.setattr(asynchronous, "get_hook", fetch)
        return asyncio.run(main())

    return count


def test_a_connection_that_could_not_be_fetched_is_fetched_again_after_a_while(
    count_fetches, caplog: pytest.LogCaptureFixture
) -> None:
    pauses = (0.0, watch_clients._RENEW_AFTER_FAILURE - 0.5, 0.5)
    assert count_fetches(*pauses, fails=OSError("tr_prod_secret")) == [1, 1, 2]
    texts = [
        record.getMessage() for record in caplog.records if record.name.startswith("airflow_provider_trigger")
    ]
    assert texts == [f"Connection {CONN_ID!r} could not be fetched again (OSError)"] * 2


def test_a_connection_is_fetched_three_times_in_the_30_s_after_which_a_wait_ends_as_rejected(
    count_fetches,
) -> None:
    assert count_fetches(0.0, 9.5, 0.5, 9.5, 0.5) == [1, 1, 2, 2, 3]
