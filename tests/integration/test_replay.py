"""Start a run again, and wait for the new one."""

from __future__ import annotations

from airflow_provider_trigger._compat import AirflowFailException
from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook
from airflow_provider_trigger.operators.replay import ReplayTriggerRunOperator

# Of each original, by its name.
REPLAYS = """
for name in NAMES:
    for deferrable in (False, True):
        ReplayTriggerRunOperator(
            task_id=f"{name}_{deferrable}",
            run_id="{{ params.run_ids." + name + " }}",
            deferrable=deferrable,
            poll_interval=0.1,
            retries=2,
        )
"""


def replays_of(names):
    return REPLAYS.replace("NAMES", repr(list(names)))


def test_a_replay_is_waited_for_and_its_original_left_alone(server, run_tasks):
    server.on_task("double", output=lambda payload: payload * 2)
    common = {"task_identifier": "double", "payload": 21, "tags": ["mine"], "metadata": {"a": 1}}
    originals = {
        status: server.add_run(status, idempotency_key=status, **common)
        for status in ("COMPLETED", "FAILED", "CANCELED", "EXECUTING", "EXPIRED")
    }
    ids = {status: run.id for status, run in originals.items()}
    result = run_tasks(replays_of(originals), {"run_ids": ids})
    tasks = [f"{status}_{way}" for status in originals for way in (False, True)]
    assert result.xcoms == dict.fromkeys(tasks, 42)
    for status, run in originals.items():
        assert (run.status, run.cancel_requests) == (status, 0)
    replays = list(server.runs.values())[len(originals) :]
    assert {run.id for run in replays} == {
        run_id for task in tasks for run_id in result.pushed[task, "run_id"]
    }
    for run in replays:
        assert (run.tags, run.metadata, run.idempotency_key) == (("mine",), {"a": 1}, None)


def test_a_lost_answer_makes_no_second_replay(server, run_tasks, said):
    faults = ("disconnect_next", "malformed_next", "fail_next")
    ids = {fault: server.add_run("FAILED", task_identifier="double").id for fault in faults}
    for fault, run_id in ids.items():
        getattr(server, fault)(None, path=f"{run_id}/replay", after_handling=True)
    result = run_tasks(replays_of(faults), {"run_ids": ids})
    assert result.tries == {f"{fault}_{way}": [1] for fault in faults for way in (False, True)}
    assert len(server.runs) == 3 + 6
    errors = said.lines("AirflowFailException: ", "a run may exist: look for it in the dashboard")
    assert all(any(run_id in line for line in errors) for run_id in ids.values())


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
    result = run_tasks(
        replays_of(["it"]).replace("(False, True)", "(False,)"), {"run_ids": {"it": original.id}}
    )
    assert (result.tries, result.xcoms) == ({"it_False": [2]}, {"it_False": "second"})
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


def test_what_is_not_one_run_is_named_and_nothing_is_sent(server, run_tasks, said):
    given = {"nothing": "", "text": "not a run", "several": ["run_a", "run_b"]}
    result = run_tasks(replays_of(given), {"run_ids": given})
    assert result.tries == {f"{name}_{way}": [1] for name in given for way in (False, True)}
    for name in given:
        assert said.lines(f"AirflowFailException: ReplayTriggerRunOperator '{name}_True': ")
    assert server.requests == []


def test_an_unknown_run_is_named(server, run_tasks, said):
    result = run_tasks(
        replays_of(["it"]).replace("retries=2", "retries=0"), {"run_ids": {"it": "run_unknown"}}
    )
    assert result.state == "failed"
    assert said.lines("run_unknown", "answered 404")


def test_hook_replays_and_waits(server, connection):
    server.on_task("double", output=lambda payload: payload * 2)
    original = server.add_run("COMPLETED", task_identifier="double", payload=4)
    hook = TriggerDevHook()
    run_id = hook.replay_run(original.id)
    assert hook.wait_for_run(run_id, poll_interval=0.1).status == "COMPLETED"
    assert hook.get_output(run_id) == 8
