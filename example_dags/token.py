"""
A run waits in its middle for a task of Airflow, and learns of it when that fails.

The run gets the id of a waitpoint token, and waits for it by ``wait.forToken``. A task of Airflow completes
it with what the run needs. If any task fails before, the callback completes it with data that say so, as
there is no completion as an error. After ``timeout``, the run continues without data.
"""

from __future__ import annotations

from typing import Any

try:
    from airflow.sdk import DAG, task
except ImportError:  # Airflow 2.11
    from airflow.decorators import task
    from airflow.models.dag import DAG

from airflow_provider_trigger.notifications.waitpoint import CompleteWaitpointTokenNotifier
from airflow_provider_trigger.operators.run import RunTriggerTaskOperator
from airflow_provider_trigger.operators.waitpoint import (
    CompleteWaitpointTokenOperator,
    CreateWaitpointTokenOperator,
)
from airflow_provider_trigger.sensors.run import TriggerRunSensor

tell_the_run = CompleteWaitpointTokenNotifier(
    xcom_task_ids="create_token",
    data={"failed": True, "dag": "{{ dag.dag_id }}"},
)

with DAG(
    dag_id="token",
    schedule=None,
    params={"images": 3},
    default_args={"on_failure_callback": tell_the_run},
):
    token = CreateWaitpointTokenOperator(task_id="create_token", timeout="6h")

    start = RunTriggerTaskOperator(
        task_id="start",
        task_identifier="publish-album",
        payload={"token_id": token.output["id"]},
        wait_for_completion=False,
    )

    @task
    def check_images(params: Any) -> dict[str, Any]:
        """Do what the run waits for."""
        if not params["images"]:
            raise ValueError("there are no images")
        return {"failed": False, "images": params["images"]}

    checked = check_images()
    complete = CompleteWaitpointTokenOperator(
        task_id="complete",
        token_ids=token.output["id"],
        data=checked,
    )
    wait = TriggerRunSensor(task_id="wait", xcom_task_ids="start", return_outputs=True)

    start >> checked
    complete >> wait
