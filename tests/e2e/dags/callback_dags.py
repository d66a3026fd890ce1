"""Dags whose callbacks cancel; the ids of the runs come from XCom, where the Dag run's ``conf`` put them."""

from __future__ import annotations

from typing import Any

from e2e_names import DAG, task
from e2e_work import Work

from airflow_provider_trigger.notifications.cancel import CancelTriggerRunNotifier


@task
def start(dag_run: Any = None) -> list[str]:
    """Stand for the task that starts runs."""
    return dag_run.conf["run_ids"]


CANCEL = CancelTriggerRunNotifier(xcom_task_ids="start")

with DAG("callback_task_fails", schedule=None):
    start() >> Work(task_id="work", tries=("fail",), on_failure_callback=CANCEL)

with DAG("callback_worker_killed", schedule=None):
    start() >> Work(task_id="work", tries=("hold",), on_failure_callback=CANCEL)

with DAG("callback_dag_fails", schedule=None, on_failure_callback=CANCEL):
    start() >> Work(task_id="work", tries=("fail",))
