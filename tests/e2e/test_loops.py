"""Runs of tasks in a task loop: those of each iteration, and what becomes of them where a task is ended."""

from __future__ import annotations

import time
from typing import Any

import pytest
from whole_airflow.airflow import WholeAirflow
from whole_airflow.processes import wait_until
from whole_airflow.state import State, runs_of
from whole_airflow.versions import HAS_LOOPS

from airflow_provider_trigger.testing import ServerRun, TriggerDevServer

pytestmark = [
    pytest.mark.together,
    pytest.mark.skipif(not HAS_LOOPS, reason="this Airflow has no task loops"),
]

RUNS = {"single": 1, "mapped": 2, "batch": 2}
CASES = [(kind, mode) for kind in RUNS for mode in ("running", "deferred")]
QUICK = 3.0
THIRD = 2


class Loop:
    """
    A Dag run with a loop, whose runs end by themselves in the first two iterations only.

    :param kind: of operator
    :param mode: ``running`` or ``deferred``
    """

    def __init__(self, airflow: WholeAirflow, server: TriggerDevServer, kind: str, mode: str) -> None:
        self.airflow, self.server, self.mode = airflow, server, mode
        self.of_iteration = RUNS[kind]
        self.dag_id, self.run_id = f"loop_{kind}_{mode}", f"{kind}{mode}"
        server.on_task(self.dag_id, times=2 * self.of_iteration, output=lambda payload: "done", after=QUICK)
        server.on_task(self.dag_id, after=None, acknowledge_after=0.2)
        airflow.api.trigger(self.dag_id, self.run_id)

    @property
    def runs(self) -> list[ServerRun]:
        """Its runs on the server, the first ones first."""
        return runs_of(self.server, self.dag_id)

    @property
    def statuses(self) -> list[str]:
        """Their statuses by iteration; each is the same for all runs of one."""
        found = [run.status for run in self.runs]
        parts = [found[at : at + self.of_iteration] for at in range(0, len(found), self.of_iteration)]
        return ["/".join(sorted(set(part))) for part in parts]

    def instances(self, iteration: int = THIRD) -> list[dict[str, Any]]:
        """Return the task instances of an iteration."""
        return [
            ti
            for ti in self.airflow.api.task_instances(self.dag_id, self.run_id)
            if ti["task_id"] == "again.work" and ti["loop_iteration"]["iteration"] == iteration
        ]

    def wait(self, *statuses: str, try_number: int = 1, iteration: int = THIRD) -> None:
        """Wait until the runs have these statuses, and this try of an iteration waits for its own."""

        def reached() -> bool:
            tis = {(ti["state"], ti["try_number"]) for ti in self.instances(iteration)}
            return self.statuses == list(statuses) and tis == {(self.mode, try_number)}

        what = lambda: f"{statuses}: {self.statuses}, {self.instances(iteration)}"  # noqa: E731
        wait_until(reached, timeout=180, what=what)
        time.sleep(5)  # its trigger begins, or nothing more happens

    def clear(self, iteration: int = THIRD) -> None:
        """Clear an iteration and all that comes after it, as the UI does."""
        body: dict[str, Any] = {
            "dry_run": False,
            "only_failed": False,
            "include_downstream": True,
            "reset_dag_runs": True,
        }
        body |= {
            "dag_run_id": self.run_id,
            "task_instance_ids": [ti["id"] for ti in self.instances(iteration)],
        }
        self.airflow.api.call("POST", f"/dags/{self.dag_id}/clearTaskInstances", json=body)

    def mark_failed(self, iteration: int = THIRD) -> None:
        """Mark each task instance of an iteration, as the UI does."""
        for ti in self.instances(iteration):
            region = {name: ti[name] for name in ("region_id", "region_index")}
            path = f"/dags/{self.dag_id}/dagRuns/{self.run_id}/taskInstances/again.work"
            self.airflow.api.call("PATCH", path, json={"new_state": "failed"} | region)


@pytest.fixture(scope="module", autouse=True)
def tasks(server: TriggerDevServer) -> None:
    """Say what the Trigger.dev task that all these Dags share does."""
    server.on_task("never", after=None)


@pytest.mark.parametrize("case", CASES, ids=map("-".join, CASES))
def test_a_kill_a_clear_and_a_mark_in_the_third_iteration(
    case: tuple[str, str], airflow: WholeAirflow, server: TriggerDevServer, state: State
) -> None:
    loop, done = Loop(airflow, server, *case), ["COMPLETED"] * 2
    loop.wait(*done, "EXECUTING")
    try_number = 1
    if case in (("single", "running"), ("batch", "running")):
        state.kill(loop.run_id, "again.work")
        try_number += 1
        loop.wait(*done, "EXECUTING", try_number=try_number)
    loop.clear()
    loop.wait(*done, "CANCELED", "EXECUTING", try_number=try_number + 1)
    canceled = ["CANCELED"] * 2
    if case[0] == "single":
        loop.clear(0)
        loop.wait(*done, *canceled, "EXECUTING", try_number=2, iteration=0)
        loop.mark_failed(0)
        canceled.append("CANCELED")
    else:
        loop.mark_failed()
    wait_until(lambda: loop.statuses == [*done, *canceled], timeout=60, what=lambda: str(loop.statuses))
    assert airflow.api.wait_for_dag_run(loop.dag_id, loop.run_id) == "failed"
    completed = loop.runs[: 2 * loop.of_iteration]
    assert not any(run.cancel_requests for run in completed)


def test_a_callback_in_the_dag_processor_cancels_the_runs_of_its_iteration(
    airflow: WholeAirflow, server: TriggerDevServer, state: State
) -> None:
    airflow.api.trigger("loop_killed", "killed")
    wait_until(lambda: len(runs_of(server, "loop_killed")) == 6, timeout=180, what="six runs")
    state.kill("killed", "again.work", parent_too=True)
    third = runs_of(server, "loop_killed")[4:]
    wait_until(lambda: "CANCELED" in {run.status for run in third}, timeout=120, what="a cancel")
    state.release("killed", "again.work")
    assert airflow.api.wait_for_dag_run("loop_killed", "killed") == "failed"
    assert sorted(run.status for run in runs_of(server, "loop_killed")) == ["CANCELED", *["EXECUTING"] * 5]
