"""The example Dags, as they are."""

from __future__ import annotations

from pathlib import Path

import pytest
from whole_airflow.airflow import WholeAirflow
from whole_airflow.processes import wait_until
from whole_airflow.versions import EXAMPLES_WITHOUT_DAG

from airflow_provider_trigger.testing import TriggerDevServer

FILES = (Path(__file__).parents[2] / "example_dags").glob("*.py")
# Watchers are in test_events.py, waitpoint tokens in test_waitpoint.py.
ELSEWHERE = {"on_run_end", "approval", "token"}
EXAMPLES = sorted({path.stem for path in FILES} - {*EXAMPLES_WITHOUT_DAG, *ELSEWHERE})
# The examples that start runs themselves: how many, and how these end.
STARTING = {
    "asset_event": (1, "COMPLETED"),
    "batch": (2, "COMPLETED"),
    "batch_some_fail": (10, "COMPLETED"),
    "cancel_on_failure": (1, "CANCELED"),
    "fan_out_fan_in": (4, "COMPLETED"),
    "replay": (1, "COMPLETED"),
    "retry_policy": (1, "COMPLETED"),
    "run_and_wait": (1, "COMPLETED"),
    "run_many_mapped": (3, "COMPLETED"),
    "sensor": (1, "COMPLETED"),
}


@pytest.mark.parametrize("dag_id", [dag_id for dag_id in EXAMPLES if dag_id not in STARTING])
def test_example_cancels_its_runs(airflow: WholeAirflow, server: TriggerDevServer, dag_id: str) -> None:
    runs = [server.add_run() for _ in range(3)]

    state = airflow.run_dag(dag_id, "example", {"run_ids": [run.id for run in runs]})

    assert state == ("failed" if dag_id.endswith("_failure") else "success")
    wait_until(
        lambda: {run.status for run in runs} == {"CANCELED"},
        timeout=60,
        what=lambda: f"the end of the runs, which are {[run.status for run in runs]}",
    )


@pytest.mark.parametrize("dag_id", [dag_id for dag_id in EXAMPLES if dag_id in STARTING])
def test_example_starts_runs(airflow: WholeAirflow, server: TriggerDevServer, dag_id: str) -> None:
    count, status = STARTING[dag_id]
    server.on_task("check-images", output=lambda payload: payload)
    server.on_task("resize-image", output={"bytes": 10, "width": 100})
    server.on_task("publish-album")
    server.on_task("train-model", after=None if status == "CANCELED" else 0.1)
    original = server.add_run("COMPLETED", task_identifier="resize-image")
    before = set(server.runs)

    state = airflow.run_dag(dag_id, "example", {"run_id": original.id})

    assert state == ("failed" if dag_id.endswith("_failure") else "success")
    runs = [run for run_id, run in list(server.runs.items()) if run_id not in before]
    assert len(runs) == count
    wait_until(
        lambda: {run.status for run in runs} == {status},
        timeout=60,
        what=lambda: f"the end of the runs, which are {[run.status for run in runs]}",
    )
