"""Start a run for each item of a list with one task, and use their outputs in the next one."""

from __future__ import annotations

from typing import Any

try:
    from airflow.sdk import DAG, task
except ImportError:  # Airflow 2.11
    from airflow.decorators import task
    from airflow.models.dag import DAG

from airflow_provider_trigger.operators.batch import RunTriggerTaskBatchOperator

with DAG(dag_id="batch", schedule=None, params={"files": ["cat.png", "dog.png"]}):

    @task
    def plan(params: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the payload of each run."""
        return [{"file": file, "width": 100} for file in params["files"]]

    resize = RunTriggerTaskBatchOperator(
        task_id="resize",
        task_identifier="resize-image",
        payloads=plan(),
        deferrable=True,
        retries=1,
    )

    @task
    def publish(outputs: list[Any]) -> int:
        """Use what the runs returned, in the order of their payloads."""
        return len(outputs)

    publish(resize.output)
