"""A task that Airflow stops takes its runs with it, in the seconds that it is left: with real signals."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress

import pytest
from run_operator import batch, operator
from waiting import LONG, Killed, limited, until

from airflow_provider_trigger._compat import AirflowException

STARTS = {"one": (operator, "/trigger", 1), "many": (batch, "/tasks/batch", 80)}


def in_requests_that_are_never_answered(server, path, count):
    server.hang_next(min(4, count), path=path, after_handling=True)
    return lambda: len(server.runs) >= count


def in_a_pause_before_the_requests_are_repeated(server, path, count):
    server.fail_next(min(4, count), status=503, headers={"retry-after": "3"}, after_handling=True, path=path)
    return lambda: len(server.runs) >= count


def in_a_status_check(server, path, count):
    server.hang_next(method="GET", path="/api/v3/runs/")
    return lambda: any(request.method == "GET" for request in list(server.requests))


PHASES = [
    in_requests_that_are_never_answered,
    in_a_pause_before_the_requests_are_repeated,
    in_a_status_check,
]


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("kind", STARTS)
def test_a_kill_cancels_all_runs_and_starts_no_other_ones(kind, phase, server, connect, run_try, kill_when):
    connect(timeout=3, retry_for=60)
    server.on_task("endless", after=None)
    make, path, count = STARTS[kind]
    made = make("endless", **({"payloads": list(range(200))} if kind == "many" else {}))
    sent_before = []

    def starts():
        return sum(request.path.endswith(path) for request in list(server.requests))

    def on_kill():
        sent_before.append(starts())
        made.on_kill()

    called = kill_when(phase(server, path, count), on_kill)
    ended = run_try(made)
    assert called
    assert isinstance(ended.error, (AirflowException, Killed)), ended.error
    assert starts() - sent_before[0] <= 4  # those that were on their way
    assert {run.status for run in server.runs.values()} == {"CANCELED"}
    assert not any(run.started_at for run in server.runs.values() if run.options.get("delay"))


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


def test_a_kill_while_the_server_is_down_says_that_the_run_may_be_alive(
    server, connect, run_try, kill_when, said
):
    connect(timeout=LONG, retry_for=LONG)
    server.on_task("endless", after=None)
    made = operator("endless")

    def is_down():
        if not any(run.status == "EXECUTING" for run in server.runs.values()):
            return False
        server.stop()
        return True

    called = kill_when(is_down, made.on_kill)
    with limited(30):
        ended = run_try(made)
    assert called
    assert isinstance(ended.error, (AirflowException, Killed)), ended.error
    (run,) = server.runs.values()
    assert said.lines(f"Run {run.id} may still be running: ")
