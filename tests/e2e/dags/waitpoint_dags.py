"""Dags whose tasks create a waitpoint token, complete one, and wait for one, while they are killed."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from e2e_names import AIRFLOW, DAG
from e2e_work import Work, note_start

from airflow_provider_trigger.notifications.waitpoint import CompleteWaitpointTokenNotifier
from airflow_provider_trigger.operators.run import RunTriggerTaskOperator
from airflow_provider_trigger.operators.waitpoint import (
    CompleteWaitpointTokenOperator,
    CreateWaitpointTokenOperator,
)
from airflow_provider_trigger.sensors.waitpoint import WaitpointTokenSensor

START = datetime(2026, 1, 1)
# They say which process they are in, so that a test can kill it.
KILLED: dict[str, Any] = {
    "task_id": "work",
    "retries": 1,
    # On 2.11 the scheduler may report the kill twice, and the second time would fail a retry that has begun.
    "retry_delay": timedelta(seconds=1 if AIRFLOW >= (3, 0) else 6),
    "pre_execute": note_start,
}
GIVEN = "{{ dag_run.conf['token_id'] }}"

with DAG("waitpoint_create", schedule=None, start_date=START):
    CreateWaitpointTokenOperator(**KILLED, timeout="1h")

with DAG("waitpoint_complete", schedule=None, start_date=START):
    CompleteWaitpointTokenOperator(**KILLED, token_ids=GIVEN, data={"rows": 3})

for mode in ("poke", "reschedule"):
    with DAG(f"waitpoint_wait_{mode}", schedule=None, start_date=START) as dag:
        WaitpointTokenSensor(**KILLED, token_id=GIVEN, poke_interval=1, mode=mode)
    globals()[f"waitpoint_wait_{mode}"] = dag

with DAG(
    "waitpoint_dag_fails",
    schedule=None,
    start_date=START,
    on_failure_callback=CompleteWaitpointTokenNotifier(
        xcom_task_ids="create", data={"failed": True, "dag": "{{ dag.dag_id }}"}
    ),
):
    create = CreateWaitpointTokenOperator(task_id="create")
    start = RunTriggerTaskOperator(
        task_id="start",
        task_identifier="publish-album",
        payload={"token_id": create.output["id"]},
        wait_for_completion=False,
    )
    start >> Work(task_id="work", tries=("fail",))
