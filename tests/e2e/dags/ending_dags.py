"""
One Dag for each way in which a task with Trigger.dev runs of its own can end, running and deferred.

The runs never end by themselves; the tests look at the server's record of them.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from e2e_names import DAG
from e2e_work import note_start

from airflow_provider_trigger.operators.batch import RunTriggerTaskBatchOperator
from airflow_provider_trigger.operators.run import RunTriggerTaskOperator

# What is special in the Dag of each event: arguments of the task, and of the Dag.
EVENTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "execution_timeout": ({"execution_timeout": timedelta(seconds=15)}, {}),  # a busy triggerer begins late
    "timeout": ({"timeout": 6}, {}),
    "no_version": ({"task_identifier": "unknown", "pending_version_timeout": 4}, {}),
    "dagrun_timeout": ({}, {"dagrun_timeout": timedelta(seconds=30)}),
    "marked_failed": ({}, {}),
    "marked_success": ({}, {}),
    "dag_run_marked_failed": ({}, {}),
    "cleared": ({}, {}),
    "process_killed": ({"retries": 1}, {}),
    "triggerer_stopped": ({}, {}),
    "triggerer_killed": ({}, {}),
    "kept_timeout": ({"cancel_on_kill": False, "timeout": 6}, {}),
    "kept_marked_failed": ({"cancel_on_kill": False}, {}),
    "kept_cleared": ({"cancel_on_kill": False}, {}),
}
MODES = ("running", "deferred")


def make_dag(kind: str, event: str, mode: str) -> DAG:
    """Return the Dag of an event."""
    arguments, dag_arguments = EVENTS[event]
    with DAG(
        f"end_{kind}_{event}_{mode}",
        schedule=None,
        start_date=datetime(2026, 1, 1),
        default_args={"retry_delay": timedelta(seconds=1)},
        **dag_arguments,
    ) as dag:
        given: dict[str, Any] = {"task_identifier": "never", "pre_execute": note_start} | arguments
        given |= {"task_id": "work", "deferrable": mode == "deferred"}
        if kind == "batch":
            RunTriggerTaskBatchOperator(payloads="{{ dag_run.conf['payloads'] }}", **given)
        else:
            RunTriggerTaskOperator(payload="{{ dag_run.conf['payloads'][0] }}", poll_interval=0.5, **given)
    return dag


for _kind in ("single", "batch"):
    for _event in EVENTS:
        for _mode in MODES:
            globals()[f"end_{_kind}_{_event}_{_mode}"] = make_dag(_kind, _event, _mode)
