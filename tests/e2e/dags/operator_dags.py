"""Dags with the operator; the ids of the runs come from the Dag run's ``conf``."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from e2e_names import DAG, task, task_group
from e2e_work import Work

from airflow_provider_trigger.operators.cancel import CancelTriggerRunOperator


@task
def start(dag_run: Any = None) -> list[str]:
    """Stand for the task that starts runs."""
    return dag_run.conf["run_ids"]


@task
def start_one(item: str | None) -> str | None:
    """Stand for a mapped task that starts one run each, or none."""
    return item


@task
def start_two(ti: Any = None, dag_run: Any = None) -> None:
    """Stand for a task that puts its runs under keys of its own."""
    ti.xcom_push(key="first", value=dag_run.conf["run_ids"][0])
    ti.xcom_push(key="others", value=dag_run.conf["run_ids"][1:])


with DAG("operator_output", schedule=None):
    CancelTriggerRunOperator(task_id="cancel", run_ids=start())

with DAG("operator_xcom_task_ids", schedule=None):
    start() >> CancelTriggerRunOperator(task_id="cancel", xcom_task_ids="start")

with DAG("operator_xcom_key", schedule=None):
    start_two() >> CancelTriggerRunOperator(
        task_id="cancel",
        run_ids="{{ ti.xcom_pull(task_ids='start_two', key='first') }}",
        xcom_task_ids=["start_two"],
        xcom_key="others",
    )

with DAG("operator_mapped_output", schedule=None):
    CancelTriggerRunOperator(task_id="cancel", run_ids=start_one.expand(item=start()))

with DAG("operator_mapped_xcom_task_ids", schedule=None):
    start_one.expand(item=start()) >> CancelTriggerRunOperator(task_id="cancel", xcom_task_ids="start_one")

with DAG("operator_mapped_group", schedule=None):

    @task_group
    def group(item: str) -> None:
        started = start_one(item)
        started >> CancelTriggerRunOperator(task_id="output", run_ids=started)
        started >> CancelTriggerRunOperator(task_id="xcom_task_ids", xcom_task_ids="group.start_one")

    group.expand(item=start())

with DAG("operator_teardown", schedule=None):
    runs = start()
    cancel = CancelTriggerRunOperator(task_id="cancel", run_ids=runs).as_teardown(setups=runs)
    runs >> Work(task_id="work", tries=("fail",)) >> cancel

with DAG("operator_one_failed", schedule=None):
    work = Work(task_id="work", tries=("fail",))
    cancel = CancelTriggerRunOperator(task_id="cancel", xcom_task_ids="start", trigger_rule="one_failed")
    start() >> work >> cancel

with DAG("operator_one_failed_unused", schedule=None):
    work = Work(task_id="work", tries=("succeed",))
    cancel = CancelTriggerRunOperator(task_id="cancel", xcom_task_ids="start", trigger_rule="one_failed")
    start() >> work >> cancel

with DAG("operator_all_done", schedule=None):
    work = Work(task_id="work", tries=("fail",))
    cancel = CancelTriggerRunOperator(task_id="cancel", xcom_task_ids="start", trigger_rule="all_done")
    start() >> work >> cancel

with DAG("operator_slow", schedule=None):
    start() >> CancelTriggerRunOperator(
        task_id="cancel",
        xcom_task_ids="start",
        max_concurrency=1,
        retries=2,
        retry_delay=timedelta(seconds=1),
    )
