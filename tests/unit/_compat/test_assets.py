"""The events of assets, of this Airflow's own kinds."""

from __future__ import annotations

from typing import Any

from fake_airflow import context_of

from airflow_provider_trigger._compat.assets import add_to_asset_events

try:
    from airflow.sdk import Asset, AssetAlias
    from airflow.sdk.execution_time.context import OutletEventAccessors
except ImportError:  # 2.11
    from airflow.datasets import Dataset as Asset
    from airflow.datasets import DatasetAlias as AssetAlias
    from airflow.utils.context import OutletEventAccessors

ASSET, OTHER, ALIAS = Asset("s3://bucket/a"), Asset("s3://bucket/b"), AssetAlias("alias")


def test_what_the_author_has_set_stays() -> None:
    events: Any = OutletEventAccessors()
    events[ASSET].extra = {"rows": 3}
    events[OTHER].extra["trigger_dev"] = "mine"
    add_to_asset_events([ASSET, OTHER], context_of(outlet_events=events), key="trigger_dev", value={"id": 1})
    assert events[ASSET].extra == {"rows": 3, "trigger_dev": {"id": 1}}
    assert events[OTHER].extra == {"trigger_dev": "mine"}


def test_other_outlets_and_a_context_without_events_are_left_alone() -> None:
    events: Any = OutletEventAccessors()
    add_to_asset_events([ALIAS, "a table"], context_of(outlet_events=events), key="trigger_dev", value={})
    add_to_asset_events([ASSET], context_of(), key="trigger_dev", value={})
    assert len(events) == 0
