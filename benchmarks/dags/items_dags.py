"""The same 1,000 items as a batch in one task, and as mapped tasks."""

from __future__ import annotations

from airflow.sdk import DAG
from measured_runs import BATCH, ITEMS, MAPPED

from airflow_provider_trigger.operators.batch import RunTriggerTaskBatchOperator
from airflow_provider_trigger.operators.run import RunTriggerTaskOperator

with DAG(BATCH, schedule=None):
    RunTriggerTaskBatchOperator(
        task_id="work", task_identifier="same", payloads=list(range(ITEMS)), deferrable=True
    )

with DAG(MAPPED, schedule=None):
    one = RunTriggerTaskOperator.partial(task_id="work", task_identifier="same", deferrable=True)
    one.expand(payload=list(range(ITEMS)))
