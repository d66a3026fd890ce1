"""What tasks leave behind of their runs, in the database of a real Airflow."""

from __future__ import annotations

import pytest
from airflow_names import AIRFLOW_URL, IS_AIRFLOW_2

from airflow_provider_trigger._compat import airflow_version

pytestmark = pytest.mark.usefixtures("connection")

TASKS = """
try:
    from airflow.sdk import Asset
except ImportError:  # 2.11
    from airflow.datasets import Dataset as Asset

def add_rows(context, result=None):
    context["outlet_events"][asset].extra["rows"] = 3

asset = Asset("s3://bucket/facts")
for deferrable in (True, False):
    done = RunTriggerTaskOperator(
        task_id=f"done_{deferrable}",
        task_identifier="resize",
        metadata={"step": 1},
        deferrable=deferrable,
        poll_interval=0.05,
        outlets=[asset],
        post_execute=add_rows,
    )
    RunTriggerTaskOperator(
        task_id=f"failed_{deferrable}", task_identifier="crop", deferrable=deferrable, poll_interval=0.05
    )

    @task(task_id=f"events_{deferrable}", inlets=[asset])
    def events(*, inlet_events):
        return [event.extra for event in inlet_events[asset]]

    done >> events()

@task
def by_hand(**context):
    operator = RunTriggerTaskOperator(
        task_id="inner", task_identifier="resize", deferrable=False, poll_interval=0.05, outlets=[asset]
    )
    return operator.execute(context)

by_hand()
"""


def test_what_is_known_of_runs_is_in_xcom_and_in_the_events_of_assets(server, run_tasks):
    server.on_task("resize", output=1, after=0.1)
    server.on_task("crop", error="boom", after=0.1)
    result = run_tasks(TASKS)
    known = {}
    for kind, status in (("done", "COMPLETED"), ("failed", "FAILED")):
        for deferrable in (True, False):
            task_id = f"{kind}_{deferrable}"
            [facts] = result.pushed[task_id, "run"]
            [run_id] = result.pushed[task_id, "run_id"]
            assert (facts["run_id"], facts["status"], server.runs[run_id].status) == (run_id, status, status)
            assert facts["compute_seconds"] == 0.1
            assert facts["metadata"] == ({"step": 1} if kind == "done" else None)
            known[task_id] = {name: value for name, value in facts.items() if name != "metadata"}
    assert result.xcoms["by_hand"] == 1
    seen = result.xcoms["events_True"] + result.xcoms["events_False"]
    for deferrable in (True, False):
        assert {"trigger_dev": known[f"done_{deferrable}"], "rows": 3} in seen


MAPPED = """
arguments = {"task_identifier": "resize", "deferrable": False, "poll_interval": 0.05}
RunTriggerTaskOperator(task_id="one", **arguments)
RunTriggerTaskOperator.partial(task_id="mapped", **arguments).expand(payload=[1, 2])
"""


@pytest.mark.skipif(airflow_version().startswith("3.0."), reason="dag.test() does not know the URL of a log")
def test_a_run_has_the_url_of_its_task_instances_log(server, run_tasks, monkeypatch):
    monkeypatch.setenv(AIRFLOW_URL, "https://airflow.test/a")
    server.on_task("resize", after=0.1)
    result = run_tasks(MAPPED)
    urls = [run["metadata"]["airflow"] for name in ("one", "mapped") for run in result.pushed[name, "run"]]
    assert all(url.startswith("https://airflow.test/a/dags/dag_") for url in urls)
    of_mapped = "task_id=mapped&map_index={}&" if IS_AIRFLOW_2 else "/tasks/mapped/mapped/{}?try_number=1"
    for part, url in zip(["one", of_mapped.format(0), of_mapped.format(1)], urls, strict=True):
        assert part in url
