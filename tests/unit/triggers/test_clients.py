"""One client for each event loop and connection, as long as someone uses it."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Any

import pytest

from airflow_provider_trigger.api.async_client import AsyncTriggerDevClient
from airflow_provider_trigger.hooks.asynchronous import get_hook
from airflow_provider_trigger.triggers.clients import shared_client


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> list[AsyncTriggerDevClient]:
    """The clients that were closed."""
    closed: list[AsyncTriggerDevClient] = []
    close = AsyncTriggerDevClient.close

    async def keep(client: AsyncTriggerDevClient) -> None:
        closed.append(client)
        await close(client)

    monkeypatch.setattr(AsyncTriggerDevClient, "close", keep)
    return closed


def set_connection(monkeypatch: pytest.MonkeyPatch, conn_id: str, **fields: Any) -> str:
    connection = {"conn_type": "trigger_dev", "host": "trigger.test", "password": "tr_prod_marker"}
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection | fields))
    return conn_id


@pytest.fixture
def mine(monkeypatch: pytest.MonkeyPatch) -> str:
    return set_connection(monkeypatch, "mine")


def test_all_users_of_a_connection_share_a_client_and_the_last_one_closes_it(
    mine: str, closed: list[Any]
) -> None:
    async def main() -> None:
        async with shared_client(await get_hook(mine)) as first:
            async with shared_client(await get_hook(mine)) as second:
                assert second is first
            assert closed == []
        assert closed == [first]
        async with shared_client(await get_hook(mine)) as third:
            assert third is not first

    asyncio.run(main())
    assert len(closed) == 2


def test_an_error_or_a_cancel_of_one_user_leaves_the_client_to_the_others(
    mine: str, closed: list[Any]
) -> None:
    async def use() -> None:
        async with shared_client(await get_hook(mine)):
            await asyncio.sleep(60)

    async def main() -> None:
        async with shared_client(await get_hook(mine)):
            canceled = asyncio.create_task(use())
            await asyncio.sleep(0.01)
            canceled.cancel()
            with pytest.raises(asyncio.CancelledError):
                await canceled
            assert closed == []
        assert len(closed) == 1

    asyncio.run(main())


def test_a_connection_that_was_changed_gets_a_new_client(
    mine: str, closed: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with shared_client(await get_hook(mine)) as before:
            for change in ({"password": "tr_prod_other"}, {"extra": {"timeout": 5}}, {"host": "other.test"}):
                set_connection(monkeypatch, mine, **change)
                async with shared_client(await get_hook(mine)) as after:
                    assert after is not before
                assert before not in closed
        assert before in closed

    asyncio.run(main())
    assert len(closed) == 4


def test_each_connection_has_a_client_of_its_own(mine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    other = set_connection(monkeypatch, "other")

    async def main() -> None:
        async with AsyncExitStack() as stack:
            first, second = [
                await stack.enter_async_context(shared_client(await get_hook(name))) for name in (mine, other)
            ]
            assert first is not second

    asyncio.run(main())


def test_each_event_loop_has_a_client_of_its_own(mine: str, closed: list[Any]) -> None:
    used = []

    async def main() -> None:
        async with shared_client(await get_hook(mine)) as client:
            used.append(client)

    asyncio.run(main())
    asyncio.run(main())
    assert used[0] is not used[1]
    assert closed == used


def test_a_loop_that_died_leaves_its_client_to_no_other(mine: str) -> None:
    used = []

    async def main() -> None:
        context = shared_client(await get_hook(mine))
        used.append((await context.__aenter__(), context))  # never left

    asyncio.run(main())
    asyncio.run(main())
    assert used[0][0] is not used[1][0]
