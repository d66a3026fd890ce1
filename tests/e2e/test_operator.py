"""The operator in Dags that really run."""

from __future__ import annotations

import pytest
from whole_airflow.airflow import WholeAirflow
from whole_airflow.processes import wait_until

from airflow_provider_trigger.testing import TriggerDevServer


def add_runs(server: TriggerDevServer, count: int = 3) -> list[str]:
    """Add runs that go on until they are canceled; return their ids."""
    return [server.add_run().id for _ in range(count)]


def statuses(server: TriggerDevServer, run_ids: list[str]) -> set[str]:
    """Return in which statuses these runs are."""
    return {server.runs[run_id].status for run_id in run_ids}


@pytest.mark.parametrize(
    "dag_id",
    [
        "operator_output",
        "operator_xcom_task_ids",
        "operator_xcom_key",
        "operator_mapped_output",
        "operator_mapped_xcom_task_ids",
    ],
)
def test_cancels_what_xcom_holds(airflow: WholeAirflow, server: TriggerDevServer, dag_id: str) -> None:
    run_ids = add_runs(server)

    assert airflow.run_dag(dag_id, "xcom", {"run_ids": run_ids}) == "success"

    assert statuses(server, run_ids) == {"CANCELED"}
    results = airflow.api.xcom(dag_id, "xcom", "cancel")
    assert [(result["run_id"], result["outcome"]) for result in results] == [
        (run_id, "canceled") for run_id in run_ids
    ]
    assert "3 Trigger.dev runs: 3 canceled" in airflow.task_log(dag_id, "xcom", "cancel")


@pytest.mark.parametrize("dag_id", ["operator_mapped_output", "operator_mapped_xcom_task_ids"])
def test_cancels_what_is_behind_an_instance_that_pushed_nothing(
    airflow: WholeAirflow, server: TriggerDevServer, dag_id: str
) -> None:
    run_ids = add_runs(server)

    given = [None, run_ids[0], None, None, *run_ids[1:]]
    assert airflow.run_dag(dag_id, "gaps", {"run_ids": given}) == "success"

    assert statuses(server, run_ids) == {"CANCELED"}
    assert [result["run_id"] for result in airflow.api.xcom(dag_id, "gaps", "cancel")] == run_ids


def test_in_a_mapped_group_each_instance_cancels_its_own(
    airflow: WholeAirflow, server: TriggerDevServer
) -> None:
    run_ids = add_runs(server)

    assert airflow.run_dag("operator_mapped_group", "group", {"run_ids": run_ids}) == "success"

    for index, run_id in enumerate(run_ids):
        for task_id in ("group.output", "group.xcom_task_ids"):
            results = airflow.api.xcom("operator_mapped_group", "group", task_id, map_index=index)
            assert [result["run_id"] for result in results] == [run_id]


@pytest.mark.parametrize(
    ("dag_id", "dag_run_state"),
    [
        ("operator_teardown", "failed"),  # as the work has failed, whatever the teardown does
        ("operator_one_failed", "success"),  # as the last task has succeeded: see the docs' routes
        ("operator_all_done", "success"),
    ],
)
def test_cancels_when_the_work_fails(
    airflow: WholeAirflow, server: TriggerDevServer, dag_id: str, dag_run_state: str
) -> None:
    run_ids = add_runs(server)

    assert airflow.run_dag(dag_id, "fails", {"run_ids": run_ids}) == dag_run_state

    assert airflow.api.states(dag_id, "fails")["work"] == "failed"
    assert airflow.api.states(dag_id, "fails")["cancel"] == "success"
    assert statuses(server, run_ids) == {"CANCELED"}
    assert len(airflow.api.xcom(dag_id, "fails", "cancel")) == len(run_ids)


def test_one_failed_leaves_the_runs_alone_when_nothing_fails(
    airflow: WholeAirflow, server: TriggerDevServer
) -> None:
    run_ids = add_runs(server)

    assert airflow.run_dag("operator_one_failed_unused", "fine", {"run_ids": run_ids}) == "success"

    assert airflow.api.states("operator_one_failed_unused", "fine")["cancel"] == "skipped"
    assert statuses(server, run_ids) == {"EXECUTING"}


def test_a_failed_task_has_canceled_the_others_and_says_so(
    airflow: WholeAirflow, server: TriggerDevServer
) -> None:
    alive, done, unknown = server.add_run().id, server.add_run("COMPLETED").id, "run_nobodyknows"

    state = airflow.run_dag("operator_output", "mixed", {"run_ids": [unknown, done, alive]})

    assert state == "failed"
    assert server.runs[alive].status == "CANCELED"
    results = airflow.api.xcom("operator_output", "mixed", "cancel")
    assert [result["outcome"] for result in results] == ["not_found", "already_completed", "canceled"]
    assert "not found: run_nobodyknows" in airflow.task_log("operator_output", "mixed", "cancel")


@pytest.mark.parametrize("mark", ["task", "dag_run"])
def test_marked_failed_it_stops_to_cancel(
    airflow: WholeAirflow, slow_server: TriggerDevServer, mark: str
) -> None:
    run_ids = add_runs(slow_server, 100)
    airflow.api.trigger("operator_slow", mark, {"run_ids": run_ids})
    wait_until(
        lambda: "CANCELED" in statuses(slow_server, run_ids), timeout=60, what="the first run to be canceled"
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
    assert "EXECUTING" in statuses(slow_server, run_ids)
    assert airflow.api.states("operator_slow", mark)["cancel"] == "failed"
