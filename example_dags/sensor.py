"""Start a run, do something else while it executes, and wait for it then."""

from __future__ import annotations

from typing import Any

try:
    from airflow.sdk import DAG, task
except ImportError:  # Airflow 2.11
    from airflow.decorators import task
    from airflow.models.dag import DAG

from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook
from airflow_provider_trigger.operators.run import RunTriggerTaskOperator
from airflow_provider_trigger.sensors.run import TriggerRunSensor

with DAG(dag_id="sensor", schedule=None):
    start = RunTriggerTaskOperator(
        task_id="start",
        task_identifier="train-model",
        wait_for_completion=False,
    )

    @task
    def work() -> None:
        """Do something while the run executes."""

    wait = TriggerRunSensor(
        task_id="wait",
        xcom_task_ids="start",
        deferrable=True,
        retries=1,
        timeout=3600,
    )

    @task
    def use(started: str) -> Any:
        """Fetch the output: the sensor returns only the run's id and status."""
        return TriggerDevHook().get_output(started)

    start >> work() >> wait >> use(start.output)
