"""
Start a run that no task waits for, and cancel it when the Dag run fails.

The notifier without arguments cancels what this Dag run has started, and nothing else. It works on every
Airflow except 3.0.4.
"""

from __future__ import annotations

try:
    from airflow.sdk import DAG, task
except ImportError:  # Airflow 2.11
    from airflow.decorators import task
    from airflow.models.dag import DAG

from airflow_provider_trigger.notifications.cancel import CancelTriggerRunNotifier
from airflow_provider_trigger.operators.run import RunTriggerTaskOperator

with DAG(dag_id="cancel_on_failure", schedule=None, on_failure_callback=CancelTriggerRunNotifier()):
    start = RunTriggerTaskOperator(
        task_id="start",
        task_identifier="train-model",
        wait_for_completion=False,
    )

    @task
    def work() -> None:
        """Fail while the run executes."""
        raise RuntimeError("something failed at night")

    start >> work()
