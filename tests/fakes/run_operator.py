"""The operators that tests of runs execute."""

from __future__ import annotations

from typing import Any

from airflow_provider_trigger.operators.batch import RunTriggerTaskBatchOperator
from airflow_provider_trigger.operators.run import RunTriggerTaskOperator


def operator(task_identifier: str = "resize", **arguments: Any) -> RunTriggerTaskOperator:
    """Make an operator that starts a run and checks it often."""
    given: dict[str, Any] = {"task_id": "start", "poll_interval": 0.1} | arguments
    return RunTriggerTaskOperator(task_identifier=task_identifier, **given)


def operator_in_worker(**arguments: Any) -> RunTriggerTaskOperator:
    """Make one that waits in its worker."""
    given: dict[str, Any] = {"task_id": "work", "deferrable": False, "poll_interval": 0.02} | arguments
    return operator(**given)


def batch(task_identifier: str = "resize", **arguments: Any) -> RunTriggerTaskBatchOperator:
    """Make an operator that starts a run for each item."""
    given: dict[str, Any] = {"task_id": "start", "poll_interval": 0.1} | arguments
    return RunTriggerTaskBatchOperator(task_identifier=task_identifier, **given)


def batch_in_worker(**arguments: Any) -> RunTriggerTaskBatchOperator:
    """Make one that waits in its worker."""
    given: dict[str, Any] = {"task_id": "work", "deferrable": False, "poll_interval": 0.02, "payloads": []}
    return batch(**given | {"timeout": 60} | arguments)
