"""Dags that start Trigger.dev runs, wait for them and use what they return, in spite of what happens."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from e2e_names import DAG, HAS_DEADLINE_ALERTS
from e2e_work import Work, note_start

from airflow_provider_trigger.notifications.cancel import CancelTriggerRunNotifier
from airflow_provider_trigger.operators.run import RunTriggerTaskOperator

DEFAULTS = {"retry_delay": timedelta(seconds=1)}
START = datetime(2026, 1, 1)


def run(task_id: str, task_identifier: str, **arguments: Any) -> RunTriggerTaskOperator:
    """Return a task that starts a run and waits for it."""
    return RunTriggerTaskOperator(
        task_id=task_id, task_identifier=task_identifier, **{"poll_interval": 0.5} | arguments
    )


for mode in ("running", "deferred"):
    is_deferred = mode == "deferred"

    # What becomes of the first run is up to the server; the second try follows.
    with DAG(f"run_retry_{mode}", schedule=None, start_date=START, default_args=DEFAULTS) as dag:
        run("work", f"scripted_{mode}", retries=1, deferrable=is_deferred, payload="{{ run_id }}")
    globals()[f"run_retry_{mode}"] = dag

    with DAG(f"run_outage_{mode}", schedule=None, start_date=START) as dag:
        run("work", "slow", deferrable=is_deferred)
    globals()[f"run_outage_{mode}"] = dag

with DAG("run_killed_starting", schedule=None, start_date=START, default_args=DEFAULTS):
    run("work", "starting", retries=1, pre_execute=note_start)


# What the notifier without arguments cancels, and what not.

with DAG("started_dag", schedule=None, start_date=START, on_failure_callback=CancelTriggerRunNotifier()):
    begin = run("begin", "never", wait_for_completion=False)
    many = RunTriggerTaskOperator.partial(
        task_id="many", task_identifier="never", wait_for_completion=False
    ).expand(payload=[1, 2])
    [begin, many] >> Work(task_id="work", tries=("hold and fail",))

if HAS_DEADLINE_ALERTS:
    from airflow.sdk import AsyncCallback, DeadlineAlert, DeadlineReference

    with DAG(
        "started_deadline",
        schedule=None,
        start_date=START,
        deadline=DeadlineAlert(
            reference=DeadlineReference.DAGRUN_QUEUED_AT,
            interval=timedelta(seconds=8),
            callback=AsyncCallback(CancelTriggerRunNotifier, kwargs={"timeout": 20}),
        ),
    ):
        run("begin", "never", wait_for_completion=False) >> Work(task_id="work", tries=("hold",))
