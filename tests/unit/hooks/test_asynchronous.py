"""A hook for an event loop, which has its connection already."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from airflow_provider_trigger._compat import AirflowNotFoundException
from airflow_provider_trigger.hooks import asynchronous
from airflow_provider_trigger.hooks.asynchronous import get_hook
from airflow_provider_trigger.hooks.connection import ConnectionNotFoundError
from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook


@pytest.fixture
def fetched(make_connection, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """Let Airflow find the connection ``mine`` only; keep what was asked for."""
    calls: list[tuple[str, Any]] = []

    async def get(conn_id: str, *, executor: Any = None) -> Any:
        calls.append((conn_id, executor))
        if conn_id != "mine":
            raise AirflowNotFoundException(f"The conn_id `{conn_id}` isn't defined")
        return make_connection(host="https://trigger.test")

    monkeypatch.setattr(asynchronous, "get_async_connection", get)
    return calls


def test_the_hook_fetches_nothing_any_more(fetched, monkeypatch: pytest.MonkeyPatch) -> None:
    with ThreadPoolExecutor(1) as executor:
        hook = asyncio.run(get_hook("mine", executor=executor))
        assert fetched == [("mine", executor)]

    def get_connection(*_: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(TriggerDevHook, "get_connection", get_connection)
    assert hook.trigger_dev_conn_id == "mine"
    assert hook.settings.base_url == "https://trigger.test"


def test_a_connection_that_does_not_exist_says_what_to_do(fetched) -> None:
    with pytest.raises(ConnectionNotFoundError) as raised:
        asyncio.run(get_hook("another"))
    assert str(raised.value).startswith(
        "Connection 'another' was not found; create it under Admin, Connections"
    )
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__


def test_another_error_is_raised_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    async def get(*_: Any, **__: Any) -> None:
        raise OSError("the secrets backend is down")

    monkeypatch.setattr(asynchronous, "get_async_connection", get)
    with pytest.raises(OSError, match="the secrets backend is down"):
        asyncio.run(get_hook("mine"))
