"""What the Dag ``visible`` must show, in a whole Airflow and by ``dag.test()``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from airflow_provider_trigger.testing import TriggerDevServer

MODES = ("running", "deferred")
AIRFLOW = "http://airflow.test"


def arrange(server: TriggerDevServer) -> None:
    """Say what the Trigger.dev tasks of the Dag do."""
    server.on_task("report", output=1, after=3)
    for name in ("resize", "never"):
        server.on_task(name, after=None)


def has_searched(server: TriggerDevServer, mode: str) -> bool:
    """Return whether the sensor has searched twice for the run that it waits for."""
    paths = [record.path for record in list(server.requests)]
    return sum(path.startswith("/api/v1/runs?") and f"part-{mode}" in path for path in paths) >= 2


def complete(server: TriggerDevServer, mode: str) -> None:
    """Complete that run."""
    [run] = [run for run in server.runs.values() if f"part-{mode}" in run.tags]
    run.status = "COMPLETED"


def check(
    server: TriggerDevServer, xcom: Callable[[str, str], Any], log: Callable[[str], str], *, has_links: bool
) -> None:
    """
    Check what the Dag run has left.

    :param xcom: returns the value of a task's key
    :param log: returns the log of a task
    :param has_links: whether this Airflow shows the URL of a task's log
    """
    for mode in MODES:
        shown = server.runs[xcom(f"shown_{mode}", "run_id")]
        [tag] = [tag for tag in shown.tags if tag.startswith("airflow_dag_run:")]
        assert f"All runs of this Dag run have the tag {tag}" in log(f"shown_{mode}")
        assert shown.options["externalDeploymentId"] == "commit-visible"
        assert ': {"percent": 0}' in log(f"shown_{mode}")
        link = xcom(f"shown_{mode}", "run")["metadata"].get("airflow", "")
        assert link.startswith(f"{AIRFLOW}/dags/visible/") is has_links
        late = server.runs[xcom(f"late_{mode}", "run_id")]
        assert late.status == "CANCELED"
        assert "TriggerRunTimeoutError" in log(f"late_{mode}")
        started = xcom(f"start_{mode}", "run_id")
        assert xcom(f"found_{mode}", "return_value") == [{"run_id": started, "status": "COMPLETED"}]
    assert "report" in xcom("queue_names", "return_value")
