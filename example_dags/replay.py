"""Start a run again, with the payload that it had, and wait for the new one. To be triggered by hand."""

from __future__ import annotations

try:
    from airflow.sdk import DAG, Param
except ImportError:  # Airflow 2.11
    from airflow.models.dag import DAG
    from airflow.models.param import Param

from airflow_provider_trigger.operators.replay import ReplayTriggerRunOperator

with DAG(dag_id="replay", schedule=None, params={"run_id": Param("", type="string")}):
    ReplayTriggerRunOperator(
        task_id="replay",
        run_id="{{ params.run_id }}",
        deferrable=True,
        timeout=3600,
    )
