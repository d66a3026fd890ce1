"""Start a run again, and wait for the new one."""

from __future__ import annotations

import pytest

from airflow_provider_trigger._compat import AirflowFailException
from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook
from airflow_provider_trigger.operators.replay import ReplayTriggerRunOperator

REPLAY = """
for deferrable in (False, True):
    ReplayTriggerRunOperator(
        task_id=f"replay_{deferrable}",
        run_id="{{ params.run_id }}",
        deferrable=deferrable,
        poll_interval=0.1,
        retries=2,
    )
"""


@pytest.mark.parametrize("status", ["COMPLETED", "FAILED", "CANCELED", "EXECUTING", "EXPIRED"])
def test_a_replay_is_waited_for_and_its_original_left_alone(server, run_tasks, status):
    server.on_task("double", output=lambda payload: payload * 2)
    original = server.add_run(
        status, task_identifier="double", payload=21, tags=["mine"], metadata={"a": 1}, idempotency_key="key"
    )
    result = run_tasks(REPLAY, {"run_id": original.id})
    assert result.xcoms == {"replay_False": 42, "replay_True": 42}
    first, *replays = server.runs.values()
    assert (first.status, first.cancel_requests) == (status, 0)
    assert {run.id for run in replays} == {
        run_id for way in (False, True) for run_id in result.pushed[f"replay_{way}", "run_id"]
    }
    for run in replays:
        assert (run.tags, run.metadata, run.idempotency_key) == (("mine",), {"a": 1}, None)


@pytest.mark.parametrize("fault", ["disconnect_next", "malformed_next", "fail_next"])
def test_a_lost_answer_makes_no_second_replay(server, run_tasks, said, fault):
    original = server.add_run("FAILED", task_identifier="double")
    getattr(server, fault)(None, path="/replay", after_handling=True)
    result = run_tasks(REPLAY, {"run_id": original.id})
    assert result.tries == {"replay_False": [1], "replay_True": [1]}
    assert len(server.runs) == 3
    assert said.lines("AirflowFailException: ", "a run may exist: look for it in the dashboard")


def test_a_server_that_is_down_leaves_a_replay_its_retries(server, run_try):
    original = server.add_run("FAILED", task_identifier="double")
    made = ReplayTriggerRunOperator(task_id="replay", run_id=original.id, poll_interval=0.1)
    server.stop()
    failed = run_try(made)
    assert "Connection refused" in str(failed.error)
    assert "a run may exist" not in str(failed.error)
    assert not isinstance(failed.error, AirflowFailException)
    server.start()
    assert run_try(made, try_number=2).error is None
    assert len(server.runs) == 2


def test_a_replay_that_fails_is_replayed_again_by_a_retry(server, run_tasks):
    server.on_task("double", error="boom", times=1)
    server.on_task("double", output="second")
    original = server.add_run("FAILED", task_identifier="double")
    result = run_tasks(REPLAY.replace("(False, True)", "(False,)"), {"run_id": original.id})
    assert (result.tries, result.xcoms) == ({"replay_False": [2]}, {"replay_False": "second"})
    assert [run.status for run in server.runs.values()] == ["FAILED", "FAILED", "COMPLETED"]


def test_a_run_that_a_task_has_started_is_replayed_by_its_id(server, run_tasks):
    server.on_task("double", output=1)
    result = run_tasks("""
        start = RunTriggerTaskOperator(
            task_id="start", task_identifier="double", wait_for_completion=False
        )
        ReplayTriggerRunOperator(task_id="replay", run_id=start.output, poll_interval=0.1)
    """)
    assert result.xcoms["replay"] == 1
    assert len(server.runs) == 2


@pytest.mark.parametrize("run_id", ["", "not a run", ["run_a", "run_b"]])
def test_what_is_not_one_run_is_named_and_nothing_is_sent(server, run_tasks, said, run_id):
    result = run_tasks(REPLAY, {"run_id": run_id})
    assert result.tries == {"replay_False": [1], "replay_True": [1]}
    assert said.lines("AirflowFailException: ReplayTriggerRunOperator 'replay_True': ")
    assert server.requests == []


def test_an_unknown_run_is_named(server, run_tasks, said):
    result = run_tasks(REPLAY.replace("retries=2", "retries=0"), {"run_id": "run_unknown"})
    assert result.state == "failed"
    assert said.lines("run_unknown", "answered 404")


def test_hook_replays_and_waits(server, connection):
    server.on_task("double", output=lambda payload: payload * 2)
    original = server.add_run("COMPLETED", task_identifier="double", payload=4)
    hook = TriggerDevHook()
    run_id = hook.replay_run(original.id)
    assert hook.wait_for_run(run_id, poll_interval=0.1).status == "COMPLETED"
    assert hook.get_output(run_id) == 8
