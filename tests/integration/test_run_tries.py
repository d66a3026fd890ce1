"""Which run a task gets on its next try, after a clear, in another Airflow, and in another test of a Dag."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime
from importlib import import_module

import pytest
from run_operator import operator
from waiting import until

WAYS = pytest.mark.parametrize("deferrable", [False, True], ids=["waits", "defers"])


def statuses(server):
    return [run.status for run in server.runs.values()]


@WAYS
def test_a_run_that_failed_is_followed_by_a_new_one(deferrable, server, run_tasks):
    server.on_task("resize", error="no such file", times=1)
    server.on_task("resize", output="second")
    result = run_tasks(f"""
        RunTriggerTaskOperator(
            task_id="start",
            task_identifier="resize",
            poll_interval=0.1,
            retries=1,
            deferrable={deferrable},
        )
    """)
    assert (result.state, result.tries, result.xcoms) == ("success", {"start": [2]}, {"start": "second"})
    assert statuses(server) == ["FAILED", "COMPLETED"]
    assert result.pushed["start", "run_id"] == [list(server.runs)[1]]


@WAYS
def test_a_task_that_dies_before_its_xcom_gets_the_output_of_its_run(deferrable, server, run_tasks):
    server.on_task("resize", output="first", times=1)
    server.on_task("resize", output="second")
    result = run_tasks(f"""
        def die(context, result=None):
            if context["ti"].try_number == 1:
                raise RuntimeError("the worker is gone")

        RunTriggerTaskOperator(
            task_id="start",
            task_identifier="resize",
            poll_interval=0.1,
            retries=1,
            deferrable={deferrable},
            post_execute=die,
        )
    """)
    assert (result.tries, result.xcoms) == ({"start": [2]}, {"start": "first"})
    assert statuses(server) == ["COMPLETED"]


def test_a_run_whose_id_cannot_be_pushed_is_canceled_and_another_one_starts(server, run_try):
    server.on_task("resize", after=None, times=1)
    server.on_task("resize", output="second")
    ended = run_try(operator(), fails_at="run_id")
    assert isinstance(ended.error, RuntimeError)
    assert statuses(server) == ["CANCELED"]
    again = run_try(operator(), try_number=2)
    assert (again.error, again.output) == (None, "second")
    assert statuses(server) == ["CANCELED", "COMPLETED"]


@WAYS
def test_a_retry_after_a_cancel_by_hand_starts_once_the_worker_has_stopped(
    deferrable, server, run_try, meanwhile, the_run, said
):
    server.on_task("resize", after=None, acknowledge_after=3.5, times=1)
    server.on_task("resize", output="second", start_after=0)
    meanwhile(lambda: the_run("resize", "EXECUTING"), lambda: the_run("resize").cancel())
    ended = run_try(operator(deferrable=deferrable))
    assert "ended with status CANCELED" in str(ended.error)
    again = run_try(operator(deferrable=deferrable), try_number=2)
    assert again.output == "second"
    first, second = server.runs.values()
    assert first.finished_at <= second.started_at
    assert said.lines(f"Run {first.id} is CANCELED; waiting until its worker has stopped")


def test_a_canceled_run_that_completes_in_spite_of_it_gives_its_output(server, run_try):
    server.on_task("resize", output="late", after=None, acknowledge_after=1, completes_despite_cancel=True)
    started = run_try(operator(wait_for_completion=False))
    (run,) = server.runs.values()
    until(lambda: run.status == "EXECUTING", "the run executes")
    run.cancel()
    again = run_try(operator(), try_number=2)
    assert (started.output, again.output) == (run.id, "late")
    assert len(server.runs) == 1


@WAYS
@pytest.mark.parametrize("ended_as", ["CANCELED", "COMPLETED", "FAILED"])
def test_clearing_a_task_that_has_ended_starts_a_new_run(deferrable, ended_as, server, run_try):
    server.on_task("resize", error="boom" if ended_as == "FAILED" else None, output="first", times=1)
    server.on_task("resize", output="second")
    first = run_try(operator(deferrable=deferrable), max_tries=0)
    if ended_as == "CANCELED":
        (run,) = server.runs.values()
        run.status = "CANCELED"
    assert (first.error is None) == (ended_as != "FAILED")
    again = run_try(operator(deferrable=deferrable), try_number=2, max_tries=1)
    assert again.output == "second"
    assert statuses(server) == [ended_as, "COMPLETED"]


def test_clearing_a_task_whose_run_is_alive_cancels_it_first(server, run_try, said):
    """As when it is cleared while it is deferred, and no trigger was there to cancel the run."""
    server.on_task("resize", after=None, acknowledge_after=1, times=1)
    server.on_task("resize", output="second", start_after=0)
    run_try(operator(wait_for_completion=False), max_tries=0)
    (first,) = server.runs.values()
    until(lambda: first.status == "EXECUTING", "the run executes")
    again = run_try(operator(), try_number=2, max_tries=1)
    assert again.output == "second"
    assert statuses(server) == ["CANCELED", "COMPLETED"]
    assert first.finished_at <= list(server.runs.values())[1].started_at
    assert said.lines(f"Canceling 1 run of an earlier try, started before this task was cleared: {first.id}")


@pytest.mark.parametrize("max_tries", [0, 1], ids=["retried", "cleared"])
def test_without_a_cancel_on_kill_the_next_try_takes_up_a_run_that_is_alive(max_tries, server, run_try, said):
    server.on_task("resize", output="first", after=1)
    run_try(operator(wait_for_completion=False), max_tries=0)
    again = run_try(operator(cancel_on_kill=False), try_number=2, max_tries=max_tries)
    assert (again.output, statuses(server)) == ("first", ["COMPLETED"])
    assert again.pushed["run_id"] == next(iter(server.runs))


def test_a_key_of_ones_own_stands_for_one_run_in_all_tasks(server, run_try):
    server.on_task("resize", output="first", after=0.5)
    first = run_try(operator(idempotency_key="order-17"))
    other = run_try(operator(idempotency_key="order-17"), task_id="other", started_at="2026-02-02T00:00:00Z")
    assert (first.output, other.output, len(server.runs)) == ("first", "first", 1)


def test_two_airflows_with_the_same_dag_run_and_task_have_a_run_each(server, run_try):
    server.on_task("resize", output=1)
    run_try(operator(), started_at="2026-01-01T06:00:02.000001Z")
    run_try(operator(), started_at="2026-01-01T06:00:02.000002Z")
    assert len(server.runs) == 2
    assert len({run.tags for run in server.runs.values()}) == 2
    run_try(operator(), started_at="2026-01-01T06:00:02.000002Z", try_number=2)
    assert len(server.runs) == 2


def test_instances_of_a_mapped_task_and_other_tasks_have_runs_of_their_own(server, run_try):
    server.on_task("resize", output=1)
    for task_id, map_index in (("start", -1), ("start", 0), ("start", 1), ("other", -1)):
        run_try(operator(), task_id=task_id, map_index=map_index)
    assert len(server.runs) == 4


def test_operators_that_a_task_executes_by_hand_have_a_run_each_and_keep_it_in_a_retry(server, run_tasks):
    server.on_task("resize", output=lambda payload: payload * 2)
    result = run_tasks("""
        @task(retries=1)
        def by_hand():
            try:
                from airflow.sdk import get_current_context
            except ImportError:  # 2.11
                from airflow.operators.python import get_current_context
            context = get_current_context()
            outputs = [
                RunTriggerTaskOperator(
                    task_id="resize", task_identifier="resize", payload=payload, poll_interval=0.1
                ).execute(context)
                for payload in (1, 2, 3)
            ]
            if context["ti"].try_number == 1:
                raise RuntimeError("after its runs")
            return str(outputs)

        by_hand()
    """)
    assert (result.tries, result.xcoms) == ({"by_hand": [2]}, {"by_hand": "[2, 4, 6]"})
    assert statuses(server) == ["COMPLETED"] * 3


@pytest.mark.parametrize("retries", [0, 1])
def test_two_tests_of_a_dag_with_one_date_in_one_process_have_a_run_each(server, run_tasks, retries):
    with suppress(ImportError):  # 2.11 deletes the first Dag run, for which it must know the table of users
        import_module("airflow.providers.fab.auth_manager.models")
    server.on_task("resize", output="first", times=1)
    server.on_task("resize", output="second")
    source = f"""
        RunTriggerTaskOperator(
            task_id="start", task_identifier="resize", poll_interval=0.1, retries={retries}
        )
    """
    date = {date_argument(): datetime(2026, 1, 1, tzinfo=UTC)}
    results = [run_tasks(source, **date).xcoms["start"] for _ in range(2)]
    assert (results, statuses(server)) == (["first", "second"], ["COMPLETED"] * 2)


def date_argument():
    from airflow import __version__

    return "execution_date" if __version__.startswith("2.") else "logical_date"


def test_airflow_dags_test_with_the_date_of_an_earlier_test_starts_a_run_of_its_own(server, run_tasks):
    server.on_task("resize", output=1)
    result = run_tasks(
        """
        RunTriggerTaskOperator(
            task_id="start", task_identifier="resize", poll_interval=0.1, deferrable=True
        )
        """,
        **{date_argument(): datetime(2026, 1, 2, tzinfo=UTC)},
    )
    command = [sys.executable, "-m", "airflow", "dags", "test", result.dag_id, "2026-01-02"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert statuses(server) == ["COMPLETED"] * 2
    first, second = server.runs.values()
    assert first.tags != second.tags


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
