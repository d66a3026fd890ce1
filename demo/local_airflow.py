"""A separate Airflow for the demonstration: SQLite, the example Dags, one connection."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parent.parent
DEMO = CHECKOUT / ".demo"
EXAMPLES = CHECKOUT / "example_dags"
AIRFLOW_VERSION = version("apache-airflow")

# One format for all versions, with the logger's name, by which the provider's lines are found.
_LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s | %(message)s"
_LINE_OF_THE_PROVIDER = re.compile(r"^(\S+) +([A-Z]+) +\S*airflow_provider_trigger\S* \| (.*)$")
# Airflow 3.4 keeps the XComs of each try.
_NEWER_XCOM = """(
    SELECT task_id, key, xcom_v2.value FROM xcom_v2 JOIN task_instance ON task_instance.id = task_instance_id
)"""


class Command:
    """
    A running ``airflow …`` whose output goes into a file.

    :param arguments: what comes after ``airflow``
    :param home: its AIRFLOW_HOME, which exists
    :param environment: all other variables
    """

    def __init__(self, arguments: Sequence[str], *, home: Path, environment: Mapping[str, str]) -> None:
        self.home = home
        self.log = home.with_suffix(".log")
        self.seconds = 0.0
        self._started = time.monotonic()
        with self.log.open("a", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "airflow", *arguments],
                env={**environment, "AIRFLOW_HOME": str(home)},
                cwd=home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def wait(self) -> int:
        """Wait for the end, and return the exit code."""
        code = self._process.wait()
        self.seconds = time.monotonic() - self._started
        return code

    def stop(self) -> None:
        """End it, if it still runs."""
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait()

    def lines_of_the_provider(self) -> list[str]:
        """Return what the provider has logged, without times and names."""
        lines = self._of_the_provider()
        return [("" if level == "INFO" else f"{level}: ") + message for _, level, message in lines]

    def seconds_of_the_provider(self) -> float:
        """Return how much time lies between the first and the last line that the provider has logged."""
        times = [datetime.fromisoformat(time) for time, _, _ in self._of_the_provider()]
        return (times[-1] - times[0]).total_seconds() if times else 0.0

    def last_lines(self, count: int = 15) -> list[str]:
        """
        Return the end of the output, for an error message.

        :param count: how many lines
        """
        return self._lines()[-count:]

    def result(self, task_id: str) -> Any:
        """
        Return what a task of the one Dag run here has returned, from XCom; None if there is nothing.

        :param task_id: the task
        """
        # SQLite itself makes a number of a text that is one.
        query = "SELECT CAST(value AS TEXT) FROM {} WHERE task_id = ? AND key = 'return_value'"
        with closing(sqlite3.connect(self.home / "airflow.db")) as database:
            is_newer = database.execute("SELECT 1 FROM sqlite_master WHERE name = 'xcom_v2'").fetchone()
            row = database.execute(query.format(_NEWER_XCOM if is_newer else "xcom"), (task_id,)).fetchone()
        return json.loads(row[0]) if row else None

    def _of_the_provider(self) -> list[tuple[str, ...]]:
        """Return time, level and message of each line that the provider has logged."""
        matches = filter(None, map(_LINE_OF_THE_PROVIDER.match, self._lines()))
        return [match.groups() for match in matches]

    def _lines(self) -> list[str]:
        return self.log.read_text(encoding="utf-8", errors="replace").splitlines()


class LocalAirflow:
    """
    A new Airflow without Dags but ours; a context manager that ends what still runs.

    :param url: of the Trigger.dev server
    :param secret_key: passed to Airflow's processes in their environment, and written nowhere
    """

    def __init__(self, *, url: str, secret_key: str) -> None:
        shutil.rmtree(DEMO, ignore_errors=True)
        self._environment = _environment(url, secret_key)
        self._commands: list[Command] = []

    def __enter__(self) -> LocalAirflow:
        return self

    def __exit__(self, *error: object) -> None:
        for command in self._commands:
            command.stop()

    def migrate(self) -> None:
        """
        Create the database.

        :raises SystemExit: that failed
        """
        print("  $ airflow db migrate", flush=True)
        command = self._start("migrated", "db", "migrate")
        if code := command.wait():
            print(*command.last_lines(), sep="\n")
            raise SystemExit(f"error: airflow db migrate ended with {code}; see {command.log}")
        print(f"  done in {command.seconds:.1f} s\n", flush=True)

    def start_dag(
        self, dag_id: str, conf: Mapping[str, Any], *, name: str, dags_folder: Path = EXAMPLES
    ) -> Command:
        """
        Start one run of a Dag, in a copy of the database, so that several can run at a time.

        :param dag_id: the Dag
        :param conf: the Dag run's configuration
        :param name: of the copy, and of the log
        :param dags_folder: where the Dag's file is
        """
        (DEMO / name).mkdir()
        shutil.copy(DEMO / "migrated" / "airflow.db", DEMO / name)
        arguments = ("dags", "test", dag_id, "--conf", json.dumps(conf))
        return self._start(name, *arguments, AIRFLOW__CORE__DAGS_FOLDER=str(dags_folder))

    def _start(self, name: str, *arguments: str, **environment: str) -> Command:
        home = DEMO / name
        home.mkdir(parents=True, exist_ok=True)
        command = Command(arguments, home=home, environment=self._environment | environment)
        self._commands.append(command)
        return command


def _environment(url: str, secret_key: str) -> dict[str, str]:
    # The user's own AIRFLOW__… settings could name another database, or their connection another server.
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AIRFLOW", "TRIGGER_")) and name != "MAKEFLAGS"
    }
    connection = {"conn_type": "trigger_dev", "host": url, "password": secret_key}
    return environment | {
        "AIRFLOW_CONN_TRIGGER_DEV_DEFAULT": json.dumps(connection),
        "AIRFLOW__CORE__DAGS_FOLDER": str(EXAMPLES),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__LOGGING__COLORED_CONSOLE_LOG": "False",
        "AIRFLOW__LOGGING__LOG_FORMAT": _LOG_FORMAT,
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "NO_COLOR": "1",
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
    }
