"""Which run a task gets on its next try, after a clear, in another Airflow, and in another test of a Dag."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime
from importlib import import_module
from typing import Any

from airflow import __version__

TRIES = """
def die(context, result=None):
    if context["ti"].try_number == 1:
        raise RuntimeError("the worker is gone")

for deferrable in (False, True):
    options = {"poll_interval": 0.1, "retries": 1, "deferrable": deferrable}
    for name, special in (("fails", {}), ("dies", {"post_execute": die})):
        name = f"{name}_{deferrable}"
        RunTriggerTaskOperator(task_id=name, task_identifier=name, **options, **special)

@task(retries=1)
def by_hand():
    try:
        from airflow.sdk import get_current_context
    except ImportError:  # 2.11
        from airflow.operators.python import get_current_context
    context = get_current_context()
    outputs = [
        RunTriggerTaskOperator(
            task_id="by_hand", task_identifier="by_hand", payload=payload, poll_interval=0.1
        ).execute(context)
        for payload in (1, 2, 3)
    ]
    if context["ti"].try_number == 1:
        raise RuntimeError("after its runs")
    return str(outputs)

by_hand()
"""


def statuses(server, task):
    return [run.status for run in server.runs.values() if run.task_identifier == task]


def test_a_retry_gets_the_runs_that_completed_and_a_new_one_for_one_that_failed(server, run_tasks):
    ways = ("False", "True")
    for way in ways:
        server.on_task(f"fails_{way}", error="no such file", times=1)
        server.on_task(f"fails_{way}", output="second")
        server.on_task(f"dies_{way}", output="first", times=1)
        server.on_task(f"dies_{way}", output="second")
    server.on_task("by_hand", output=lambda payload: payload * 2)
    result = run_tasks(TRIES)
    assert (result.state, {tries for (tries,) in result.tries.values()}) == ("success", {2})
    for way in ways:
        assert (result.xcoms[f"fails_{way}"], result.xcoms[f"dies_{way}"]) == ("second", "first")
        assert statuses(server, f"fails_{way}") == ["FAILED", "COMPLETED"]
        assert statuses(server, f"dies_{way}") == ["COMPLETED"]
        (run_id,) = result.pushed[f"fails_{way}", "run_id"]
        assert server.runs[run_id].status == "COMPLETED"
    assert result.xcoms["by_hand"] == "[2, 4, 6]"
    assert statuses(server, "by_hand") == ["COMPLETED"] * 3


def test_each_test_of_a_dag_has_runs_of_its_own_also_with_one_date(server, run_tasks):
    with suppress(ImportError):  # 2.11 deletes the first Dag run, for which it must know the table of users
        import_module("airflow.providers.fab.auth_manager.models")
    server.on_task("resize", output=lambda payload: len(server.runs))
    tasks = """
        for retries in (0, 1):
            RunTriggerTaskOperator(
                task_id=f"start_{retries}",
                task_identifier="resize",
                poll_interval=0.1,
                deferrable=True,
                retries=retries,
            )
    """
    date_argument = "execution_date" if __version__.startswith("2.") else "logical_date"
    date: dict[str, Any] = {date_argument: datetime(2026, 1, 1, tzinfo=UTC)}
    results = [run_tasks(tasks, **date) for _ in range(2)]
    assert [sorted(result.xcoms.values()) for result in results] == [[1, 2], [3, 4]]
    command = [sys.executable, "-m", "airflow", "dags", "test", results[0].dag_id, "2026-01-01"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert statuses(server, "resize") == ["COMPLETED"] * 6
    tags = [run.tags for run in server.runs.values()]
    assert not {*tags[:4]} & {*tags[4:]}  # those of another process


# A worker that is killed
