"""A whole Airflow of real processes, in a home of its own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from whole_airflow import versions
from whole_airflow.processes import Process, free_port, kill_all, processes_of, run, wait_until
from whole_airflow.rest import Api

HEALTHY = {"metadatabase", "scheduler", "triggerer", "dag_processor"}


class WholeAirflow:
    """
    A scheduler, Dag processor, triggerer and API server (2.11: webserver), and what their executor needs.

    :param home: an empty directory, the ``AIRFLOW_HOME``
    :param dags: directories whose files are copied into the Dags folder
    :param environment: more variables for every process
    :param database: a SQLAlchemy URL; without one, SQLite in the home
    :param executor: the executor's name
    :param extra_components: more processes to run, name and arguments, beside Airflow's own four
    """

    def __init__(
        self,
        home: Path,
        *,
        dags: Iterable[Path],
        environment: Mapping[str, str],
        database: str | None = None,
        executor: str = "LocalExecutor",
        extra_components: Mapping[str, list[str]] | None = None,
    ) -> None:
        self.home = home
        self.executor = executor
        self.port, self.execution_port = free_port(), free_port()
        self.api = Api(f"http://127.0.0.1:{self.port}", f"http://127.0.0.1:{self.execution_port}")
        self.output = home / "output"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")}
        self.environment = {
            **inherited,
            **versions.environment(
                executor=executor,
                # Its default of 5 s for a lock is too short when many tasks start at once.
                database=database or f"sqlite:///{home}/airflow.db?timeout=60",
                web_port=self.port,
                execution_port=self.execution_port,
            ),
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
            "PATH": f"{versions.BIN}{os.pathsep}{inherited.get('PATH', '')}",
            "PYTHONUNBUFFERED": "1",
            "NO_PROXY": "127.0.0.1,localhost",
            **environment,
        }
        self.output.mkdir(parents=True)
        for folder in dags:
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(folder, home / "dags", ignore=ignored, dirs_exist_ok=True)
        commands = {**versions.components(execution_port=self.execution_port), **(extra_components or {})}
        self.processes = {name: self._process(name, command) for name, command in commands.items()}

    def _process(self, name: str, command: list[str]) -> Process:
        log = self.output / f"{name}.log"
        return Process(name, command, environment=self.environment, log=log, directory=self.home)

    def __enter__(self) -> WholeAirflow:
        try:
            for command in versions.preparations():
                self.run_command(*command)
            for process in self.processes.values():
                process.start()
            self.wait_until_healthy()
            self.api.log_in()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes.values():
            process.ask_to_stop()
        for process in self.processes.values():
            process.stop()
        # Workers and tasks have groups of their own, in the session of the process that started them.
        kill_all(self.pids())

    @property
    def workers(self) -> list[Process]:
        """The processes whose children run the tasks."""
        workers = [process for name, process in self.processes.items() if name.startswith("worker")]
        return workers or [self.processes["scheduler"]]

    @property
    def triggerers(self) -> list[Process]:
        """One, or as many as large teams have."""
        return [process for name, process in self.processes.items() if name.startswith("triggerer")]

    def pids(self) -> list[int]:
        """Return the ids of all processes of this Airflow."""
        return processes_of(set().union(*(process.sessions for process in self.processes.values())))

    def wait_until_healthy(self, timeout: float = 120) -> None:
        """Wait until each component says that it is well."""

        def healthy() -> bool:
            for process in self.processes.values():
                process.check()
            health = self.api.health()
            return {name for name, status in health.items() if status == "healthy"} >= HEALTHY

        wait_until(healthy, timeout=timeout, what=lambda: f"a healthy Airflow: {self.api.health()}")

    def wait_for_dags(self, *dag_ids: str, timeout: float = 90) -> None:
        """Wait until these Dags can be run."""

        def missing() -> set[str]:
            return set(dag_ids) - self.api.dag_ids()

        def ready() -> bool:
            errors = self.api.import_errors()
            assert not errors, f"Dag files with errors:\n{errors}"
            return not missing()

        wait_until(ready, timeout=timeout, what=lambda: f"the Dags {missing()}")

    def run_dag(
        self, dag_id: str, run_id: str, conf: dict[str, Any] | None = None, *, timeout: float = 120
    ) -> str:
        """Start a Dag run and wait for its end; return its state."""
        self.api.trigger(dag_id, run_id, conf)
        return self.api.wait_for_dag_run(dag_id, run_id, timeout=timeout)

    def clear(self, dag_id: str, run_id: str, task_id: str) -> None:
        """Do what "clear" on a task, with all that comes after it, does in the UI."""
        if versions.AIRFLOW >= (3, 0):
            self.api.clear(dag_id, run_id, task_id)
        else:
            date = self.api.logical_date(dag_id, run_id)
            tasks = ["--task-regex", f"^{task_id}$", "--downstream"]
            dag_run = ["--start-date", date, "--end-date", date]
            self.run_command("tasks", "clear", dag_id, *tasks, *dag_run, "--yes")

    def end_task(self, event: str, dag_id: str, run_id: str) -> None:
        """Do what an event says to the task "work" or its Dag run; some come by themselves."""
        if event in ("marked_failed", "marked_success"):
            self.api.mark_task(dag_id, run_id, "work", event.removeprefix("marked_"))
        elif event == "dag_run_marked_failed":
            self.api.mark_dag_run(dag_id, run_id, "failed")
        elif event == "cleared":
            self.clear(dag_id, run_id, "work")

    def run_command(self, *arguments: str) -> None:
        """Run one command of ``airflow`` to its end."""
        log = self.output / f"{'-'.join(arguments[:2])}.log"
        command = [versions.AIRFLOW_COMMAND, *arguments]
        run(" ".join(arguments), command, environment=self.environment, log=log)

    def task_log(self, dag_id: str, run_id: str, task_id: str, *, attempt: int = 1) -> str:
        """Return the log of one try of a task."""
        folder = self.home / "logs" / f"dag_id={dag_id}" / f"run_id={run_id}" / f"task_id={task_id}"
        path = folder / f"attempt={attempt}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def triggerer_log(self) -> str:
        """Return what the triggerers wrote; from 3.4 on, deadline alerts have files of their own."""
        alerts = sorted((self.home / "logs" / "triggerer_callbacks").rglob("*.log"))
        texts = [path.read_text(errors="replace") for path in alerts]
        return "\n".join([*(process.output() for process in self.triggerers), *texts])

    def dag_processor_log(self) -> str:
        """Return what the Dag processor wrote of all Dag files."""
        files = sorted(versions.dag_processor_logs(self.home).rglob("*.log"))
        texts = [path.read_text(errors="replace") for path in files if not path.is_symlink()]
        return "\n".join([*texts, self.processes["dag-processor"].output()])
