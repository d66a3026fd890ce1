"""The Dag of a night on which some items of a batch fail, during an outage."""

from __future__ import annotations

from datetime import datetime

from e2e_names import DAG

from airflow_provider_trigger.operators.batch import RunTriggerTaskBatchOperator

with DAG("orders", schedule=None, start_date=datetime(2026, 1, 1)):
    RunTriggerTaskBatchOperator(
        task_id="ship",
        task_identifier="ship-order",
        payloads="{{ dag_run.conf['payloads'] }}",
        reuse_completed=True,
        deferrable=True,
    )
