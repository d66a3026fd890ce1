"""Starting a run again: which run, and what becomes of the new one."""

from __future__ import annotations

from typing import Any

import pytest
from fake_airflow import TaskInstance, context_of

from airflow_provider_trigger._compat import AirflowFailException
from airflow_provider_trigger.operators.replay import ReplayTriggerRunOperator


def operator(run_id: Any) -> ReplayTriggerRunOperator:
    return ReplayTriggerRunOperator(task_id="again", run_id=run_id, deferrable=False, poll_interval=0.02)


@pytest.fixture
def original(connection: str, server):
    """A run of a task whose runs multiply their payload."""
    server.on_task("double", output=lambda payload: payload * 2)
    run, _ = server.trigger("double", payload=21, options={"tags": ["mine"], "idempotencyKey": "k"})
    return run


@pytest.fixture
def context():
    return context_of(TaskInstance("again"))


@pytest.mark.parametrize("wrap", [str, lambda run_id: [run_id], lambda run_id: {"id": run_id}])
def test_the_output_is_the_new_runs(wrap, original, server, context, keep_log) -> None:
    log = keep_log(ReplayTriggerRunOperator)
    assert operator(wrap(original.id)).execute(context) == 42
    first, second = server.runs.values()
    assert (first.id, list(second.tags), second.idempotency_key) == (original.id, ["mine"], None)
    assert context["ti"].pushed["run_id"] == second.id
    assert first.cancel_requests == second.cancel_requests == 0
    assert log.of("info")[0] == f"Replaying run {original.id}"


@pytest.mark.parametrize("rendered", [["run_1", "run_2"], None, [], 5, "None", "not a run/"])
def test_anything_but_one_run_id_fails_the_task_for_good(rendered, connection: str, server, context) -> None:
    made = operator("{{ x }}")
    made.run_id = rendered
    with pytest.raises(AirflowFailException, match=r"ReplayTriggerRunOperator 'again': .*run_id"):
        made.execute(context)
    assert server.requests == []
