"""The hook of a trigger."""

from __future__ import annotations

from airflow_provider_trigger.hooks.fetching import fetch_on_loop
from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook


async def get_hook(conn_id: str) -> TriggerDevHook:
    """Return a hook that has its connection already, as triggers make it."""
    return TriggerDevHook(conn_id, connection=await fetch_on_loop(conn_id))
