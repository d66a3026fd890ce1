"""How a whole Airflow starts runs and waits for them, with this provider and with Airflow's HTTP provider."""

from __future__ import annotations

import itertools
import sqlite3
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

from measured_runs import DEFERRABLE_SENSOR, EVENT_TRIGGER, OWN, WAIT
from measures import Row
from remote_server import RemoteServer, remote_server
from whole import WholeAirflow, wait_until, whole_airflow

WAYS = (OWN, EVENT_TRIGGER, DEFERRABLE_SENSOR)
RUNS = 50
DURATIONS = (9.0, 11.0)  # of the first run and the last, in seconds: checks come at fixed times
# Dag runs, and the seconds between two starts: else each mainly waits for a processor.
AT_ONCE = 8
SECONDS_BETWEEN = 2.0

# When each task changed its state: Airflow itself keeps only a part of this.
_RECORD_STATES = """
CREATE TABLE recorded_states (run_id TEXT, task_id TEXT, state TEXT, at REAL);
CREATE TRIGGER record_states AFTER UPDATE OF state ON task_instance WHEN new.state IS NOT old.state BEGIN
    INSERT INTO recorded_states
    VALUES (new.run_id, new.task_id, new.state, (julianday('now') - 2440587.5) * 86400.0);
END;
"""
# A worker slot is taken from the moment at which the executor gets the task.
_IN_A_SLOT = ("queued", "running")


@dataclass
class Measured:
    """
    What one way to start runs and wait for them needed.

    :param requests: in all
    :param slot_seconds: for which tasks held a worker slot, in all
    :param delays: of each run, the seconds from its end to the success of its last task
    """

    requests: int = 0
    slot_seconds: float = 0.0
    delays: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        slot, requests = self.slot_seconds / RUNS, self.requests / RUNS
        return f"{slot:.1f} s, {statistics.median(self.delays):.1f} s, {requests:.1f}"


def start_and_wait() -> Iterator[Row]:
    """Compare with HttpOperator and the ways to wait, meant to hold no worker slot, that its users have."""
    with remote_server(rate_limit=None, latency=0.05) as server, whole_airflow(server, *WAYS) as airflow:
        for way in WAYS:
            airflow.run_dag(way, f"warm_up.{way}")
        server.requests()
        with _database(airflow) as database:
            database.executescript(_RECORD_STATES)
            _start_dag_runs(airflow, server, database)
            measured = _measure(server, database)
    yield _row(
        f"{RUNS} deferred runs of 10 s: worker slot, from end to success, requests; "
        "baseline: HttpOperator and a sensor on HttpEventTrigger",
        measured[OWN],
        measured[EVENT_TRIGGER],
    )
    yield _row(
        "baseline: HttpOperator and HttpSensor(deferrable=True)",
        measured[OWN],
        measured[DEFERRABLE_SENSOR],
    )


def _row(scenario: str, own: Measured, baseline: Measured) -> Row:
    ratio = baseline.slot_seconds / own.slot_seconds
    return Row(scenario, str(own), str(baseline), f"{ratio:.1f}", ">= 1", ratio >= 1)


def _start_dag_runs(airflow: WholeAirflow, server: RemoteServer, database: sqlite3.Connection) -> None:
    """Start a Dag run for each run, the ways in turn, and wait until all have ended."""

    def active() -> int:
        query = "SELECT count(*) FROM dag_run WHERE state IN ('queued', 'running')"
        return database.execute(query).fetchone()[0]

    first, last = DURATIONS
    for number in range(RUNS):
        for way in WAYS:
            server.on_task(way, after=first + (last - first) * number / RUNS, output={"done": True})
            wait_until(lambda: active() < AT_ONCE, timeout=600, what=f"less than {AT_ONCE} Dag runs")
            airflow.api.trigger(way, f"{way}.{number}")
            time.sleep(SECONDS_BETWEEN)
    wait_until(lambda: not active(), timeout=600, what="the end of all Dag runs")


def _measure(server: RemoteServer, database: sqlite3.Connection) -> dict[str, Measured]:
    measured = {way: Measured() for way in WAYS}
    ways, ends = {}, {}
    for run_id, way, dag_run_id, ended_at in server.runs():
        ways[run_id], ends[dag_run_id] = way, ended_at
    for _, path, _, _ in server.requests():
        # It checks a run, triggers a task, or is a query of the provider, for all its runs.
        part = next((part for part in path.split("/") if part in ways or part in WAYS), OWN)
        measured[ways.get(part, part)].requests += 1
    states: defaultdict[tuple[str, str], list[tuple[float, str]]] = defaultdict(list)
    query = "SELECT run_id, task_id, at, state FROM recorded_states ORDER BY at"
    for dag_run_id, task_id, at, state in database.execute(query):
        states[dag_run_id, task_id].append((at, state))
    for (dag_run_id, task_id), changes in states.items():
        result = measured[dag_run_id.split(".")[0]]
        for (entered_at, state), (left_at, _) in itertools.pairwise(changes):
            result.slot_seconds += left_at - entered_at if state in _IN_A_SLOT else 0.0
        succeeded_at, state = changes[-1]
        if state != "success":
            raise RuntimeError(f"Task {task_id!r} of Dag run {dag_run_id!r} is {state}")
        if task_id == WAIT:
            result.delays.append(succeeded_at - ends[dag_run_id])
    return measured


@contextmanager
def _database(airflow: WholeAirflow) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(airflow.home / "airflow.db", timeout=60)) as database:
        yield database
