"""What watchers of assets take from each Airflow, and where their state is stored."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import airflow_has
import pytest

from airflow_provider_trigger import _compat
from airflow_provider_trigger._compat import watchers

needs_watchers = pytest.mark.skipif(not airflow_has.WATCHERS, reason="this Airflow has no watchers")
needs_states = pytest.mark.skipif(not airflow_has.ASSET_STATES, reason="assets of this Airflow have no state")

VALUE = {"position": "1", "saved_at": 5.0}


def test_an_airflow_whose_triggerer_cannot_store_a_position_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_compat, "airflow_version", lambda: "3.0.4")
    with pytest.raises(
        ImportError, match=r"TriggerRunEventTrigger needs Airflow 3\.0\.5 or newer, this is 3\.0\.4$"
    ):
        _ = watchers.BaseEventTrigger


@pytest.mark.skipif(airflow_has.WATCHERS, reason="this Airflow has watchers")
def test_without_watchers_the_trigger_cannot_be_imported() -> None:
    with pytest.raises(ImportError, match=r"needs Airflow 3\.0\.5 or newer, this is (2|3\.0\.4)"):
        import airflow_provider_trigger.triggers.events  # noqa: F401


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the supervisor of the triggerer reads and writes; it has the assets ``a`` and ``b``."""
    from airflow.sdk.execution_time import task_runner
    from triggerer import Database

    database = Database("a", "b")

    async def asend(message: Any) -> Any:
        await asyncio.sleep(0.01)
        return database.answer(message)

    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", SimpleNamespace(asend=asend), raising=False)
    return database


def store(*assets: str) -> watchers.Store:
    """Return the store of a trigger that watches some assets; without one, as before Airflow 3.3."""
    state = None
    if assets:
        from airflow.sdk import Asset
        from airflow.sdk.execution_time.context import AssetStateStoreAccessors

        state = AssetStateStoreAccessors(inlets=[Asset(name=name, uri=f"x://{name}") for name in assets])
    return watchers.store_of(SimpleNamespace(asset_state_store=state), name="orders", digest="f00")


KINDS = [
    pytest.param((), marks=needs_watchers, id="a variable"),
    pytest.param(("a",), marks=needs_states, id="the state of an asset"),
    pytest.param(("a", "b"), marks=needs_states, id="of two"),
]


@pytest.mark.parametrize("assets", KINDS)
def test_what_is_saved_is_loaded(assets: tuple[str, ...], database: Any) -> None:
    async def main() -> None:
        assert await store(*assets).load() == []
        await store(*assets).save(VALUE)
        assert await store(*assets).load() == [VALUE] * max(1, len(assets))

    asyncio.run(main())


@pytest.mark.parametrize("assets", KINDS)
def test_an_error_of_airflow_is_raised(assets: tuple[str, ...], database: Any) -> None:
    database.failure = RuntimeError("no database")
    with pytest.raises(RuntimeError, match="no database"):
        asyncio.run(store(*assets).load())
    with pytest.raises(RuntimeError, match="no database"):
        asyncio.run(store(*assets).save(VALUE))


@needs_watchers
def test_an_answer_that_is_an_error_is_not_taken_for_nothing(database: Any) -> None:
    from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
    from airflow.sdk.execution_time.comms import ErrorResponse

    database.answer = lambda message: ErrorResponse(error=ErrorType.API_SERVER_ERROR)
    with pytest.raises(AirflowRuntimeError):
        asyncio.run(store().load())


@pytest.mark.parametrize("assets", KINDS)
def test_a_save_ends_although_its_trigger_is_canceled(assets: tuple[str, ...], database: Any) -> None:
    async def main() -> None:
        saving = asyncio.ensure_future(store(*assets).save(VALUE))
        await asyncio.sleep(0.001)
        saving.cancel()
        await asyncio.sleep(0.1)
        assert saving.cancelled()
        assert await store(*assets).load()

    asyncio.run(main())


@needs_watchers
def test_the_key_of_a_variable_is_that_of_all_arguments_and_its_description_names_the_watcher(
    database: Any,
) -> None:
    asyncio.run(store().save(VALUE))
    assert database.descriptions == {"trigger_dev_events_f00": "What the watcher 'orders' has seen"}
    assert not store().outlives_arguments


@needs_states
def test_the_key_of_a_state_is_the_name_and_one_active_asset_is_enough(database: Any) -> None:
    del database.states["a"]
    asyncio.run(store("a", "b").save(VALUE))
    assert database.states == {"b": {"trigger_dev_events_orders": VALUE}}
    assert asyncio.run(store("a", "b").load()) == [VALUE]
    assert store("a").outlives_arguments
    from airflow.sdk.exceptions import AirflowRuntimeError

    with pytest.raises(AirflowRuntimeError):
        asyncio.run(store("a").save(VALUE))
