"""
Cancel runs from the failure callback of a Dag: when a Dag run fails, also by its ``dagrun_timeout``.

A template gives the ids. It works on every Airflow except 3.0.4; ``xcom_task_ids`` on 2.11, 3.1 and newer.
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
        """Fail while the runs execute."""
        raise RuntimeError("something failed at night")

    work()
