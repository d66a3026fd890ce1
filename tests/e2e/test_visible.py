"""What a person sees of runs, and what is passed on, in a whole Airflow."""

from __future__ import annotations

from functools import partial

import visible
from whole_airflow import traces
from whole_airflow.airflow import WholeAirflow
from whole_airflow.processes import wait_until

from airflow_provider_trigger.testing import TriggerDevServer

DAG = ("visible", "visible")


def whole_log(airflow: WholeAirflow, task_id: str) -> str:
    """Return what a task and its trigger have logged, as a person sees it; Airflow 3 stores it as JSON."""
    dag_id, run_id = DAG
    folder = airflow.home / "logs" / f"dag_id={dag_id}" / f"run_id={run_id}" / f"task_id={task_id}"
    return "".join(traces.files(folder).values()).replace('\\"', '"')


def test_progress_links_limits_and_found_runs_are_visible(
    airflow: WholeAirflow, server: TriggerDevServer
) -> None:
    visible.arrange(server)
    airflow.api.trigger(*DAG)
    for mode in visible.MODES:
        wait_until(partial(visible.has_searched, server, mode), timeout=120, what=f"the search of {mode}")
        visible.complete(server, mode)
    assert airflow.api.wait_for_dag_run(*DAG) == "failed"
    states = airflow.api.states(*DAG)
    assert {name for name, state in states.items() if state != "success"} == {
        f"late_{mode}" for mode in visible.MODES
    }
    xcom, log = partial(airflow.api.xcom, *DAG), partial(whole_log, airflow)
    visible.check(server, xcom, log, has_links=True)
