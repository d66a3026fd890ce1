"""The operator that tests of runs execute."""

from __future__ import annotations

from typing import Any

from airflow_provider_trigger.operators.run import RunTriggerTaskOperator


def operator(task_identifier: str = "resize", **options: Any) -> RunTriggerTaskOperator:
    """Make an operator that starts a run and checks it often."""
    arguments: dict[str, Any] = {"task_id": "start", "poll_interval": 0.1} | options
    return RunTriggerTaskOperator(task_identifier=task_identifier, **arguments)
