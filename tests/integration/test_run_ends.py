"""How a task fails whose run did not complete: its text, its retry, and what becomes of the run."""

from __future__ import annotations

from typing import Any

THROWN = {
    "name": "TypeError",
    "message": "no such file:\n a.png",
    "stackTrace": "TypeError: no such file\n    at resize (src/resize.ts:17:3)",
}

# What a run ends with: the behavior of its task, the words of the error, and whether the task is retried.
ENDS: dict[str, tuple[dict[str, Any], Any, Any]] = {
    "thrown": ({"error": THROWN}, ["FAILED after 1 attempt: TypeError: no such file: a.png."], True),
    "twice": ({"failures": 2, "retry_after": 0.05}, ["FAILED after 2 attempts: Error: boom."], True),
    "memory": (
        {"crash": "TASK_PROCESS_OOM_KILLED"},
        ["CRASHED", "TASK_PROCESS_OOM_KILLED", "a larger machine"],
        True,
    ),
    "new_code": ({"crash": "SOMETHING_NEW"}, ["SYSTEM_FAILURE", "internal error (SOMETHING_NEW)."], True),
    "expired": ({"start_after": None}, ["EXPIRED: Run expired because the TTL was reached."], False),
    "canceled": ({"after": None}, ["CANCELED after 1 attempt: Canceled by user."], False),
    "no_retry": ({"error": "boom"}, ["FAILED after 1 attempt: Error: boom."], False),
}

# Each in one of the two ways, as waiting blocks and defers alike.
DEFERS = {name: number % 2 == 1 for number, name in enumerate([*ENDS, "canceled_once"])}

STARTS = """
special = {
    "twice": {"max_attempts": 2},
    "expired": {"ttl": "1s"},
    "no_retry": {"retry_statuses": []},
    "canceled_once": {"retry_statuses": ["CANCELED"]},
}
for name, deferrable in %r.items():
    RunTriggerTaskOperator(
        task_id=name,
        task_identifier=name,
        deferrable=deferrable,
        poll_interval=0.05,
        retries=1,
        **special.get(name, {}),
    )
"""


def test_each_end_has_its_text_and_allows_retries_or_not(server, run_tasks, said, meanwhile):
    def executing(name):
        found = [run for run in list(server.runs.values()) if run.task_identifier == name]
        return [run for run in found if run.status == "EXECUTING"]

    for name, (behavior, _, _) in ENDS.items():
        server.on_task(name, **{"start_after": 0, "after": 0.05} | behavior)
    server.on_task("canceled_once", after=None, times=1)
    server.on_task("canceled_once", output="second")
    for name in ("canceled", "canceled_once"):
        meanwhile(lambda name=name: executing(name), lambda name=name: executing(name)[0].cancel())
    result = run_tasks(STARTS % DEFERS)
    assert result.tries.pop("canceled_once") == [2]
    assert result.xcoms == {"canceled_once": "second"}
    runs: dict[str, list[Any]] = {}
    for run in server.runs.values():
        runs.setdefault(run.task_identifier, []).append(run)
    for name, (_, words, is_retried) in ENDS.items():
        tries = 2 if is_retried else 1
        assert (result.states[name], result.tries[name]) == (["failed"], [tries]), name
        assert len(runs[name]) == tries, name
        for run in runs[name]:
            assert run.cancel_requests == (name == "canceled")
            text = f"Run {run.id} of Trigger.dev task '{name}' ended with status {run.status}"
            kind = "TriggerRunFailedError" if is_retried else "TriggerRunNotRetriedError"
            (line, *_) = said.lines(f"{kind}: ", text)
            assert all(word in line for word in words), line
            assert line.endswith(f" {server.url}/runs/{run.id}"), line
    for run in runs["thrown"]:
        assert len(said.lines(f"Stack trace of run {run.id}")) == 1
    assert len(said.lines("at resize (src/resize.ts:17:3)")) >= 2
