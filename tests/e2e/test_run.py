"""Runs that a task starts and waits for: one run for each task instance, and its result arrives."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from functools import partial

import pytest
from whole_airflow.airflow import WholeAirflow
from whole_airflow.processes import wait_until
from whole_airflow.state import State, runs_of
from whole_airflow.versions import RETRIES_KILLED_TASKS

from airflow_provider_trigger.testing import TriggerDevServer

MODES = ("running", "deferred")
QUICK = 1.0
# How long the server is away; in real outages longer, which E2E_OUTAGE=120 shows.
OUTAGE = float(os.environ.get("E2E_OUTAGE", "15"))


@pytest.fixture(scope="module", autouse=True)
def tasks(server: TriggerDevServer) -> None:
    """Say what the Trigger.dev tasks of these tests do."""
    server.on_task("never", after=None)
    server.on_task("starting", output="done", after=QUICK)
    server.on_task("slow", output="done", after=OUTAGE + 5)


@pytest.fixture(scope="module", autouse=True)
def bystanders(server: TriggerDevServer) -> Iterator[None]:
    """Add runs that no Dag has started, so that none may be touched."""
    runs = [server.add_run(), server.add_run()]
    yield
    assert [run.cancel_requests for run in runs] == [0, 0]


@pytest.mark.together
@pytest.mark.parametrize("mode", MODES)
def test_a_run_that_was_canceled_by_hand_fails_the_task_for_good_until_it_is_cleared(
    airflow: WholeAirflow, server: TriggerDevServer, mode: str
) -> None:
    dag_id = f"run_retry_{mode}"
    before = len(runs_of(server, dag_id))
    server.on_task(f"scripted_{mode}", times=1, after=None)
    server.on_task(f"scripted_{mode}", output="new", after=QUICK)
    airflow.api.trigger(dag_id, "canceled")
    wait_until(lambda: len(runs_of(server, dag_id)) > before, timeout=90, what="a run")
    (run,) = runs_of(server, dag_id)[before:]
    wait_until(lambda: run.status == "EXECUTING", timeout=30, what="the run to execute")
    airflow.api.wait_for_task(dag_id, "canceled", "work", mode)
    run.cancel()
    assert airflow.api.wait_for_dag_run(dag_id, "canceled") == "failed"
    assert len(runs_of(server, dag_id)) == before + 1
    airflow.clear(dag_id, "canceled", "work")
    wait_until(lambda: len(runs_of(server, dag_id)) == before + 2, timeout=120, what="a new run")
    assert airflow.api.wait_for_dag_run(dag_id, "canceled") == "success"
    assert airflow.api.xcom(dag_id, "canceled", "work") == "new"
    # Airflow has given the Dag run a new start date, so its tag differs.
    first, second = (set(run.tags) for run in runs_of(server, dag_id)[before:])
    assert {tag.split(":")[0] for tag in first & second} == {"airflow_dag", "airflow_task"}


@pytest.mark.together
def test_a_killed_start_leaves_one_run(airflow: WholeAirflow, server: TriggerDevServer, state: State) -> None:
    dag_id, run_id = "run_killed_starting", "killedstarting"
    server.hang_next(path="/tasks/starting/trigger", after_handling=True)
    airflow.api.trigger(dag_id, run_id)
    wait_until(lambda: runs_of(server, dag_id), timeout=90, what="the run")
    state.kill(run_id)
    ended = airflow.api.wait_for_dag_run(dag_id, run_id, timeout=180)
    assert (ended, airflow.api.xcom(dag_id, run_id, "work")) == (
        ("success", "done") if RETRIES_KILLED_TASKS else ("failed", None)
    )
    assert len(runs_of(server, dag_id)) == 1


def test_an_outage_of_the_server_ends_no_wait(airflow: WholeAirflow, server: TriggerDevServer) -> None:
    dag_ids = [f"run_outage_{mode}" for mode in MODES]
    for dag_id in dag_ids:
        airflow.api.trigger(dag_id, "outage")
    for dag_id in dag_ids:
        wait_until(partial(runs_of, server, dag_id), timeout=90, what=f"a run of {dag_id}")
    time.sleep(2)
    server.stop()
    time.sleep(OUTAGE)
    server.start()
    for dag_id in dag_ids:
        assert airflow.api.wait_for_dag_run(dag_id, "outage") == "success"
        assert airflow.api.xcom(dag_id, "outage", "work") == "done"
        assert len(runs_of(server, dag_id)) == 1


@pytest.mark.together
def test_a_dags_callback_cancels_runs(airflow: WholeAirflow, server: TriggerDevServer, state: State) -> None:
    airflow.api.trigger("started_dag", "startedother")
    wait_until(lambda: len(runs_of(server, "started_dag")) == 3, timeout=90, what="three runs")
    others = runs_of(server, "started_dag")
    airflow.api.trigger("started_dag", "startedfails")
    wait_until(lambda: len(runs_of(server, "started_dag")) == 6, timeout=90, what="three more runs")
    ours = [run for run in runs_of(server, "started_dag") if run not in others]
    state.wait_for_start("startedfails")
    state.release("startedfails")
    assert airflow.api.wait_for_dag_run("started_dag", "startedfails") == "failed"
    wait_until(lambda: {run.status for run in ours} == {"CANCELED"}, timeout=90, what="all to be canceled")
    time.sleep(3)
    assert [run.cancel_requests for run in others] == [0] * 3
    state.wait_for_start("startedother")
    state.release("startedother")
    wait_until(lambda: {run.status for run in others} == {"CANCELED"}, timeout=90, what="the others, too")


@pytest.mark.together
def test_a_deadline_cancels_its_runs(airflow: WholeAirflow, server: TriggerDevServer, state: State) -> None:
    if "started_deadline" not in airflow.api.dag_ids():
        pytest.skip("this Airflow has no deadline alerts")
    airflow.api.trigger("started_deadline", "startedlate")
    wait_until(lambda: runs_of(server, "started_deadline"), timeout=60, what="a run")
    (run,) = runs_of(server, "started_deadline")
    wait_until(lambda: run.status == "CANCELED", timeout=90, what="the run to be canceled")
    has_reported = lambda: "1 Trigger.dev run: 1 canceled" in airflow.triggerer_log()  # noqa: E731
    wait_until(has_reported, timeout=30, what="the summary in the triggerer's log")
    # The alert leaves the Dag run alone.
    assert airflow.api.dag_run_state("started_deadline", "startedlate") == "running"
    state.release("startedlate")
    assert airflow.api.wait_for_dag_run("started_deadline", "startedlate") == "success"


def test_a_stop_while_the_server_hangs_names_the_run(airflow: WholeAirflow, server: TriggerDevServer) -> None:
    dag_id = "run_outage_running"
    before = len(runs_of(server, dag_id))
    airflow.api.trigger(dag_id, "hangs")
    wait_until(lambda: len(runs_of(server, dag_id)) > before, timeout=90, what="a run")
    (run,) = runs_of(server, dag_id)[before:]
    airflow.api.wait_for_task(dag_id, "hangs", "work", "running")
    time.sleep(3)  # it has checked the run once
    server.hang_next(None)
    try:
        airflow.api.mark_task(dag_id, "hangs", "work", "failed")
        log = partial(airflow.task_log, dag_id, "hangs", "work")
        wait_until(
            lambda: any(run.id in line and "may still be running" in line for line in log().splitlines()),
            timeout=30,
            what=lambda: f"a line that names {run.id}:\n{log()}",
        )
    finally:
        server.clear_faults()
