"""Assets, which are datasets before Airflow 3."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.sdk import Context


def add_to_asset_events(outlets: Iterable[Any], context: Context, *, key: str, value: Any) -> None:
    """
    Add something to the ``extra`` of the events of a task's assets; what has the key already stays.

    Aliases and references are left alone, and so is all where a context has no events.
    """
    try:
        from airflow.sdk import Asset
    except ImportError:  # Airflow 2
        from airflow.datasets import Dataset as Asset  # type: ignore[no-redef]
    events: Any = context.get("outlet_events")
    for outlet in outlets:
        if events is not None and isinstance(outlet, Asset):
            events[outlet].extra.setdefault(key, value)
