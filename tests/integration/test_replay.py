"""Start a run again, and wait for the new one."""

from __future__ import annotations

REPLAYS = """
for deferrable in (False, True):
    common = {"deferrable": deferrable, "poll_interval": 0.1, "retries": 2}
    for name, run_id in NAMES.items():
        ReplayTriggerRunOperator(task_id=f"{name}_{deferrable}", run_id=run_id, **common)

start = RunTriggerTaskOperator(
    task_id="start", task_identifier="double", payload=1, wait_for_completion=False
)
ReplayTriggerRunOperator(task_id="started", run_id=start.output, poll_interval=0.1)
"""
LOST = ("disconnect", "malformed")


def test_a_replay_is_waited_for_and_its_original_left_alone(server, run_tasks, said):
    server.on_task("double", output=lambda payload: payload * 2)
    server.on_task("fails", error="boom", times=2)
    server.on_task("fails", output="second")
    common = {"task_identifier": "double", "payload": 21, "tags": ["mine"], "metadata": {"a": 1}}
    originals = {
        status: server.add_run(status, idempotency_key=status, **common) for status in ("FAILED", "EXECUTING")
    }
    originals["fails"] = server.add_run("FAILED", task_identifier="fails")
    for fault in LOST:
        originals[fault] = run = server.add_run("FAILED")
        getattr(server, f"{fault}_next")(None, path=f"{run.id}/replay", after_handling=True)
    ids = {name: run.id for name, run in originals.items()} | {"unknown": "run_unknown"}
    result = run_tasks(REPLAYS.replace("NAMES", repr(ids)))
    outputs: dict[str, object] = {"fails_False": "second", "fails_True": "second", "started": 2}
    outputs |= {f"{name}_{way}": 42 for name in ("FAILED", "EXECUTING") for way in (False, True)}
    assert {task: result.xcoms[task] for task in outputs} == outputs
    # A retry makes another replay of one that failed, and none where the answer was lost.
    assert sum(result.tries["fails_False"] + result.tries["fails_True"]) == 4
    assert {tuple(result.tries[f"{fault}_{way}"]) for fault in LOST for way in (False, True)} == {(1,)}
    errors = said.lines("AirflowFailException: ", "a run may exist: look for it in the dashboard")
    assert all(any(ids[fault] in line for line in errors) for fault in LOST)
    assert said.lines("run_unknown", "answered 404")
    for name in ("FAILED", "EXECUTING"):
        assert (originals[name].status, originals[name].cancel_requests) == (name, 0)
        for way in (False, True):
            (run_id,) = result.pushed[f"{name}_{way}", "run_id"]
            replay = server.runs[run_id]
            assert (replay.tags, replay.metadata, replay.idempotency_key) == (("mine",), {"a": 1}, None)
    assert len(server.runs) == len(originals) + 4 + 4 + 2 * len(LOST) + 2
