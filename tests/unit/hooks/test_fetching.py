"""Fetch a connection on an event loop, and the key of one that was changed while a task works with it."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from airflow_provider_trigger._compat import AirflowNotFoundException
from airflow_provider_trigger.api.errors import AuthenticationError
from airflow_provider_trigger.hooks import fetching
from airflow_provider_trigger.hooks.connection import ConnectionNotFoundError
from airflow_provider_trigger.hooks.fetching import fetch_on_loop
from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook

OLD, NEW = "tr_prod_old_marker_of_the_test", "tr_prod_new_marker_of_the_test"


@pytest.fixture
def valid(wire, answer, clock) -> None:
    """Let the server accept the new key only."""

    def script(request):
        if request.headers["Authorization"] != f"Bearer {NEW}":
            return answer(401, {"error": "Invalid API key"})
        return answer(200, {"id": "run_1", "status": "QUEUED"})

    wire.script = script


def keys_sent(wire) -> list[str]:
    return [sent.headers["Authorization"].removeprefix("Bearer ") for sent in wire.sent]


@pytest.mark.usefixtures("valid")
def test_a_hook_continues_with_the_key_that_its_connection_has_now(connect_as, wire, caplog) -> None:
    caplog.set_level(logging.INFO)
    hook = connect_as(password=OLD)
    assert hook.settings.secret_key == OLD
    connect_as(password=NEW)
    assert hook.get_run("run_1").status == "QUEUED"
    assert keys_sent(wire) == [OLD, OLD, NEW]
    assert "Connection 'trigger_dev_default' has another secret key now" in caplog.text
    hook.get_run("run_1")  # with another client
    assert keys_sent(wire)[3:] == [NEW]
    assert not [key for key in (OLD, NEW) if key in caplog.text]


@pytest.mark.usefixtures("valid")
@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"host": "https://elsewhere.test"}, "has changed; this task does not use the new one"),
        ({"extra": {"branch": "other"}}, "has changed; this task does not use the new one"),
        ({"password": ""}, "could not be fetched again (InvalidConnectionError)"),
    ],
)
def test_a_key_for_another_environment_is_not_used(connect_as, wire, caplog, changed, said: str) -> None:
    hook = connect_as(password=OLD)
    assert hook.settings.secret_key == OLD
    connect_as(**{"password": NEW} | changed)
    with pytest.raises(AuthenticationError, match="Invalid API key"):
        hook.get_run("run_1")
    assert set(keys_sent(wire)) == {OLD}
    assert f"onnection 'trigger_dev_default' {said}" in caplog.text


@pytest.mark.usefixtures("valid")
def test_a_connection_that_is_gone_leaves_the_error_as_it_is(connect_as, monkeypatch, caplog) -> None:
    hook = connect_as(password=OLD)
    assert hook.settings.secret_key == OLD
    monkeypatch.delenv("AIRFLOW_CONN_TRIGGER_DEV_DEFAULT")
    monkeypatch.setattr(type(hook), "get_connection", lambda *_: (_ for _ in ()).throw(RuntimeError(OLD)))
    with pytest.raises(AuthenticationError, match="Invalid API key"):
        hook.get_run("run_1")
    assert "could not be fetched again (RuntimeError)" in caplog.text
    assert OLD not in caplog.text


@pytest.mark.usefixtures("valid")
def test_a_connection_that_was_given_is_not_fetched(connect_as, make_connection, wire) -> None:
    hook = type(connect_as(password=NEW))(
        connection=make_connection(password=OLD, host="https://trigger.test")
    )
    with pytest.raises(AuthenticationError):
        hook.get_run("run_1")
    assert set(keys_sent(wire)) == {OLD}


# On an event loop


@pytest.fixture
def fetched(make_connection, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """Let Airflow find the connection ``mine`` only; keep how it was fetched."""
    calls: list[tuple[str, Any]] = []

    async def get(conn_id: str, *, executor: Any = None) -> Any:
        calls.append((conn_id, executor))
        if conn_id == "broken":
            raise OSError("the secrets backend is down")
        if conn_id != "mine":
            raise AirflowNotFoundException(f"The conn_id `{conn_id}` isn't defined")
        return make_connection(host="https://trigger.test")

    monkeypatch.setattr(fetching, "get_async_connection", get)
    return calls


def test_a_hook_with_what_was_fetched_on_an_event_loop_fetches_nothing(fetched) -> None:
    with ThreadPoolExecutor(1) as executor:
        connection = asyncio.run(fetch_on_loop("mine", executor=executor))
        assert fetched == [("mine", executor)]
    assert TriggerDevHook("mine", connection=connection).settings.base_url == "https://trigger.test"


def test_a_connection_that_does_not_exist_says_what_to_do(fetched, assert_hides) -> None:
    with pytest.raises(
        ConnectionNotFoundError, match=r"^Connection 'another' was not found; create"
    ) as raised:
        asyncio.run(fetch_on_loop("another"))
    assert_hides(raised.value, "isn't defined")


def test_another_error_is_raised_as_it_is(fetched) -> None:
    with pytest.raises(OSError, match="the secrets backend is down"):
        asyncio.run(fetch_on_loop("broken"))
