"""
Many deferred tasks of a whole Airflow whose runs end soon after their tasks have deferred.

By itself it measures the Airflow of the environment that runs it; see ``--help``.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from many_waits import SERVER
from measured_runs import QUICK, TASKS_OF_QUICK
from measures import Row
from remote_server import RemoteServer, remote_server
from whole import OVER, Postgres, WholeAirflow, wait_until, whole_airflow

RUN = 4.0
"""How long a run takes, in seconds."""
LONGEST = 1800.0
# What Airflow's scheduler says of a resumed task that it takes for ended.
_TAKEN_FOR_ENDED = re.compile(
    r"finished with state success, but the task instance's state attribute is (\w+)"
)


@dataclass
class Measured:
    """
    What became of the tasks.

    :param failed: that failed, although their runs completed
    :param taken: of these, that the scheduler took for ended, by the state that they were in
    :param seconds: from the start of the Dag run to its end
    :param latency: from the end of a run to its task's success, the median in seconds
    """

    failed: int
    taken: Mapping[str, int]
    seconds: float
    latency: float

    def __str__(self) -> str:
        taken = f" (the scheduler took them for ended: {dict(self.taken)})" if self.taken else ""
        return (
            f"{self.failed} failed{taken}, all done after {self.seconds:.0f} s, "
            f"from a run's end to its task's success {self.latency:.1f} s (median)"
        )


def quick_runs() -> Iterator[Row]:
    """Count the tasks that fail although their runs complete, while all processors are busy, too."""
    measured = measure(TASKS_OF_QUICK, heavy=True)
    yield Row(
        f"{TASKS_OF_QUICK} deferred tasks of a whole Airflow, runs of {RUN:.0f} s, while the machine is busy",
        str(measured),
        "",
        "",
        "0 failed",
        not measured.failed,
    )


def measure(tasks: int, *, heavy: bool = False, postgres: bool = False, logs: Path | None = None) -> Measured:
    """
    Run a mapped task, and return what became of it.

    :param tasks: how many task instances
    :param heavy: whether as many processes as processors compute meanwhile
    :param postgres: whether Airflow's database is PostgreSQL, in place of SQLite
    :param logs: a new directory for a copy of Airflow's logs
    """
    configuration = {"AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG": str(tasks), "TASKS_OF_QUICK": str(tasks)}
    with ExitStack() as stack:
        database = stack.enter_context(Postgres()).url if postgres else None
        server = stack.enter_context(remote_server(**SERVER))
        airflow = stack.enter_context(
            whole_airflow(server, QUICK, dags="quick_dags", database=database, **configuration)
        )
        server.on_task(QUICK, after=RUN)
        if heavy:
            stack.enter_context(_heavy_work())
        begun = time.monotonic()
        airflow.api.trigger(QUICK, QUICK)
        wait_until(
            lambda: airflow.api.dag_run_state(QUICK, QUICK) in OVER,
            timeout=LONGEST,
            what="the end of the Dag run",
            interval=2.0,
        )
        seconds = time.monotonic() - begun
        if logs is not None:
            shutil.copytree(airflow.home, logs)
        return _measured(airflow, server, seconds)


@contextmanager
def _heavy_work() -> Iterator[None]:
    compute = [sys.executable, "-c", "while True: pass"]
    processes = [subprocess.Popen(compute) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _measured(airflow: WholeAirflow, server: RemoteServer, seconds: float) -> Measured:
    ended = {payload: end for _, _, payload, end in server.runs()}
    failed, latencies = 0, []
    for _, page in airflow.api.pages(f"/dags/{QUICK}/dagRuns/{QUICK}/taskInstances"):
        for ti in page["task_instances"]:
            if ti["state"] == "success":
                succeeded = datetime.fromisoformat(ti["end_date"]).timestamp()
                latencies.append(succeeded - ended[ti["map_index"]])
            else:
                failed += 1
    taken = Counter(_TAKEN_FOR_ENDED.findall(airflow.processes["scheduler"].output()))
    return Measured(failed=failed, taken=taken, seconds=seconds, latency=statistics.median(latencies))


def main() -> int:
    """Measure once, as the command line says; return how many tasks failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=TASKS_OF_QUICK)
    parser.add_argument("--heavy", action="store_true", help="compute on all processors meanwhile")
    text = "in place of SQLite; needs Debian's postgresql, and asyncpg"
    parser.add_argument("--postgres", action="store_true", help=text)
    parser.add_argument("--logs", type=Path, help="a new directory for Airflow's files")
    measured = measure(**vars(parser.parse_args()))
    print(f"Airflow {version('apache-airflow')}, {sys.argv[1:]}: {measured}")
    return measured.failed


if __name__ == "__main__":
    sys.exit(main())
