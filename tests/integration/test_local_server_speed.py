"""A fast local server, and the real client on it: what takes minutes there is over in seconds here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook
from airflow_provider_trigger.operators.run import RunTriggerTaskOperator
from airflow_provider_trigger.testing import TriggerDevServer

pytestmark = pytest.mark.usefixtures("connection")


@pytest.fixture
def server() -> Iterator[TriggerDevServer]:
    with TriggerDevServer(speed=100, rate_limit=20, refill=20, refill_interval=100) as server:
        yield server


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


def test_the_client_waits_for_the_reset_of_the_rate_limit(server: TriggerDevServer) -> None:
    run = server.add_run()
    server.take_tokens(19)
    assert [TriggerDevHook().get_run(run.id).status for _ in range(5)] == ["EXECUTING"] * 5
