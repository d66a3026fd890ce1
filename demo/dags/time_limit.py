"""A task that waits for a run which takes longer than the task may."""

from __future__ import annotations

from datetime import timedelta

try:
    from airflow.sdk import DAG
except ImportError:  # Airflow 2.11
    from airflow.models.dag import DAG

from airflow_provider_trigger.operators.run import RunTriggerTaskOperator

with DAG(dag_id="time_limit", schedule=None):
    RunTriggerTaskOperator(
        task_id="train",
        task_identifier="train-model",
        execution_timeout=timedelta(seconds=5),
    )
