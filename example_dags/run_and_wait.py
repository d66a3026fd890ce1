"""Start a run, wait for it without holding a worker slot, and use its output in the next task."""

from __future__ import annotations

from typing import Any

try:
    from airflow.sdk import DAG, task
except ImportError:  # Airflow 2.11
    from airflow.decorators import task
    from airflow.models.dag import DAG

from airflow_provider_trigger.operators.run import RunTriggerTaskOperator

with DAG(dag_id="run_and_wait", schedule=None, params={"file": "cat.png"}):
    resize = RunTriggerTaskOperator(
        task_id="resize",
        task_identifier="resize-image",
        payload={"file": "{{ params.file }}", "width": 100},
        deferrable=True,
        retries=1,
        timeout=3600,
    )

    @task
    def publish(output: Any) -> str:
        """Use what the run returned."""
        return f"resize-image returned {output}"

    publish(resize.output)
