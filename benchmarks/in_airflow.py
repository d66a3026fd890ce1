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

with DAG(dag_id="provider", schedule=None):
    CancelTriggerRunOperator(task_id="cancel_runs", run_ids={run_ids!r})
"""
)

_HTTP_OPERATOR = (
    _HEAD
    + """
from airflow.providers.http.operators.http import HttpOperator

with DAG(dag_id="baseline", schedule=None):
    HttpOperator.partial(task_id="cancel_run", http_conn_id="trigger_http", method="POST").expand(
        endpoint=["api/v2/runs/" + run_id + "/cancel" for run_id in {run_ids!r}]
    )
"""
)


def mapped_http_operator(count: int = 200) -> Iterator[Row]:
    """Compare with Airflow's HttpOperator, mapped over the ids."""
    with remote_server(rate_limit=None, latency=0.05) as server:
        _run_dag(server, _PROVIDER.format(run_ids=server.add_runs(count)))
        provider_cancels = _span(_cancel_times(server))
        _run_dag(server, _HTTP_OPERATOR.format(run_ids=server.add_runs(count)))
        baseline_cancels = _span(_cancel_times(server))
    ratio = baseline_cancels / provider_cancels
    yield Row(
        f"cancel {count} runs in dag.test(), from first to last; baseline: mapped HttpOperator",
        f"{provider_cancels:.2f} s",
        f"{baseline_cancels:.2f} s",
        f"{ratio:.0f}",
        ">= 50",
        ratio >= 50,
    )


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
import sys
try:
    from airflow.dag_processing.dagbag import DagBag
except ImportError:
    from airflow.models.dagbag import DagBag
dag, = DagBag(dag_folder=sys.argv[1]).dags.values()
dag.test()
"""


def _run_dag(server: RemoteServer, source: str) -> None:
    """Run a Dag with ``dag.test()``."""
    home = _home()
    file = home / "dags" / "measured.py"
    file.write_text(source)
    subprocess.run(
        [sys.executable, "-c", _TEST, str(file)],
        env=_environment(home, **server.connections()),
        capture_output=True,
        check=True,
    )
