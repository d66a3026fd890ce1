"""Cancel runs in a teardown, also when the work fails; the Dag run then fails, too."""

from __future__ import annotations

from typing import Any

try:
    from airflow.sdk import DAG, task
except ImportError:  # Airflow 2.11
    from airflow.decorators import task
    from airflow.models.dag import DAG

from airflow_provider_trigger.operators.cancel import CancelTriggerRunOperator

with DAG(dag_id="cancel_in_teardown", schedule=None, params={"run_ids": []}):

    @task
    def start(params: dict[str, Any]) -> list[str]:
        """Take the place of a task that starts runs and returns their ids, which go to XCom."""
        return params["run_ids"]

    @task
    def work() -> None:
        """Take the place of what the Dag does while the runs execute."""

    started = start()
    cancel_runs = CancelTriggerRunOperator(task_id="cancel_runs", run_ids=started)
    started >> work() >> cancel_runs.as_teardown(setups=started)
