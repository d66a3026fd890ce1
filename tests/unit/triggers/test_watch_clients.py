"""The clients of a watch: how each is set up, and when a changed connection takes their place."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fake_clock import Clock
from fetched_hook import get_hook

from airflow_provider_trigger.api.client import TriggerDevClient
from airflow_provider_trigger.api.endpoints.runs import check_run
from airflow_provider_trigger.api.errors import AuthenticationError
from airflow_provider_trigger.hooks import fetching
from airflow_provider_trigger.triggers import watch_clients
from airflow_provider_trigger.triggers.watch_clients import CHECK_CONCURRENCY, CHECKS_RESERVE, WatchClients

CONN_ID = "trigger_dev_default"


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Set the connection, and return a hook that has it."""

    def connect(*, key: str = "tr_prod_old", **extra: Any) -> Any:
        fields = {"conn_type": "trigger_dev", "host": "https://trigger.test", "password": key, "extra": extra}
        monkeypatch.setenv(f"AIRFLOW_CONN_{CONN_ID.upper()}", json.dumps(fields))
        return asyncio.run(get_hook(CONN_ID))

    return connect


def test_each_use_has_its_own_connections_and_pace(connect) -> None:
    clients: Any = WatchClients(connect())._clients
    sizes = {use: client._session.get_adapter("https://")._pool_maxsize for use, client in clients.items()}
    assert sizes == {"queries": 1, "checks": CHECK_CONCURRENCY, "urgent": CHECK_CONCURRENCY}
    paces = {use: client.exchange._rate_limit for use, client in clients.items()}
    assert len(set(map(id, paces.values()))) == 3
    assert paces["checks"]._reserve == paces["urgent"]._reserve == CHECKS_RESERVE


@pytest.fixture
def hold(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hold]:
    """Let each call take until the test lets it go."""
    hold = Hold()
    monkeypatch.setattr(TriggerDevClient, "call", lambda client, *_, **__: hold.take(client))
    yield hold
    hold.gate.set()


class Hold:
    def __init__(self) -> None:
        self.gate = threading.Event()
        self.begun: list[str] = []

    def take(self, client: TriggerDevClient) -> None:
        self.begun.append(client.settings.secret_key)
        if client.settings.secret_key == "tr_prod_old":
            assert self.gate.wait(20)


async def until(is_true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not is_true():
            await asyncio.sleep(0.001)


def test_outdated_clients_are_gone_when_the_last_of_several_requests_has_ended(connect, hold: Hold) -> None:
    outdated, renewed = connect(), connect(key="tr_prod_new")

    async def main() -> None:
        clients = WatchClients(outdated)
        checks = weakref.ref(clients._clients["checks"])
        calls = [asyncio.create_task(clients.call("checks", check_run("run_1"))) for _ in range(2)]
        await until(lambda: len(hold.begun) == 2)
        clients.offer(renewed.settings)
        await clients.call("checks", check_run("run_1"))
        assert hold.begun[2:] == ["tr_prod_new"] * 2  # the first has tried the new key
        assert checks() is not None
        hold.gate.set()
        await asyncio.gather(*calls)
        await until(lambda: checks() is None)

    gc.disable()
    try:
        asyncio.run(main())
    finally:
        gc.enable()


def test_calls_whose_callers_are_gone_count_among_those_in_flight(connect, hold: Hold) -> None:
    hook = connect()

    async def main() -> None:
        clients = WatchClients(hook)

        def begin() -> list[asyncio.Task[Any]]:
            call = check_run("run_1")
            return [asyncio.create_task(clients.call("urgent", call)) for _ in range(CHECK_CONCURRENCY)]

        gone = begin()
        await until(lambda: len(hold.begun) == CHECK_CONCURRENCY)
        for task in gone:
            task.cancel()
        await asyncio.gather(*gone, return_exceptions=True)
        later = begin()
        await asyncio.sleep(0.1)
        assert len(hold.begun) == CHECK_CONCURRENCY
        hold.gate.set()
        await asyncio.gather(*later)

    asyncio.run(main())


@pytest.fixture
def count_fetches(connect, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    """
    Let the server reject each key, after each of some pauses; return how often the connection was fetched by
    then. It is fetched unchanged, or ``fails`` is raised.
    """

    def reject(*_: Any, **__: Any) -> None:
        sent: dict[str, Any] = {"method": "GET", "path": "/", "request_id": None}
        raise AuthenticationError(**sent, status=401, detail="Invalid API key", retryable=False)

    def count(*pauses: float, fails: Exception | None = None) -> list[int]:
        hook, clock, fetched = connect(), Clock(), []
        fetch_on_loop = fetching.fetch_on_loop

        async def fetch(conn_id: str) -> Any:
            fetched.append(conn_id)
            if fails is not None:
                raise fails
            return await fetch_on_loop(conn_id)

        async def main() -> list[int]:
            clients, counts = WatchClients(hook), []
            for seconds in pauses:
                clock.sleep(seconds)
                with pytest.raises(AuthenticationError):
                    await clients.call("checks", check_run("run_1"))
                counts.append(len(fetched))
            return counts

        monkeypatch.setattr(watch_clients, "time", clock)
        monkeypatch.setattr(TriggerDevClient, "call", reject)
        monkeypatch.setattr(fetching, "fetch_on_loop", fetch)
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
