"""Hundreds of deferred tasks of a whole Airflow: what they need while they wait, and how they are stopped."""

from __future__ import annotations

import time
from collections.abc import Iterator

from many_waits import LONGEST_STOP, SERVER
from measured_runs import MANY, TASKS_OF_MANY
from measures import Row
from processes import cpu_seconds, megabytes, processes_of
from remote_server import RemoteServer, remote_server
from whole import WholeAirflow, wait_until, whole_airflow

DAG_RUN = "many"
# So long it is measured, once all tasks have deferred, in seconds.
WAITING = 60.0
SETTLING = 20.0


def many_deferred() -> Iterator[Row]:
    """Measure a mapped task while it waits; then mark its Dag run as failed, with an empty bucket."""
    limit = {"AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG": str(TASKS_OF_MANY)}
    with remote_server(**SERVER) as server, whole_airflow(server, MANY, **limit) as airflow:
        server.on_task(MANY, after=None)
        airflow.api.trigger(MANY, DAG_RUN)
        wait_until(
            lambda: sum(server.statuses().values()) >= TASKS_OF_MANY,
            timeout=900,
            what="the start of all runs",
        )
        time.sleep(SETTLING)
        yield _waiting(server)
        yield _stopping(server, airflow)


def _waiting(server: RemoteServer) -> Row:
    processes = processes_of("triggerer")
    server.requests()
    cpu, begun = sum(map(cpu_seconds, processes)), time.monotonic()
    time.sleep(WAITING)
    seconds = time.monotonic() - begun
    cpu = sum(map(cpu_seconds, processes)) - cpu
    requests = server.requests()
    per_minute = len(requests) / seconds * 60
    rejected = sum(status == 429 for _, _, status, _ in requests)
    return Row(
        f"{TASKS_OF_MANY} deferred tasks of a whole Airflow wait",
        f"{per_minute:.0f} requests a minute, {rejected} rejected; triggerer {cpu / seconds:.0%}, "
        f"{max(map(megabytes, processes)):.0f} MB",
        "",
        "",
        "<= 150, 0",
        per_minute <= 150 and not rejected,
    )


def _stopping(server: RemoteServer, airflow: WholeAirflow) -> Row:
    server.take_tokens(SERVER["rate_limit"])
    begun = time.monotonic()
    airflow.api.mark_dag_run(MANY, DAG_RUN, "failed")
    wait_until(
        lambda: server.statuses().get("CANCELED") == TASKS_OF_MANY, timeout=LONGEST_STOP, what="all cancels"
    )
    seconds = time.monotonic() - begun
    requests = [(path, status) for method, path, status, _ in server.requests() if method == "POST"]
    cancels = sum(path.endswith("/cancel") for path, _ in requests)
    return Row(
        "their Dag run is marked failed: until no run is alive",
        f"{seconds:.0f} s, {cancels} single cancels",
        "",
        "",
        "<= 30 s",
        seconds <= 30,
    )
