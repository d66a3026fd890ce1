"""The example Dags, as they are."""

from __future__ import annotations

from pathlib import Path

import pytest
from whole_airflow.airflow import WholeAirflow
from whole_airflow.processes import wait_until

from airflow_provider_trigger.testing import TriggerDevServer

EXAMPLES = sorted(path.stem for path in (Path(__file__).parents[2] / "example_dags").glob("*.py"))


@pytest.mark.parametrize("dag_id", EXAMPLES)
def test_example_cancels_its_runs(airflow: WholeAirflow, server: TriggerDevServer, dag_id: str) -> None:
    runs = [server.add_run() for _ in range(3)]

    state = airflow.run_dag(dag_id, "example", {"run_ids": [run.id for run in runs]})

    assert state == ("failed" if dag_id.endswith("_failure") else "success")
    wait_until(
        lambda: {run.status for run in runs} == {"CANCELED"},
        timeout=60,
        what=lambda: f"the end of the runs, which are {[run.status for run in runs]}",
    )
