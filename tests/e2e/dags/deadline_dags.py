"""A Dag with a deadline alert that cancels, where Airflow has deadline alerts that run a notifier (3.2)."""

from __future__ import annotations

from datetime import timedelta

from e2e_names import DAG, HAS_DEADLINE_ALERTS
from e2e_work import Work

from airflow_provider_trigger.notifications.cancel import CancelTriggerRunNotifier

if HAS_DEADLINE_ALERTS:
    from airflow.sdk import AsyncCallback, DeadlineAlert, DeadlineReference

    with DAG(
        "deadline_missed",
        schedule=None,
        deadline=DeadlineAlert(
            reference=DeadlineReference.DAGRUN_QUEUED_AT,
            interval=timedelta(seconds=3),
            callback=AsyncCallback(
                CancelTriggerRunNotifier, kwargs={"run_ids": "{{ dag_run.conf['run_ids'] }}"}
            ),
        ),
    ):
        Work(task_id="work", tries=("hold",))
