"""Start a run for each item of a list, accept that a few of them fail, and name these in the next task."""

from __future__ import annotations

from typing import Any

try:
    from airflow.sdk import DAG, XComArg, task
except ImportError:  # Airflow 2.11
    from airflow.decorators import task
    from airflow.models.dag import DAG
    from airflow.models.xcom_arg import XComArg

from airflow_provider_trigger.operators.batch import RunTriggerTaskBatchOperator

FILES = [f"{number}.png" for number in range(10)]

with DAG(dag_id="batch_some_fail", schedule=None, params={"files": FILES}):

    @task
    def plan(params: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the payload of each run."""
        return [{"file": file, "width": 100} for file in params["files"]]

    payloads = plan()
    resize = RunTriggerTaskBatchOperator(
        task_id="resize",
        task_identifier="resize-image",
        payloads=payloads,
        fail_on="10%",
        reuse_completed=True,
        deferrable=True,
        retries=1,
    )

    @task
    def name_failed(payloads: list[dict[str, Any]], results: list[dict[str, Any]]) -> list[str]:
        """Return which files failed, and why."""
        failed = [result for result in results if result["error"]]
        return [f"{payloads[result['index']]['file']}: {result['error']}" for result in failed]

    name_failed(payloads, XComArg(resize, key="results"))
