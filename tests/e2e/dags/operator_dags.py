"""A Dag with the operator, which cancels run by run; the ids come from the Dag run's ``conf``."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from e2e_names import DAG, task

from airflow_provider_trigger.operators.cancel import CancelTriggerRunOperator

with DAG("operator_slow", schedule=None):

    @task
    def start(dag_run: Any = None) -> list[str]:
        """Stand for the task that starts runs."""
        return dag_run.conf["run_ids"]

    start() >> CancelTriggerRunOperator(
        task_id="cancel",
        xcom_task_ids="start",
        max_concurrency=1,
        retries=2,
        retry_delay=timedelta(seconds=1),
    )
