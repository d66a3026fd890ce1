"""Update an asset by a run; another Dag reads from its event which run that was, and what it cost."""

from __future__ import annotations

from datetime import datetime
from typing import Any

try:
    from airflow.sdk import DAG, Asset, task
except ImportError:  # Airflow 2.11
    from airflow.datasets import Dataset as Asset
    from airflow.decorators import task
    from airflow.models.dag import DAG

from airflow_provider_trigger.operators.run import RunTriggerTaskOperator

THUMBNAILS = Asset("s3://images/thumbnails")

with DAG(dag_id="asset_event", schedule=None):
    RunTriggerTaskOperator(
        task_id="resize",
        task_identifier="resize-image",
        payload={"file": "cat.png", "width": 100},
        deferrable=True,
        retries=1,
        outlets=[THUMBNAILS],
    )

with DAG(dag_id="asset_event_consumer", schedule=[THUMBNAILS], start_date=datetime(2026, 1, 1)):

    @task(inlets=[THUMBNAILS])
    def report(*, inlet_events: Any) -> str:
        """Say what the last update has cost."""
        run = inlet_events[THUMBNAILS][-1].extra["trigger_dev"]
        return f"{run['run_id']} has cost {run['cost_in_cents']} cents: {run['run_url']}"

    report()
