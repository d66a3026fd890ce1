"""Start a Dag when runs end, no matter who has started them (Airflow 3.0.5 and newer)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

try:
    from airflow.sdk import DAG, Asset, AssetWatcher, task

    from airflow_provider_trigger.triggers.events import TriggerRunEventTrigger
except ImportError:
    pass  # older Airflows have no watchers, and so not this Dag
else:
    ends = TriggerRunEventTrigger(
        name="on_run_end",
        task_identifiers="resize-image",
        statuses=["COMPLETED", "FAILED"],
    )
    images = Asset("resized_images", watchers=[AssetWatcher(name="on_run_end", trigger=ends)])

    with DAG(dag_id="on_run_end", schedule=[images], start_date=datetime(2026, 1, 1)):

        @task
        def report(*, triggering_asset_events: Any) -> list[str]:
            """Name the runs that have ended: there may be many since the last Dag run, one twice, or none."""
            events = [event for of_asset in triggering_asset_events.values() for event in of_asset]
            payloads = [event.extra["payload"] for event in events]
            runs = {run["run_id"]: run for run in payloads if not run["is_repeat"]}
            return [f"{run['status']}: {run['run_url']}" for run in runs.values()]

        report()
