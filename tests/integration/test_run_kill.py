"""A task that Airflow stops takes its run with it, wherever it is, in the seconds that Airflow leaves it."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from typing import Any

import pytest
from run_operator import operator
from waiting import LONG, Killed, limited, until

from airflow_provider_trigger._compat import AirflowException
from airflow_provider_trigger.operators.replay import ReplayTriggerRunOperator
from airflow_provider_trigger.testing import TriggerDevServer


def in_the_request(server):
    server.hang_next(path="/trigger", after_handling=True)
    return lambda: bool(server.runs)


def in_a_request_that_does_not_arrive(server):
    server.hang_next(path="/trigger")
    return lambda: bool(server.requests)


def in_a_pause_before_the_next_request(server):
    server.fail_next(path="/trigger", status=503, headers={"retry-after": "3"}, after_handling=True)
    return lambda: any(request.status for request in server.requests)


def in_a_status_check(server):
    server.hang_next(method="GET", path="/api/v3/runs/")
    return lambda: any(request.method == "GET" for request in server.requests)


def in_a_pause_before_the_next_check(server):
    return lambda: any(run.status == "EXECUTING" for run in server.runs.values())


PHASES = [
    in_the_request,
    in_a_request_that_does_not_arrive,
    in_a_pause_before_the_next_request,
    in_a_status_check,
    in_a_pause_before_the_next_check,
]


@pytest.mark.parametrize("phase", PHASES)
def test_a_kill_cancels_the_run(phase, server, connect, run_try, kill_when, said):
    connect(timeout=3, retry_for=60)
    server.on_task("endless", after=None)
    made = operator("endless")
    called = kill_when(phase(server), made.on_kill)
    ended = run_try(made)
    assert called
    assert isinstance(ended.error, (AirflowException, Killed)), ended.error
    assert {run.status for run in server.runs.values()} == {"CANCELED"}
    assert not any(run.started_at for run in server.runs.values() if run.options.get("delay"))
    for run in server.runs.values():
        assert said.lines(f"Canceled run {run.id}")


@pytest.mark.parametrize("kill_when", ["goes_on"], indirect=True)
def test_a_kill_in_the_wait_for_the_rate_limit_cancels_the_run(connect, run_try, kill_when):
    with TriggerDevServer(rate_limit=30, refill=10, refill_interval=1) as server:
        connect(host=server.url, retry_for=60)
        server.on_task("endless", after=None)
        made = operator("endless")

        def is_used_up():
            if any(run.status == "EXECUTING" for run in server.runs.values()):
                server.take_tokens(30)
                return True
            return False

        called = kill_when(is_used_up, made.on_kill)
        ended = run_try(made)
        assert isinstance(ended.error, AirflowException)
        assert called
        (run,) = server.runs.values()
        assert run.status == "CANCELED"


TASK = """
import logging, signal
from fake_airflow import TaskInstance, context_of
from run_operator import operator_in_worker
logging.getLogger("airflow.task").addHandler(logging.StreamHandler())
made = operator_in_worker()
signal.signal(signal.SIGTERM, lambda *_: made.on_kill())
made.execute(context_of(TaskInstance()))
"""


def test_where_a_task_is_gone_5_s_after_the_signal_its_log_names_its_run(server, connect, the_run, tmp_path):
    connect(timeout=LONG, retry_for=LONG)
    server.on_task("resize", after=None)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with (tmp_path / "log").open("w") as log:
        task = subprocess.Popen([sys.executable, "-c", TASK], env=environment, stdout=log, stderr=log)
    run = until(lambda: the_run("resize", "EXECUTING"), "the run executes")
    server.hang_next(None)
    seen = len(server.requests)
    until(lambda: len(server.requests) > seen, "a check hangs")
    task.terminate()
    with suppress(subprocess.TimeoutExpired):
        task.wait(5)  # as Airflow 3 does
    task.kill()
    task.wait()
    assert f"Canceling run {run.id}, because its task was ended" in (tmp_path / "log").read_text()


@pytest.mark.parametrize("down", ["refused", "hanging"])
def test_a_kill_while_the_server_is_down_says_that_the_run_may_be_alive(
    down, server, connect, run_try, kill_when, said
):
    connect(timeout=LONG, retry_for=LONG)
    server.on_task("endless", after=None)
    made, seen = operator("endless"), list[Any]()

    def is_down():
        if not any(run.status == "EXECUTING" for run in server.runs.values()):
            return False
        if down == "refused":
            server.stop()
            return True
        if not seen:
            server.hang_next(None)
            seen.append(len(server.requests))
        return len(server.requests) > seen[0]  # a check hangs

    called = kill_when(is_down, made.on_kill)
    try:
        with limited(30):  # the check ends, too
            ended = run_try(made)
    finally:
        server.clear_faults()
    assert called
    assert isinstance(ended.error, (AirflowException, Killed)), ended.error
    (run,) = server.runs.values()
    assert said.lines(f"Run {run.id} may still be running: ")


def test_a_kill_leaves_the_run_alone_where_that_is_wanted(server, run_try, kill_when):
    server.on_task("endless", after=None)
    made = operator("endless", cancel_on_kill=False)
    kill_when(in_a_pause_before_the_next_check(server), made.on_kill)
    ended = run_try(made)
    assert isinstance(ended.error, (AirflowException, Killed))
    (run,) = server.runs.values()
    assert (run.status, run.cancel_requests) == ("EXECUTING", 0)


def test_a_kill_cancels_a_replay_and_not_its_original(server, run_try, kill_when):
    server.on_task("endless", after=None)
    original, _ = server.trigger("endless")
    made = ReplayTriggerRunOperator(task_id="again", run_id=original.id, poll_interval=0.2)

    def is_replayed():
        return len(server.runs) == 2 and list(server.runs.values())[1].status == "EXECUTING"

    kill_when(is_replayed, made.on_kill)
    ended = run_try(made, task_id="again")
    assert isinstance(ended.error, (AirflowException, Killed))
    _, replay = server.runs.values()
    assert (original.status, replay.status) == ("EXECUTING", "CANCELED")
