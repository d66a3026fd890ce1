"""A Dag of what a person sees of its runs, and of what it passes on; also run by ``dag.test()``."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

try:
    from airflow.sdk import DAG, task
except ImportError:  # Airflow 2.11
    from airflow import DAG
    from airflow.decorators import task

from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook
from airflow_provider_trigger.operators.run import RunTriggerTaskOperator
from airflow_provider_trigger.sensors.run import TriggerRunSensor

LIMIT = timedelta(seconds=2)


@task
def queue_names() -> list[str]:
    """Send a request that the hook has no method for."""
    return [queue["name"] for queue in TriggerDevHook().request("GET", "/api/v1/queues")["data"]]


with DAG("visible", schedule=None, start_date=datetime(2026, 1, 1), catchup=False):
    for mode in ("running", "deferred"):
        how: dict[str, Any] = {"deferrable": mode == "deferred", "poll_interval": 0.5}
        RunTriggerTaskOperator(
            task_id=f"shown_{mode}",
            task_identifier="report",
            metadata={"percent": 0},
            extra_options={"externalDeploymentId": "commit-{{ dag.dag_id }}"},
            **how,
        )
        RunTriggerTaskOperator(
            task_id=f"late_{mode}", task_identifier="never", timeout=LIMIT, retries=0, **how
        )
        start = RunTriggerTaskOperator(
            task_id=f"start_{mode}", task_identifier="resize", tags=f"part-{mode}", wait_for_completion=False
        )
        start >> TriggerRunSensor(
            task_id=f"found_{mode}", tags=f"part-{mode}", deferrable=mode == "deferred", poke_interval=1
        )
    queue_names()
