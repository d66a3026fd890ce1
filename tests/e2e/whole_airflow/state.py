"""The files by which tasks of the test Dags (``dags/e2e_work.py``) and tests speak to each other."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path

from whole_airflow.processes import wait_until

from airflow_provider_trigger.testing import ServerRun, TriggerDevServer


def runs_of(server: TriggerDevServer, dag_id: str) -> list[ServerRun]:
    """Return the runs that a Dag has started, the first one first."""
    return [run for run in list(server.runs.values()) if f"airflow_dag:{dag_id}" in run.tags]


@dataclass(frozen=True)
class Started:
    """
    A try of a task that is running.

    :param pid: the process that runs the task's own code
    :param parent: the process that watches over it
    """

    pid: int
    parent: int


class State:
    """
    What the tests know of the running tasks.

    :param directory: where the files are; made if need be
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)

    def wait_for_start(
        self, run_id: str, task_id: str = "work", *, attempt: int = 1, timeout: float = 90
    ) -> Started:
        """Wait until the task's own code runs."""
        path = self.directory / f"{run_id}.{task_id}.{attempt}.started"
        wait_until(path.exists, timeout=timeout, what=f"try {attempt} of {task_id} in {run_id}")
        return Started(**json.loads(path.read_text()))

    def kill(self, run_id: str, task_id: str = "work", *, parent_too: bool = False) -> None:
        """
        Kill the process of the first try of a task.

        :param parent_too: whether who watches over it dies first
        """
        started = self.wait_for_start(run_id, task_id)
        for pid in ([started.parent] if parent_too else []) + [started.pid]:
            os.kill(pid, signal.SIGKILL)

    def release(self, run_id: str, task_id: str = "work", *, attempt: int = 1) -> None:
        """Let a task go that holds."""
        (self.directory / f"{run_id}.{task_id}.{attempt}.release").touch()
