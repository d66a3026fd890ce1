"""The events of assets, of this Airflow's own kinds, and where watchers of assets store their position."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import airflow_has
import pytest
from fake_airflow import context_of

from airflow_provider_trigger import _compat

try:
    from airflow.sdk import Asset, AssetAlias
    from airflow.sdk.execution_time.context import OutletEventAccessors
except ImportError:  # 2.11
    from airflow.datasets import Dataset as Asset
    from airflow.datasets import DatasetAlias as AssetAlias
    from airflow.utils.context import OutletEventAccessors

needs_watchers = pytest.mark.skipif(not airflow_has.WATCHERS, reason="this Airflow has no watchers")
needs_states = pytest.mark.skipif(not airflow_has.ASSET_STATES, reason="assets of this Airflow have no state")

VALUE = {"until": "1", "saved_at": 5.0}


def test_only_assets_get_something_and_what_the_author_has_set_stays() -> None:
    asset, other, alias = Asset("s3://bucket/a"), Asset("s3://bucket/b"), AssetAlias("alias")
    events: Any = OutletEventAccessors()
    outlets = [asset, other, alias, "a table"]
    events[asset].extra = {"rows": 3}
    events[other].extra["trigger_dev"] = "mine"
    _compat.add_to_asset_events(outlets, context_of(outlet_events=events), key="trigger_dev", value={"id": 1})
    _compat.add_to_asset_events(outlets, context_of(), key="trigger_dev", value={})  # which has no events
    assert events[asset].extra == {"rows": 3, "trigger_dev": {"id": 1}}
    assert (events[other].extra, len(events)) == ({"trigger_dev": "mine"}, 2)


def test_an_airflow_whose_triggerer_cannot_store_a_position_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_compat, "airflow_version", lambda: "3.0.4")
    with pytest.raises(ImportError, match=r"TriggerRunEventTrigger needs Airflow 3\.0\.5 or newer, this is"):
        _ = _compat.BaseEventTrigger


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


def store(*names: str) -> _compat.Store:
    """Return the store of a trigger that watches some assets; without one, as before Airflow 3.3."""
    state = None
    if names:
        from airflow.sdk.execution_time.context import AssetStateStoreAccessors

        state = AssetStateStoreAccessors(inlets=[Asset(name=name, uri=f"x://{name}") for name in names])
    return _compat.store_of(SimpleNamespace(asset_state_store=state), name="orders", digest="f00")


KINDS = [
    pytest.param((), marks=needs_watchers, id="a variable"),
    pytest.param(("a", "b"), marks=needs_states, id="the states of assets"),
]


@pytest.mark.parametrize("names", KINDS)
def test_a_save_ends_although_its_trigger_is_canceled(names: tuple[str, ...], database: Any) -> None:
    async def main() -> None:
        assert await store(*names).load() == []
        saving = asyncio.ensure_future(store(*names).save(VALUE))
        await asyncio.sleep(0.001)
        saving.cancel()
        await asyncio.sleep(0.1)
        assert saving.cancelled()
        assert await store(*names).load() == [VALUE] * max(1, len(names))

    asyncio.run(main())


@needs_watchers
def test_an_answer_that_is_an_error_is_not_taken_for_nothing(database: Any) -> None:
    from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
    from airflow.sdk.execution_time.comms import ErrorResponse

    database.answer = lambda message: ErrorResponse(error=ErrorType.API_SERVER_ERROR)
    with pytest.raises(AirflowRuntimeError):
        asyncio.run(store().load())


@needs_states
def test_the_key_of_a_state_is_the_name_and_one_active_asset_is_enough(database: Any) -> None:
    from airflow.sdk.exceptions import AirflowRuntimeError

    del database.states["a"]
    asyncio.run(store("a", "b").save(VALUE))
    assert database.states == {"b": {"trigger_dev_events_orders": VALUE}}
    assert asyncio.run(store("a", "b").load()) == [VALUE]
    with pytest.raises(AirflowRuntimeError):
        asyncio.run(store("a").save(VALUE))
