"""A batch of 1,000 items in one task, and the same as 1,000 mapped tasks, in a whole Airflow."""

from __future__ import annotations

import json
import operator
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from measured_runs import BATCH, ITEMS, MAPPED
from measures import Row
from processes import megabytes, processes_of
from remote_server import RemoteServer, remote_server
from whole import WholeAirflow, whole_airflow

SERVER = {"rate_limit": 750, "refill": 250, "refill_interval": 10, "latency": 0.02, "query_lag": 0.72}
LONGEST = 1800.0
# Airflow may fail a deferred task whose trigger fires before its scheduler has noticed that it has deferred.
RUN = 20.0


@dataclass
class Measured:
    """
    What a Dag run needed.

    :param seconds: from its start to its success
    :param requests: in all
    :param rejected: of these, with 429
    :param megabytes: the most that all processes of Airflow had at a time, more than before
    """

    seconds: float
    requests: int
    rejected: int
    megabytes: float

    def __str__(self) -> str:
        return (
            f"{self.seconds:.0f} s, {self.requests:,} requests, {self.rejected} rejected, "
            f"{self.megabytes:,.0f} MB"
        )


def many_items() -> Iterator[Row]:
    """Compare the batch operator with a mapped one."""
    limit = {"AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG": str(ITEMS)}
    with remote_server(**SERVER) as server, whole_airflow(server, BATCH, MAPPED, **limit) as airflow:
        server.on_task("same", after=RUN, output=operator.pos)
        own = _measure(airflow, server, BATCH)
        outputs = airflow.api.xcom(BATCH, BATCH, "work")
        if outputs != list(range(ITEMS)):
            raise RuntimeError(f"The outputs are not those of the items: {json.dumps(outputs)[:200]}")
        mapped = _measure(airflow, server, MAPPED)
    yield Row(
        f"{ITEMS:,} items, runs of {RUN:.0f} s, in one deferred task; baseline: mapped deferred tasks",
        str(own),
        str(mapped),
        f"{mapped.seconds / own.seconds:.1f}",
        ">= 3, 0 rejected",
        mapped.seconds >= 3 * own.seconds and not own.rejected,
    )


def _measure(airflow: WholeAirflow, server: RemoteServer, dag_id: str) -> Measured:
    server.requests()
    before, most, has_ended = _memory(), [0.0], threading.Event()

    def watch() -> None:
        while not has_ended.wait(1.0):
            most[0] = max(most[0], _memory())

    watching = threading.Thread(target=watch)
    watching.start()
    begun = time.monotonic()
    try:
        state = airflow.run_dag(dag_id, dag_id, timeout=LONGEST)
    finally:
        has_ended.set()
        watching.join()
    if state != "success":
        raise RuntimeError(f"Dag run {dag_id!r} is {state}")
    requests = server.requests()
    return Measured(
        seconds=time.monotonic() - begun,
        requests=len(requests),
        rejected=sum(status == 429 for _, _, status, _ in requests),
        megabytes=max(0.0, most[0] - before),
    )


def _memory() -> float:
    return sum(map(megabytes, processes_of()))
