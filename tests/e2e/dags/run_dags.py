"""Dags that start Trigger.dev runs, wait for them and use what they return, in spite of what happens."""

from __future__ import annotations

import os
import signal
import time
from datetime import datetime, timedelta
from typing import Any

from e2e_names import DAG, HAS_DEADLINE_ALERTS
from e2e_work import Recorded, Work

from airflow_provider_trigger.notifications.cancel import CancelTriggerRunNotifier
from airflow_provider_trigger.operators.run import RunTriggerTaskOperator

DEFAULTS = {"retry_delay": timedelta(seconds=1)}
START = datetime(2026, 1, 1)


def run(task_id: str, task_identifier: str, **arguments: Any) -> RunTriggerTaskOperator:
    """Return a task that starts a run and waits for it."""
    return RunTriggerTaskOperator(
        task_id=task_id, task_identifier=task_identifier, **{"poll_interval": 0.5} | arguments
    )


class DiesBeforeXCom(RunTriggerTaskOperator):
    """Is killed in its first try when the server has answered, and the run's id is in no XCom yet."""

    def execute(self, context: Any) -> Any:
        """Start the run."""
        ti = context["ti"]
        if ti.try_number == 1:
            push = type(ti).xcom_push

            def die(self: Any, key: str, value: Any, *args: Any) -> None:
                if key == "run_id":
                    os.kill(os.getpid(), signal.SIGKILL)
                push(self, key, value, *args)

            type(ti).xcom_push = die
        return super().execute(context)


for mode in ("running", "deferred"):
    is_deferred = mode == "deferred"

    # The output of one run is the payload of the next one.
    with DAG(f"run_output_{mode}", schedule=None, start_date=START) as dag:
        first = run(
            "first", "double", payload={"number": "{{ dag_run.conf['number'] }}"}, deferrable=is_deferred
        )
        number = {"number": "{{ ti.xcom_pull(task_ids='first')['number'] }}"}
        first >> run("second", "double", payload=number, deferrable=is_deferred)
    globals()[f"run_output_{mode}"] = dag

    # What becomes of the first run is up to the server; the second try follows.
    with DAG(f"run_retry_{mode}", schedule=None, start_date=START, default_args=DEFAULTS) as dag:
        run("work", f"scripted_{mode}", retries=1, deferrable=is_deferred, payload="{{ run_id }}")
    globals()[f"run_retry_{mode}"] = dag

    with DAG(f"run_outage_{mode}", schedule=None, start_date=START) as dag:
        run("work", "slow", deferrable=is_deferred)
    globals()[f"run_outage_{mode}"] = dag

    with DAG(f"run_slow_{mode}", schedule=None, start_date=START) as dag:
        run("work", "never", deferrable=is_deferred, timeout=8, retries=1, retry_delay=timedelta(seconds=1))
    globals()[f"run_slow_{mode}"] = dag

with DAG("run_killed_starting", schedule=None, start_date=START, default_args=DEFAULTS):
    Recorded(task_id="work", task_identifier="starting", retries=1, poll_interval=0.5)

with DAG("run_killed_before_xcom", schedule=None, start_date=START, default_args=DEFAULTS):
    DiesBeforeXCom(task_id="work", task_identifier="quick", retries=1, poll_interval=0.5)


# What the notifier without arguments cancels, and what not.

with DAG("started_task", schedule=None, start_date=START):
    run("other", "never", wait_for_completion=False)
    run(
        "work",
        "never",
        execution_timeout=timedelta(seconds=4),
        cancel_on_kill=False,
        on_failure_callback=CancelTriggerRunNotifier(),
    )


class SlowXCom:
    """A task instance of a busy Airflow: pulling an XCom takes longer than the notifier has."""

    def __init__(self, ti: Any) -> None:
        self._ti = ti

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ti, name)

    def xcom_pull(self, **arguments: Any) -> Any:
        """Pull it late."""
        time.sleep(20)
        return self._ti.xcom_pull(**arguments)


class OnABusyAirflow(CancelTriggerRunNotifier):
    """Cancel although XComs come too late."""

    def notify(self, context: Any) -> None:
        """Cancel the runs."""
        late: Any = {**context, "ti": SlowXCom(context["ti"])}
        super().notify(late)


with DAG("started_dag", schedule=None, start_date=START, on_failure_callback=OnABusyAirflow(timeout=8)):
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
