"""A server that fails while a task starts a run and waits for it: one run, and its result arrives."""

from __future__ import annotations

import time

import pytest
from run_operator import operator

from airflow_provider_trigger._compat import AirflowFailException
from airflow_provider_trigger.testing import TriggerDevServer

WAYS = pytest.mark.parametrize("deferrable", [False, True], ids=["waits", "defers"])


# What goes wrong while the run executes.
@WAYS
def test_a_rate_limit_that_another_application_uses_up_delays_the_result(
    deferrable, connect, run_try, meanwhile, said
):
    with TriggerDevServer(rate_limit=30, refill=10, refill_interval=1) as server:
        connect(host=server.url, retry_for=60)
        server.on_task("resize", output=1, after=1)

        def is_executing():
            return any(run.status == "EXECUTING" for run in list(server.runs.values()))

        def use_up():
            for _ in range(10):
                server.take_tokens(30)
                time.sleep(0.2)

        meanwhile(is_executing, use_up)
        ended = run_try(operator(deferrable=deferrable, poll_interval=0.05))
        assert (ended.error, ended.output) == (None, 1)
        (run,) = server.runs.values()
        assert run.cancel_requests == 0


LOST = {
    "disconnected": lambda server: server.disconnect_next(path="/trigger"),
    "hanging": lambda server: server.hang_next(path="/trigger", after_handling=True),
    "truncated": lambda server: server.truncate_next(path="/trigger"),
    "late": lambda server: server.delay_next(path="/trigger", seconds=8),
}
# Each times out, and a stall of the machine costs no other request its answer.
TIMEOUT = {"hanging": 3, "late": 3}


@WAYS
@pytest.mark.parametrize("lost", LOST)
def test_a_lost_answer_of_the_trigger_makes_no_second_run(
    lost, deferrable, server, connect, run_try, triggered
):
    connect(timeout=TIMEOUT.get(lost, 10), retry_for=30)
    server.on_task("resize", output="once")
    LOST[lost](server)
    ended = run_try(operator(deferrable=deferrable))
    assert (ended.error, ended.output) == (None, "once")
    assert len(triggered()) == 2
    assert list(server.runs) == [ended.pushed["run_id"]]


@pytest.mark.parametrize("lost", LOST)
def test_without_a_key_a_lost_answer_says_that_a_run_may_exist(lost, server, connect, run_try, triggered):
    connect(timeout=TIMEOUT.get(lost, 10))
    server.on_task("resize", output="once")
    LOST[lost](server)
    ended = run_try(operator(idempotency_key=None))
    assert isinstance(ended.error, AirflowFailException)
    assert "a run may exist: look for it in the dashboard before you start another one" in str(ended.error)
    assert len(triggered()) == 1


@pytest.mark.parametrize("key", [{}, {"idempotency_key": None}], ids=["key", "no key"])
def test_a_server_that_is_down_at_the_start_leaves_the_task_its_retries(key, server, run_try):
    server.on_task("resize", output="once")
    server.stop()
    failed = run_try(operator(**key))
    assert "Connection refused" in str(failed.error)
    assert "a run may exist" not in str(failed.error)
    assert not isinstance(failed.error, AirflowFailException)
    assert failed.pushed == {}
    server.start()
    again = run_try(operator(**key), try_number=2)
    assert (again.error, again.output, len(server.runs)) == (None, "once", 1)
