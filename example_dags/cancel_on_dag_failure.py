"""
Cancel runs when a Dag run fails, also by its time limit, from the Dag's callback.

A template gives the ids, which works on every Airflow; on 2.11 and from 3.1 on ``xcom_task_ids`` does too.
"""

from __future__ import annotations

try:
    from airflow.sdk import DAG, task
except ImportError:  # Airflow 2.11
    from airflow.decorators import task
    from airflow.models.dag import DAG

from airflow_provider_trigger.notifications.cancel import CancelTriggerRunNotifier

with DAG(
    dag_id="cancel_on_dag_failure",
    schedule=None,
    params={"run_ids": []},
    on_failure_callback=CancelTriggerRunNotifier(run_ids="{{ params.run_ids }}"),
):

    @task
    def work() -> None:
        """Fail while the runs are going on."""
        raise RuntimeError("something failed at night")

    work()
