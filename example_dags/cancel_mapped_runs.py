"""Cancel the runs of all mapped tasks with one task, also if some of the mapped tasks failed."""

from __future__ import annotations

from typing import Any

try:
    from airflow.sdk import DAG, task
except ImportError:  # Airflow 2.11
    from airflow.decorators import task
    from airflow.models.dag import DAG

from airflow_provider_trigger.operators.cancel import CancelTriggerRunOperator

with DAG(dag_id="cancel_mapped_runs", schedule=None, params={"run_ids": []}):

    @task
    def plan(params: dict[str, Any]) -> list[str]:
        """Return the list to map over."""
        return params["run_ids"]

    @task
    def start(item: str) -> dict[str, str]:
        """Take the place of a task that starts one run and returns what the API answered."""
        return {"id": item}

    CancelTriggerRunOperator(
        task_id="cancel_runs",
        run_ids=start.expand(item=plan()),
        trigger_rule="all_done",
    )
