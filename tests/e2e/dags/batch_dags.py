"""A Dag that starts a run for each item of a list, in spite of what happens to its process."""

from __future__ import annotations

from datetime import datetime, timedelta

from e2e_names import DAG
from e2e_work import RecordedBatch

from airflow_provider_trigger.operators.batch import RunTriggerTaskBatchOperator

with DAG(
    "batch_killed",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    default_args={"retry_delay": timedelta(seconds=1)},
):
    RecordedBatch(
        task_id="work", task_identifier="part", payloads="{{ dag_run.conf['payloads'] }}", retries=1
    )

with DAG("batch_cleared", schedule=None, start_date=datetime(2026, 1, 1)):
    RunTriggerTaskBatchOperator(
        task_id="work",
        task_identifier="cleared_part",
        payloads=list(range(20)),
        reuse_completed=True,
        deferrable=True,
    )
