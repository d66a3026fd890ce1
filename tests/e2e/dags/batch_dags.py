"""Dags that start a run for each item of a list, whatever happens to their process and to the runs."""

from __future__ import annotations

from datetime import datetime, timedelta

from e2e_names import DAG
from e2e_work import note_start

from airflow_provider_trigger.operators.batch import RunTriggerTaskBatchOperator

START = datetime(2026, 1, 1)
GIVEN = "{{ dag_run.conf['payloads'] }}"

with DAG("batch_killed", schedule=None, start_date=START, default_args={"retry_delay": timedelta(seconds=1)}):
    RunTriggerTaskBatchOperator(
        task_id="work", task_identifier="part", payloads=GIVEN, retries=1, pre_execute=note_start
    )

with DAG("orders", schedule=None, start_date=START):
    RunTriggerTaskBatchOperator(
        task_id="ship", task_identifier="ship-order", payloads=GIVEN, reuse_completed=True, deferrable=True
    )
