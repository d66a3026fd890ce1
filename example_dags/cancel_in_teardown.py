"""Cancel runs in a teardown: also when the work fails, and without hiding that it failed."""

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
        """Stand in for the task that starts runs: its return value, the run ids, goes to XCom."""
        return params["run_ids"]

    @task
    def work() -> None:
        """Stand in for what the Dag does while the runs are going on."""

    started = start()
    cancel_runs = CancelTriggerRunOperator(task_id="cancel_runs", run_ids=started)
    started >> work() >> cancel_runs.as_teardown(setups=started)
