"""Start a run and wait for it with this provider."""

from __future__ import annotations

from airflow.sdk import DAG
from measured_runs import OWN, PAYLOAD, WAIT

from airflow_provider_trigger.operators.run import RunTriggerTaskOperator

with DAG(OWN, schedule=None):
    RunTriggerTaskOperator(task_id=WAIT, task_identifier=OWN, payload=PAYLOAD, deferrable=True)
