"""Many tasks that wait in the triggerer at the same time."""

from __future__ import annotations

from airflow.sdk import DAG
from measured_runs import MANY, TASKS_OF_MANY

from airflow_provider_trigger.operators.run import RunTriggerTaskOperator

with DAG(MANY, schedule=None):
    mapped = RunTriggerTaskOperator.partial(task_id="wait", task_identifier=MANY, deferrable=True)
    mapped.expand(payload=list(range(TASKS_OF_MANY)))
