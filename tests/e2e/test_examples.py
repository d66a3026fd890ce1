"""The example Dags, as they are."""

from __future__ import annotations

from pathlib import Path

import pytest
from whole_airflow.airflow import WholeAirflow
from whole_airflow.processes import wait_until
from whole_airflow.state import runs_of
from whole_airflow.versions import EXAMPLES_WITHOUT_DAG

from airflow_provider_trigger.testing import ServerRun, TriggerDevServer

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


@pytest.fixture(scope="module", autouse=True)
def tasks(server: TriggerDevServer) -> None:
    """Say what the Trigger.dev tasks of the examples do; the run that an example cancels does not end."""
    server.on_task("check-images", output=lambda payload: payload)
    server.on_task("resize-image", output={"bytes": 10, "width": 100})
    server.on_task("publish-album")
    server.on_task("train-model", after=None)


def wait_for_statuses(runs: list[ServerRun], status: str) -> None:
    """Wait until all runs have a status."""
    what = lambda: f"the runs to be {status}, which are {[run.status for run in runs]}"  # noqa: E731
    wait_until(lambda: {run.status for run in runs} == {status}, timeout=60, what=what)


def check(airflow: WholeAirflow, server: TriggerDevServer, dag_id: str) -> None:
    """Run an example, and check its runs."""
    given = [server.add_run() for _ in range(3)]
    if dag_id == "replay":
        given = [server.add_run("COMPLETED", task_identifier="resize-image", tags=["airflow_dag:replay"])]
    conf = {"run_id": given[0].id, "run_ids": [run.id for run in given]}
    state = airflow.run_dag(dag_id, "example", conf, timeout=300)
    assert state == ("failed" if dag_id.endswith("_failure") else "success")
    count, status = STARTING.get(dag_id, (0, "CANCELED"))
    runs = [run for run in runs_of(server, dag_id) if run not in given] if count else given
    assert len(runs) == (count or len(given))
    wait_for_statuses(runs, status)


def test_an_example_cancels_the_run_that_it_has_started(
    airflow: WholeAirflow, server: TriggerDevServer
) -> None:
    check(airflow, server, "cancel_on_failure")
    server.on_task("train-model")


@pytest.mark.together
@pytest.mark.parametrize("dag_id", [dag_id for dag_id in EXAMPLES if dag_id != "cancel_on_failure"])
def test_an_example_cancels_or_starts_runs(
    airflow: WholeAirflow, server: TriggerDevServer, dag_id: str
) -> None:
    check(airflow, server, dag_id)
