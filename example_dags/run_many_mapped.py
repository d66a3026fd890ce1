"""Start a run for each item of a list that another task returns, wait for all, and use their outputs."""

from __future__ import annotations

from typing import Any

try:
    from airflow.sdk import DAG, task
except ImportError:  # Airflow 2.11
    from airflow.decorators import task
    from airflow.models.dag import DAG

from airflow_provider_trigger.operators.run import RunTriggerTaskOperator

with DAG(dag_id="run_many_mapped", schedule=None, params={"files": ["cat.png", "dog.png", "owl.png"]}):

    @task
    def payloads(params: dict[str, Any]) -> list[dict[str, Any]]:
        """Return a payload for each run."""
        return [{"file": file, "width": 100} for file in params["files"]]

    resize = RunTriggerTaskOperator.partial(
        task_id="resize",
        task_identifier="resize-image",
        deferrable=True,
        retries=1,
        timeout=3600,
    ).expand(payload=payloads())

    @task
    def total(outputs: list[dict[str, Any]]) -> int:
        """Use what all runs returned, in the order of the payloads."""
        return sum(output["width"] for output in outputs)

    total(resize.output)
