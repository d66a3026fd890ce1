"""A fast local server, and the real client on it: what takes minutes there is over in seconds here."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from waiting import until

from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook
from airflow_provider_trigger.operators.cancel import CancelTriggerRunOperator
from airflow_provider_trigger.operators.run import RunTriggerTaskOperator
from airflow_provider_trigger.testing import TriggerDevServer

pytestmark = pytest.mark.usefixtures("connection")


@pytest.fixture
def server() -> Iterator[TriggerDevServer]:
    with TriggerDevServer(speed=100, rate_limit=20, refill=20, refill_interval=100) as server:
        yield server


@pytest.fixture
def hook() -> TriggerDevHook:
    return TriggerDevHook()


def test_a_task_of_minutes_is_waited_for_in_seconds(server: TriggerDevServer) -> None:
    server.on_task("train", after=300, output="a model")
    operator = RunTriggerTaskOperator(task_id="train", task_identifier="train", timeout=20)
    assert operator.execute({}) == "a model"
    (run,) = server.runs.values()
    assert (run.finished_at - run.started_at).total_seconds() == pytest.approx(3)


def test_the_timeout_of_an_operator_counts_real_seconds(server: TriggerDevServer) -> None:
    server.on_task("train", after=3600)
    operator = RunTriggerTaskOperator(task_id="train", task_identifier="train", timeout=1)
    with pytest.raises(Exception, match="1 s"):
        operator.execute({})
    (run,) = server.runs.values()
    assert run.status == "CANCELED"


def test_the_age_of_a_run_is_real(server: TriggerDevServer, hook: TriggerDevHook) -> None:
    server.on_task("train", after=None)
    created = int(time.time()) - 600  # by its clock; the Date of its answers is the real one
    passed = 0.0
    server.clock = lambda: created + passed
    run_id = hook.trigger_task("train")
    passed = 60.0
    run = hook.get_run(run_id)
    assert run.status == "EXECUTING"
    assert run.created_at is not None
    assert run.seen_at is not None
    assert run.created_at.timestamp() == created
    assert run.age == run.seen_at.timestamp() - created
    # The answer is older than this line, and the test is over long before 300 s are.
    assert 300 < run.age <= time.time() - created


def test_a_ttl_of_minutes_is_over_in_seconds(server: TriggerDevServer, hook: TriggerDevHook) -> None:
    server.on_task("train", start_after=None)
    run_id = hook.trigger_task("train", options={"ttl": "5m"})
    assert hook.get_run(run_id).status == "QUEUED"
    until(lambda: server.runs[run_id].status == "EXPIRED", "the run expires")
    run = hook.get_run(run_id)
    assert (run.status, run.is_terminated) == ("EXPIRED", True)


def test_a_delay_of_minutes_is_over_in_seconds(server: TriggerDevServer, hook: TriggerDevHook) -> None:
    run_id = hook.trigger_task("train", {"n": 1}, {"delay": "5m"})
    assert hook.get_run(run_id).status == "DELAYED"
    until(lambda: server.runs[run_id].status == "COMPLETED", "the run completes")
    assert hook.get_output(run_id) == {"n": 1}


def test_a_cancel_that_no_worker_acknowledges_is_enforced_soon(
    server: TriggerDevServer,
) -> None:
    run = server.add_run(acknowledge_after=None)
    operator = CancelTriggerRunOperator(
        task_id="cancel", run_ids=[run.id], wait_for_termination=True, termination_timeout=20, poll_interval=1
    )
    (result,) = operator.execute({})
    assert (result["outcome"], result["terminated"]) == ("canceled", True)


def test_the_client_waits_for_the_reset_of_the_rate_limit(
    server: TriggerDevServer, hook: TriggerDevHook
) -> None:
    run = server.add_run()
    server.take_tokens(19)
    assert [hook.get_run(run.id).status for _ in range(5)] == ["EXECUTING"] * 5


def test_the_command_line_has_it_too() -> None:
    command = [sys.executable, "-m", "airflow_provider_trigger.testing", "--speed", "fast"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, "'fast' is not valid: must be a number from 0.001" in done.stderr) == (2, True)
