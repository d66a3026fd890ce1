"""What is measured in a real Airflow, with ``dag.test()``."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from measures import Row
from remote_server import RemoteServer, remote_server

_HEAD = """
from __future__ import annotations
try:
    from airflow.sdk import DAG, task
except ImportError:
    from airflow.decorators import task
    from airflow.models.dag import DAG
"""

_PROVIDER = (
    _HEAD
    + """
from airflow_provider_trigger.operators.cancel import CancelTriggerRunOperator

with DAG(dag_id="measured", schedule=None):
    CancelTriggerRunOperator(task_id="cancel_runs", run_ids={run_ids!r})
"""
)

_HTTP_OPERATOR = (
    _HEAD
    + """
from airflow.providers.http.operators.http import HttpOperator

with DAG(dag_id="measured", schedule=None):
    HttpOperator.partial(task_id="cancel_run", http_conn_id="trigger_http", method="POST").expand(
        endpoint=["api/v2/runs/" + run_id + "/cancel" for run_id in {run_ids!r}]
    )
"""
)

_FAILING = (
    _HEAD
    + """
import os
import pathlib
import time
from airflow_provider_trigger.notifications.cancel import CancelTriggerRunNotifier

with DAG(dag_id="measured", schedule=None):

    @task(on_failure_callback=CancelTriggerRunNotifier(run_ids={run_ids!r}))
    def work():
        pathlib.Path(os.environ["AIRFLOW_HOME"], "failed_at").write_text(str(time.monotonic()))
        raise RuntimeError("something failed at night")

    work()
"""
)


def mapped_http_operator(count: int = 200) -> Iterator[Row]:
    """Compare with Airflow's HttpOperator, mapped over the ids: from first to last cancel, and in all."""
    with remote_server(rate_limit=None, latency=0.05) as server:
        provider = _run_dag(server, _PROVIDER.format(run_ids=server.add_runs(count)))
        provider_cancels = _span(_cancel_times(server))
        baseline = _run_dag(server, _HTTP_OPERATOR.format(run_ids=server.add_runs(count)))
        baseline_cancels = _span(_cancel_times(server))
    name = f"{count} runs, 50 ms round trip, in dag.test(); baseline: HttpOperator mapped over the ids"
    ratio = baseline_cancels / provider_cancels
    yield Row(
        f"{name}; from the first cancel to the last",
        f"{provider_cancels:.2f} s",
        f"{baseline_cancels:.2f} s",
        f"{ratio:.0f} x",
        ">= 50 x",
        ratio >= 50,
    )
    yield Row(
        "the whole dag.test(), mostly Airflow's own time; the provider also checks each run",
        f"{provider:.1f} s",
        f"{baseline:.1f} s",
        f"{baseline / provider:.0f} x",
    )


def from_failure_to_canceled(count: int = 200) -> Iterator[Row]:
    """Measure the time from the failure of a task to the last run canceled by its callback."""
    with remote_server(rate_limit=None, latency=0.05) as server:
        _run_dag(server, _FAILING.format(run_ids=server.add_runs(count)))
        failed_at = float((_home() / "failed_at").read_text())
        took = max(_cancel_times(server)) - failed_at
        yield Row(f"from the failure of a task to the last of {count} cancels", f"{took:.2f} s", "", "")


def _span(times: list[float]) -> float:
    return max(times) - min(times)


def _cancel_times(server: RemoteServer) -> list[float]:
    # On Linux the monotonic clock is the same in all processes.
    return [time for method, _, _, time in server.requests() if method == "POST"]


@cache
def _home() -> Path:
    home = Path(tempfile.mkdtemp(prefix="airflow-provider-trigger-bench-"))
    (home / "dags").mkdir()
    subprocess.run([*_airflow(), "db", "migrate"], env=_environment(home), check=True, capture_output=True)
    return home


def _airflow() -> list[str]:
    return [sys.executable, "-m", "airflow"]


def _environment(home: Path, **more: str) -> dict[str, str]:
    return {**os.environ, "AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False", **more}


_TEST = """
import sys, time
try:
    from airflow.dag_processing.dagbag import DagBag
except ImportError:
    from airflow.models.dagbag import DagBag
dag, = DagBag(dag_folder=sys.argv[1]).dags.values()
started_at = time.perf_counter()
dag.test()
print("TOOK", time.perf_counter() - started_at)
"""


def _run_dag(server: RemoteServer, source: str) -> float:
    """Run a Dag with ``dag.test()`` and return how long that took, without Airflow's start."""
    home = _home()
    file = home / "dags" / "measured.py"
    file.write_text(source)
    done = subprocess.run(
        [sys.executable, "-c", _TEST, str(file)],
        env=_environment(home, **server.connections()),
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout.split("TOOK ")[1].split()[0])
