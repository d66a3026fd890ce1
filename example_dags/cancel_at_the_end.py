"""At the end of a Dag, cancel the runs that a task started, also if a task failed."""

from __future__ import annotations

from typing import Any

try:
    from airflow.sdk import DAG, task
except ImportError:  # Airflow 2.11
    from airflow.decorators import task
    from airflow.models.dag import DAG

from airflow_provider_trigger.operators.cancel import CancelTriggerRunOperator

with DAG(dag_id="cancel_at_the_end", schedule=None, params={"run_ids": []}):

    @task
    def start(params: dict[str, Any]) -> list[str]:
        """Take the place of a task that starts runs and returns their ids, which go to XCom."""
        return params["run_ids"]

    cancel_runs = CancelTriggerRunOperator(
        task_id="cancel_runs",
        xcom_task_ids="start",
        trigger_rule="all_done",
    )

    start() >> cancel_runs
