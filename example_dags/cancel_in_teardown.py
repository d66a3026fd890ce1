"""Cancel runs in a teardown, also when the work fails. The Dag run fails if the work or the cancel fails."""

from __future__ import annotations

from typing import Any

try:
    from airflow.sdk import DAG, task
except ImportError:  # Airflow 2.11
    from airflow.decorators import task
    from airflow.models.dag import DAG

from airflow_provider_trigger.operators.cancel import CancelTriggerRunOperator

with DAG(dag_id="cancel_in_teardown", schedule=None, params={"run_ids": []}):

    @task
    def start(params: dict[str, Any]) -> list[str]:
        """Take the place of a task that starts runs and returns their ids, which go to XCom."""
        return params["run_ids"]

    @task
    def work() -> None:
        """Take the place of what the Dag does while the runs execute."""

    @task(trigger_rule="one_failed", retries=0)
    def fail_if_cancel_failed() -> None:
        """Fail the Dag run, because Airflow ignores a failed teardown."""
        raise RuntimeError("Trigger.dev runs may still be running: see the log of cancel_runs")

    started = start()
    cancel_runs = CancelTriggerRunOperator(task_id="cancel_runs", run_ids=started)
    started >> work() >> cancel_runs.as_teardown(setups=started) >> fail_if_cancel_failed()
