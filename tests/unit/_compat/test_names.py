"""What this provider takes from each Airflow, by its own names."""

from __future__ import annotations

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from airflow_names import AIRFLOW_URL, IS_AIRFLOW_2
from asgiref.sync import async_to_sync

from airflow_provider_trigger import _compat

COMPAT = "airflow.providers.common.compat.connection"


def test_each_name_is_airflows_own() -> None:
    for name in _compat._MODULES:
        assert getattr(_compat, name).__module__.startswith("airflow.")
    assert issubclass(_compat.AirflowFailException, _compat.AirflowException)
    assert issubclass(_compat.AirflowNotFoundException, _compat.AirflowException)
    with pytest.raises(ImportError, match="BaseSensor"):
        from airflow_provider_trigger._compat import BaseSensor  # noqa: F401


def test_what_get_connection_raises_is_the_not_found_exception() -> None:
    with pytest.raises(_compat.AirflowNotFoundException):
        _compat.BaseHook.get_connection("there is no such connection")


@pytest.mark.parametrize("has_executor", [False, True])
def test_a_connection_may_wait_for_an_event_loop(has_executor: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The triggerer of Airflow 3.0 masks the password by a request that only its own loop can send."""
    monkeypatch.setitem(sys.modules, COMPAT, None)

    async def mask() -> Any:
        return asyncio.get_running_loop()

    monkeypatch.setattr(_compat.BaseHook, "get_connection", lambda conn_id: async_to_sync(mask)())

    async def get() -> tuple[Any, Any]:
        with ThreadPoolExecutor(1) as pool:
            loop = await _compat.get_async_connection("mine", executor=pool if has_executor else None)
        return loop, asyncio.get_running_loop()

    used, own = asyncio.run(get())
    assert used is own


def test_airflows_helper_is_used_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    async def get_async_connection(conn_id: str) -> Any:
        return f"the connection {conn_id}"

    helper = ModuleType(COMPAT)
    helper.get_async_connection = get_async_connection  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, COMPAT, helper)
    connection: Any = asyncio.run(_compat.get_async_connection("mine"))
    assert connection == "the connection mine"


def test_airflows_settings_are_read_when_they_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (_compat.default_deferrable(), _compat.default_queue()) == (False, "default")
    monkeypatch.setenv("AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE", "True")
    monkeypatch.setenv("AIRFLOW__OPERATORS__DEFAULT_QUEUE", "gpu")
    assert (_compat.default_deferrable(), _compat.default_queue()) == (True, "gpu")


@pytest.mark.parametrize(
    ("base", "log_url", "expected"),
    [
        (None, "http://localhost:8080/dags/d", None),
        ("https://a.test", None, None),
        ("https://a.test", "https://a.test/dags/d", "https://a.test/dags/d"),
        ("https://a.test", "https://a.testdags/d", "https://a.test/dags/d"),  # 3.0
        ("https://a.test/b/", "https://a.test/b//dags/d", "https://a.test/b/dags/d"),  # 2.11
        # What Airflow 2 writes into its own `airflow.cfg` is not known from what a user has set.
        (
            "http://localhost:8080",
            "http://localhost:8080/d",
            None if IS_AIRFLOW_2 else "http://localhost:8080/d",
        ),
    ],
)
def test_the_url_of_a_log_is_known_where_airflow_has_its_base_url(
    base: str | None, log_url: str | None, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if base:
        monkeypatch.setenv(AIRFLOW_URL, base)
    assert _compat.log_url_of(SimpleNamespace(log_url=log_url)) == expected
    assert _compat.log_url_of(None) is None


@pytest.mark.parametrize(
    ("version", "expected"), [("2.11.2", False), ("3.3.10", False), ("3.4.0b2", True), ("3.10.0", True)]
)
def test_since_3_4_the_scheduler_does_not_take_resumed_tasks_for_ended(
    version: str, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_compat, "airflow_version", lambda: version)
    assert _compat.scheduler_knows_resumed_tasks() is expected


def test_airflow_3_3_calls_on_kill_of_its_triggers() -> None:
    is_new = tuple(map(int, _compat.airflow_version().split(".")[:2])) >= (3, 3)
    assert _compat.triggers_have_on_kill() == is_new
