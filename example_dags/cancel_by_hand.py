"""Cancel runs now: trigger this Dag, and give their ids, a tag or a batch."""

from __future__ import annotations

from typing import Any

try:
    from airflow.sdk import DAG, Param, task
except ImportError:  # Airflow 2.11
    from airflow.decorators import task
    from airflow.models.dag import DAG
    from airflow.models.param import Param

from airflow_provider_trigger.operators.cancel import CancelTriggerRunOperator

PARAMS = {
    "run_ids": Param(
        None,
        type=["null", "array"],
        items={"type": "string"},
        title="Run ids",
        description="One run id in each line.",
    ),
    "tag": Param(
        None,
        type=["null", "string"],
        title="Tag",
        description="Cancels all runs with this tag that are alive. All runs of a Dag run have the same "
        "tag airflow_dag_run:…, those of a task airflow_task:…; the dashboard shows them at each run.",
    ),
    "batch_id": Param(
        None,
        type=["null", "string"],
        title="Batch id",
        description="Cancels all runs of this batch that are alive.",
    ),
}

with DAG(dag_id="cancel_by_hand", schedule=None, params=PARAMS):

    @task.branch
    def choose(params: dict[str, Any]) -> str:
        """Return which task cancels what is given."""
        given = [name for name in PARAMS if any(params[name] or ())]
        if len(given) != 1:
            raise ValueError(f"Give one of {', '.join(PARAMS)}; given: {', '.join(given) or 'nothing'}")
        return f"cancel_by_{given[0]}"

    choose() >> [
        CancelTriggerRunOperator(
            task_id="cancel_by_run_ids",
            run_ids="{{ params.run_ids | select | list }}",  # without empty lines
        ),
        CancelTriggerRunOperator(task_id="cancel_by_tag", tags="{{ params.tag }}", on_empty="fail"),
        CancelTriggerRunOperator(
            task_id="cancel_by_batch_id", batch_ids="{{ params.batch_id }}", on_empty="fail"
        ),
    ]
