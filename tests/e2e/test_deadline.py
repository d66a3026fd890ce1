"""The notifier as a deadline alert, in the triggerer."""

from __future__ import annotations

from whole_airflow.airflow import WholeAirflow
from whole_airflow.processes import wait_until
from whole_airflow.state import State
from whole_airflow.versions import HAS_DEADLINE_ALERTS

from airflow_provider_trigger.testing import TriggerDevServer


def test_a_missed_deadline_cancels_in_the_triggerer(
    airflow: WholeAirflow, server: TriggerDevServer, state: State
) -> None:
    assert ("deadline_missed" in airflow.api.dag_ids()) is HAS_DEADLINE_ALERTS
    if HAS_DEADLINE_ALERTS:
        cancel_by_deadline(airflow, server, state)


def cancel_by_deadline(airflow: WholeAirflow, server: TriggerDevServer, state: State) -> None:
    runs = [server.add_run() for _ in range(2)]
    airflow.api.trigger("deadline_missed", "late", {"run_ids": [run.id for run in runs]})

    wait_until(
        lambda: {run.status for run in runs} == {"CANCELED"},
        timeout=60,
        what=lambda: f"the runs to be canceled:\n{airflow.triggerer_log()[-3000:]}",
    )
    wait_until(
        lambda: "2 Trigger.dev runs: 2 canceled" in airflow.triggerer_log(),
        timeout=30,
        what="the summary in the triggerer's log",
    )

    # The alert leaves the Dag run alone.
    assert airflow.api.dag_run_state("deadline_missed", "late") == "running"
    state.release("late")
    assert airflow.api.wait_for_dag_run("deadline_missed", "late") == "success"
