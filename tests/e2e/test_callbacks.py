"""The notifier in callbacks, with the ids from XCom, in whichever process Airflow runs them."""

from __future__ import annotations

import pytest
from whole_airflow.airflow import WholeAirflow
from whole_airflow.processes import wait_until
from whole_airflow.state import State
from whole_airflow.versions import AIRFLOW

from airflow_provider_trigger.testing import TriggerDevServer

pytestmark = pytest.mark.together

SUMMARY = "2 Trigger.dev runs: 2 canceled"

# Airflow 3.0 gives a callback in the Dag processor no XCom, so there the notifier says what to use instead.
XCOM_IN_THE_DAG_PROCESSOR = AIRFLOW < (3, 0) or AIRFLOW >= (3, 1)


def add_runs(server: TriggerDevServer) -> list[str]:
    """Add two runs that go on until they are canceled; return their ids."""
    return [server.add_run().id for _ in range(2)]


def statuses(server: TriggerDevServer, run_ids: list[str]) -> set[str]:
    """Return in which statuses these runs are."""
    return {server.runs[run_id].status for run_id in run_ids}


def wait_for_callback_in_the_dag_processor(
    airflow: WholeAirflow, server: TriggerDevServer, run_ids: list[str]
) -> None:
    """Wait until it has canceled, and its log says so; or says why it cannot."""
    if XCOM_IN_THE_DAG_PROCESSOR:
        wait_until(
            lambda: statuses(server, run_ids) == {"CANCELED"}, timeout=60, what=f"the end of {run_ids}"
        )
    expected = SUMMARY if XCOM_IN_THE_DAG_PROCESSOR else "XCom is not available in this callback"
    what = lambda: f"{expected!r} in the Dag processor's log"  # noqa: E731
    wait_until(lambda: expected in airflow.dag_processor_log(), timeout=60, what=what)
    assert statuses(server, run_ids) == {"CANCELED" if XCOM_IN_THE_DAG_PROCESSOR else "EXECUTING"}


def test_a_failing_task_cancels(airflow: WholeAirflow, server: TriggerDevServer) -> None:
    run_ids, dag_id = add_runs(server), "callback_task_fails"

    assert airflow.run_dag(dag_id, "fails", {"run_ids": run_ids}) == "failed"

    wait_until(
        lambda: SUMMARY in airflow.task_log(dag_id, "fails", "work"),
        timeout=30,
        what=lambda: f"the summary in the task's log:\n{airflow.task_log(dag_id, 'fails', 'work')}",
    )
    assert statuses(server, run_ids) == {"CANCELED"}


def test_a_failing_dag_cancels_in_the_dag_processor(airflow: WholeAirflow, server: TriggerDevServer) -> None:
    run_ids = add_runs(server)

    assert airflow.run_dag("callback_dag_fails", "fails", {"run_ids": run_ids}) == "failed"

    wait_for_callback_in_the_dag_processor(airflow, server, run_ids)


def test_a_second_callback_is_no_harm(airflow: WholeAirflow, server: TriggerDevServer, state: State) -> None:
    run_ids = add_runs(server)
    airflow.api.trigger("callback_worker_killed", "killed", {"run_ids": run_ids})
    state.kill("killed", parent_too=True)

    assert airflow.api.wait_for_dag_run("callback_worker_killed", "killed") == "failed"

    wait_for_callback_in_the_dag_processor(airflow, server, run_ids)
    # Measured: Airflow 3 runs it twice when the heartbeat is missed, 2.11 once; once also where Celery or the
    # LocalExecutor of 3.4, tells of the lost worker before that.
    times = 2 if (3, 0) <= AIRFLOW < (3, 4) and airflow.executor == "LocalExecutor" else 1
    requests = times if XCOM_IN_THE_DAG_PROCESSOR else 0
    wait_until(
        lambda: {server.runs[run_id].cancel_requests for run_id in run_ids} == {requests},
        timeout=30,
        what=f"{requests} cancel requests for each run",
    )
    assert "not canceled" not in airflow.dag_processor_log()
