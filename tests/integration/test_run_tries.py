"""Which run a task gets on its next try, after a clear, in another Airflow, and in another test of a Dag."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime
from importlib import import_module
from typing import Any

import pytest
from airflow import __version__
from run_operator import operator
from waiting import until

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


def test_a_key_of_ones_own_stands_for_one_run_in_all_tasks(server, run_try):
    server.on_task("resize", output="first", after=0.5)
    first = run_try(operator(idempotency_key="order-17"))
    other = run_try(operator(idempotency_key="order-17"), task_id="other", started_at="2026-02-02T00:00:00Z")
    assert (first.output, other.output, len(server.runs)) == ("first", "first", 1)


@pytest.mark.parametrize("deferrable", [False, True], ids=["waits", "defers"])
def test_a_cleared_task_cancels_its_run_that_is_alive_and_starts_a_new_one(deferrable, server, run_try, said):
    server.on_task("resize", after=None, acknowledge_after=1, times=1)
    server.on_task("resize", output="second", start_after=0)
    run_try(operator(wait_for_completion=False), max_tries=0)
    (first,) = server.runs.values()
    until(lambda: first.status == "EXECUTING", "the run executes")
    again = run_try(operator(deferrable=deferrable), try_number=2, max_tries=1)
    assert again.output == "second"
    assert statuses(server, "resize") == ["CANCELED", "COMPLETED"]
    assert first.finished_at <= list(server.runs.values())[1].started_at
    assert said.lines("Canceling 1 run of an earlier try, from before a clear or for ", first.id)


# A worker that is killed


def before_the_answer(server):
    server.hang_next(path="/trigger", after_handling=True)
    return lambda: bool(server.runs)


def between_answer_and_xcom(server):
    return lambda: any(run.status for run in list(server.runs.values())) and sent(server, "/trigger") == [200]


def while_it_waits(server):
    return lambda: 200 in sent(server, "/api/v3/runs/")


def sent(server, path):
    return [request.status for request in list(server.requests) if path in request.path]


@pytest.mark.parametrize("when", [before_the_answer, between_answer_and_xcom, while_it_waits])
def test_a_worker_that_is_killed_leaves_a_run_that_the_next_try_takes_up(when, server, run_try, said):
    server.on_task("resize", output="once", after=1.5)
    is_time = when(server)
    # The child neither gives way to this process's tests nor cleans up for them.
    worker = os.fork()
    if worker == 0:
        try:
            run_try(operator(), fails_at=None)
        finally:
            os._exit(0)
    try:
        until(is_time, "the worker is there", interval=0.005)
    finally:
        os.kill(worker, signal.SIGKILL)
        os.waitpid(worker, 0)
    again = run_try(operator(), try_number=2)
    assert (again.error, again.output) == (None, "once")
    assert list(server.runs) == [again.pushed["run_id"]]
    (run,) = server.runs.values()
    assert run.cancel_requests == 0
