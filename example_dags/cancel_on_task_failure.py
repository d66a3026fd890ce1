"""Cancel runs from the failure callback of a task."""

from __future__ import annotations

from typing import Any

try:
    from airflow.sdk import DAG, task
except ImportError:  # Airflow 2.11
    from airflow.decorators import task
    from airflow.models.dag import DAG

from airflow_provider_trigger.notifications.cancel import CancelTriggerRunNotifier

with DAG(dag_id="cancel_on_task_failure", schedule=None, params={"run_ids": []}):

    @task
    def start(params: dict[str, Any]) -> list[str]:
        """Take the place of a task that starts runs and returns their ids, which go to XCom."""
        return params["run_ids"]

    @task(on_failure_callback=CancelTriggerRunNotifier(xcom_task_ids="start"))
    def work() -> None:
        """Fail while the runs execute."""
        raise RuntimeError("something failed at night")

    start() >> work()
