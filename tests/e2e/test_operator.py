"""The operator in the midst of its cancels: marked as failed, or its scheduler dies and comes back."""

from __future__ import annotations

import pytest
from whole_airflow.airflow import WholeAirflow
from whole_airflow.processes import kill_all, processes_of, wait_until
from whole_airflow.versions import SURVIVES_DEAD_CELERY_WORKERS

from airflow_provider_trigger.testing import TriggerDevServer


@pytest.mark.parametrize("mark", ["task", "dag_run"])
def test_a_mark_as_failed_stops_it(airflow: WholeAirflow, slow_server: TriggerDevServer, mark: str) -> None:
    runs = [slow_server.add_run() for _ in range(100)]
    run_ids = [run.id for run in runs]
    airflow.api.trigger("operator_slow", mark, {"run_ids": run_ids})
    wait_until(
        lambda: "CANCELED" in {run.status for run in runs}, timeout=60, what="the first run to be canceled"
    )

    if mark == "task":
        airflow.api.mark_task("operator_slow", mark, "cancel", "failed")
    else:
        airflow.api.mark_dag_run("operator_slow", mark, "failed")

    assert airflow.api.wait_for_dag_run("operator_slow", mark) == "failed"
    wait_until(
        lambda: "not sent: canceling was stopped" in airflow.task_log("operator_slow", mark, "cancel"),
        timeout=30,
        what=lambda: f"the task's log:\n{airflow.task_log('operator_slow', mark, 'cancel')}",
    )
    assert "EXECUTING" in {run.status for run in runs}
    assert airflow.api.states("operator_slow", mark)["cancel"] == "failed"


def test_dead_workers_leave_each_run_canceled(airflow: WholeAirflow, slow_server: TriggerDevServer) -> None:
    if airflow.executor == "CeleryExecutor" and not SURVIVES_DEAD_CELERY_WORKERS:
        pytest.skip("this Airflow's scheduler ends where workers have died")
    runs = [slow_server.add_run() for _ in range(20)]
    run_ids = [run.id for run in runs]
    airflow.api.trigger("operator_slow", "dies", {"run_ids": run_ids})
    wait_until(
        lambda: sum(run.cancel_requests > 0 for run in runs) >= 3, timeout=60, what="three canceled runs"
    )

    dying = [*{airflow.processes["scheduler"], *airflow.workers}]
    dying_children = processes_of({process.pid for process in dying})
    for process in dying:
        process.kill()
    kill_all(dying_children)
    in_the_midst = sum(run.cancel_requests > 0 for run in runs) < len(runs)
    for process in dying:
        process.start()
    airflow.wait_until_healthy()

    assert in_the_midst
    assert airflow.api.wait_for_dag_run("operator_slow", "dies", timeout=180) == "success"
    assert {run.status for run in runs} == {"CANCELED"}
    results = airflow.api.xcom("operator_slow", "dies", "cancel")
    assert [(result["run_id"], result["outcome"]) for result in results] == [
        (run_id, "canceled") for run_id in run_ids
    ]
