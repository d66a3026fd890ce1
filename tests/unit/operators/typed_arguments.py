"""What a type checker says of our arguments and Airflow's: ``make lint`` reads this file, nothing runs it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow_provider_trigger.notifications.cancel import CancelTriggerRunNotifier
from airflow_provider_trigger.operators.batch import RunTriggerTaskBatchOperator
from airflow_provider_trigger.operators.cancel import CancelTriggerRunOperator
from airflow_provider_trigger.operators.replay import ReplayTriggerRunOperator
from airflow_provider_trigger.operators.run import RunTriggerTaskOperator
from airflow_provider_trigger.sensors.run import TriggerRunSensor


class Orders(RunTriggerTaskOperator):
    def __init__(self, *, orders: list[int], **kwargs: Any) -> None:
        super().__init__(task_identifier="orders", payload=orders, **kwargs)


def right(**given: Any) -> None:
    RunTriggerTaskOperator(task_id="a", retries=2, task_identifier="t", timeout="5m", queue="gpu")
    RunTriggerTaskBatchOperator(task_id="a", retries=2, task_identifier="t", payloads=[], fail_on="all")
    ReplayTriggerRunOperator(task_id="a", retries=2, run_id="run_1", timeout=timedelta(hours=1))
    CancelTriggerRunOperator(task_id="a", retries=2, run_ids="run_1", on_empty="fail")
    TriggerRunSensor(task_id="a", retries=2, run_ids=["run_1"], soft_fail=True, poll_interval=5)
    CancelTriggerRunNotifier(run_ids="run_1", timeout="1m")
    RunTriggerTaskOperator.partial(task_id="a", task_identifier="t").expand(payload=[1, 2])
    RunTriggerTaskOperator(**given)
    RunTriggerTaskOperator(
        task_id="a", task_identifier="t", max_attempts="{{ a }}", max_duration="{{ b }}", priority="{{ c }}"
    )
    RunTriggerTaskBatchOperator(task_id="a", task_identifier="t", payloads="{{ a }}", metadata="{{ b }}")
    Orders(task_id="a", retries=2, orders=[1], deferrable=True)


def wrong() -> None:
    RunTriggerTaskOperator(task_id="a")  # type: ignore[call-arg]
    RunTriggerTaskOperator(task_id="a", task_identifier=5)  # type: ignore[arg-type]
    RunTriggerTaskOperator(task_id="a", task_identifier="t", wait_for_completion="no")  # type: ignore[arg-type]
    RunTriggerTaskBatchOperator(task_id="a", task_identifier="t", fail_on=[])  # type: ignore[arg-type]
    RunTriggerTaskBatchOperator(task_id="a", task_identifier="t", timeout=[])  # type: ignore[arg-type]
    ReplayTriggerRunOperator(task_id="a", run_id="run_1", deferrable=1)  # type: ignore[arg-type]
    CancelTriggerRunOperator(task_id="a", on_empty="skip")  # type: ignore[arg-type]
    TriggerRunSensor(task_id="a", return_outputs=1)  # type: ignore[arg-type]
    CancelTriggerRunNotifier(retries=2)  # type: ignore[call-arg]
    Orders(task_id="a", orders="all")  # type: ignore[arg-type]
