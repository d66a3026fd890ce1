"""
Let one run make a list, start a run for each item of it, and give all outputs to one last run.

All three are Trigger.dev tasks; Airflow hands their outputs on.
"""

from __future__ import annotations

try:
    from airflow.sdk import DAG
except ImportError:  # Airflow 2.11
    from airflow.models.dag import DAG

from airflow_provider_trigger.operators.run import RunTriggerTaskOperator

with DAG(dag_id="fan_out_fan_in", schedule=None, params={"album": "holidays"}):
    # Returns a list of payloads, such as [{"file": "cat.png", "width": 100}, ...].
    find = RunTriggerTaskOperator(
        task_id="find",
        task_identifier="find-images",
        payload={"album": "{{ params.album }}"},
        deferrable=True,
        timeout="10m",
    )

    resize = RunTriggerTaskOperator.partial(
        task_id="resize",
        task_identifier="resize-image",
        deferrable=True,
        timeout="1h",
    ).expand(payload=find.output)

    RunTriggerTaskOperator(
        task_id="publish",
        task_identifier="publish-album",
        # Not a template: on Airflow 2.11 a template makes no list of a mapped task's outputs.
        payload={"album": "{{ params.album }}", "images": resize.output},
        deferrable=True,
        timeout="10m",
    )
