"""Dags that start when runs end, where this Airflow has watchers; paused until their test begins."""

from __future__ import annotations

from datetime import datetime

from e2e_names import DAG, HAS_WATCHERS, EmptyOperator

if HAS_WATCHERS:
    from airflow.sdk import Asset, AssetWatcher

    from airflow_provider_trigger.triggers.events import TriggerRunEventTrigger

    for trigger in (
        TriggerRunEventTrigger(name="events_of_task", task_identifiers="tick"),
        TriggerRunEventTrigger(name="events_of_tag", tags=["ticking"], statuses=["COMPLETED", "FAILED"]),
    ):
        asset = Asset(trigger.name, watchers=[AssetWatcher(name=trigger.name, trigger=trigger)])
        start = datetime(2026, 1, 1)
        with DAG(trigger.name, schedule=[asset], start_date=start, is_paused_upon_creation=True):
            EmptyOperator(task_id="seen")
