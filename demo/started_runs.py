"""A run of a Dag that starts Trigger.dev runs, and what became of them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dag_run import print_table
from local_airflow import EXAMPLES, LocalAirflow

from airflow_provider_trigger.testing import ServerRun, TriggerDevServer


class StartingRun:
    """
    A run of a Dag that starts Trigger.dev runs; it is started at once.

    :param airflow: has a database
    :param server: where the Trigger.dev runs are started
    :param dag_id: the Dag
    :param conf: the Dag run's configuration
    :param dags_folder: where the Dag's file is
    :param status: in which all of its Trigger.dev runs must end
    """

    def __init__(
        self,
        airflow: LocalAirflow,
        server: TriggerDevServer,
        dag_id: str,
        conf: Mapping[str, Any],
        *,
        dags_folder: Path = EXAMPLES,
        status: str = "COMPLETED",
    ) -> None:
        self.dag_id = dag_id
        self.conf = conf
        self.status = status
        self.command = airflow.start_dag(dag_id, conf, name=dag_id, dags_folder=dags_folder)
        self._server = server

    @property
    def runs(self) -> list[ServerRun]:
        """The Trigger.dev runs that it has started: each carries a tag that names the Dag."""
        return [run for run in self._server.runs.values() if f"airflow_dag:{self.dag_id}" in run.tags]

    @property
    def must_fail(self) -> bool:
        """Whether its Airflow task must fail, as its run does not complete."""
        return self.status != "COMPLETED"


def show_starting(dag_run: StartingRun, *, result_of: str | None = None) -> bool:
    """
    Wait for a Dag run, print the Trigger.dev runs that it has started, and return whether all is as expected.

    :param dag_run: has been started
    :param result_of: the task whose return value is shown; None for none
    """
    conf = f" --conf '{json.dumps(dag_run.conf)}'" if dag_run.conf else ""
    print(f"  $ airflow dags test {dag_run.dag_id}{conf}", flush=True)
    failed = dag_run.command.wait() != 0
    for line in dag_run.command.lines_of_the_provider():
        print(f"  | {line}")
    rows = [["run", "task", "status", "output"]]
    for run in dag_run.runs:
        rows.append([run.id, run.task_identifier, run.status, _shown(run.output)])
    print_table(rows)
    is_expected = failed == dag_run.must_fail
    state = "failed, as expected" if failed else "succeeded"
    if not is_expected:
        log = os.path.relpath(dag_run.command.log)
        state = f"{'failed' if failed else 'succeeded'}, which is NOT expected: see {log}"
    result = f" Its task {result_of!r} returned {dag_run.command.result(result_of)}." if result_of else ""
    print(f"  The Dag run {state}.{result}")
    is_good = bool(dag_run.runs) and all(run.status == dag_run.status for run in dag_run.runs)
    print(f"  {'' if is_good else 'NOT expected: '}{_ending(dag_run)}\n", flush=True)
    return is_expected and is_good


def _ending(dag_run: StartingRun) -> str:
    statuses = ", ".join(sorted({run.status for run in dag_run.runs})) or "none"
    count = len(dag_run.runs)
    what = f"{count} {'run was' if count == 1 else 'runs were'} started, now {statuses}"
    return f"{what}. The whole Dag run took {dag_run.command.seconds:.1f} s, with the start of Airflow."


def _shown(output: Any) -> str:
    return json.dumps(output) if isinstance(output, (dict, list, str, int, float)) else ""
