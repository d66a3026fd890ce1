"""
Let one run return a list, start a run for each of its items, and give all their outputs to one last run.

The work is done in three Trigger.dev tasks; Airflow passes their outputs on.
"""

from __future__ import annotations

try:
    from airflow.sdk import DAG
except ImportError:  # Airflow 2.11
    from airflow.models.dag import DAG

from airflow_provider_trigger.operators.run import RunTriggerTaskOperator

with DAG(dag_id="fan_out_fan_in", schedule=None):
    # Returns those that can be resized.
    check = RunTriggerTaskOperator(
        task_id="check",
        task_identifier="check-images",
        payload=[{"file": "cat.png", "width": 100}, {"file": "dog.png", "width": 100}],
        deferrable=True,
        retries=1,
        timeout="10m",
    )

    resize = RunTriggerTaskOperator.partial(
        task_id="resize",
        task_identifier="resize-image",
        deferrable=True,
        retries=1,
        timeout="1h",
    ).expand(payload=check.output)

    RunTriggerTaskOperator(
        task_id="publish",
        task_identifier="publish-album",
        # Not a template: on Airflow 2.11 a template makes no list of a mapped task's outputs.
        payload={"album": "pets", "images": resize.output},
        deferrable=True,
        retries=1,
        timeout="10m",
    )
