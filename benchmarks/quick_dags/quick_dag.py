"""Many tasks whose runs end soon after the tasks have deferred; it needs no other provider."""

from __future__ import annotations

import os

from airflow.sdk import DAG
from measured_runs import QUICK

from airflow_provider_trigger.operators.run import RunTriggerTaskOperator

with DAG(QUICK, schedule=None):
    mapped = RunTriggerTaskOperator.partial(task_id="wait", task_identifier=QUICK, deferrable=True)
    mapped.expand(payload=list(range(int(os.environ["TASKS_OF_QUICK"]))))
