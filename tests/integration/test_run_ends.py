"""How a task fails whose run did not complete: its text, its retry, and what becomes of the run."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

try:
    from airflow.sdk.exceptions import AirflowTaskTimeout
except ImportError:  # before 3.2
    from airflow.exceptions import AirflowTaskTimeout

WAYS = [False, True]  # deferrable

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


def test_each_end_has_its_text_and_allows_retries_or_not(server, run_tasks, said, meanwhile, the_run):
    for name, (behavior, _, _) in ENDS.items():
        server.on_task(name, **{"start_after": 0, "after": 0.05} | behavior)
    server.on_task("canceled_once", after=None, times=1)
    server.on_task("canceled_once", output="second")
    for name in ("canceled", "canceled_once"):
        meanwhile(lambda name=name: the_run(name, "EXECUTING"), lambda name=name: the_run(name).cancel())
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


LIMITED = """
def start(name, task_identifier=None, **options):
    RunTriggerTaskOperator(task_id=name, task_identifier=task_identifier or name, **options)

for deferrable in (False, True):
    timeout = {"timeout": 1, "deferrable": deferrable}
    start(f"late_{deferrable}", **timeout)
    start(f"endless_{deferrable}", **timeout)
    start(f"kept_{deferrable}", cancel_on_kill=False, **timeout)
    version = {"pending_version_timeout": 0.5, "retries": 1, "poll_interval": 0.1, "deferrable": deferrable}
    start(f"task_{deferrable}", "resize", **version)
    start(f"queue_{deferrable}", "crop", queue="images", **version)
    start(f"deployed_{deferrable}", **version | {"pending_version_timeout": 20})
"""


def test_a_run_that_takes_too_long_or_has_no_version_is_canceled(server, run_tasks, said, meanwhile, the_run):
    server.unknown_task("resize")
    server.unknown_queue("images")
    for way in WAYS:
        server.on_task(
            f"late_{way}", output="late", after=None, completes_despite_cancel=True, acknowledge_after=0
        )
        for name in (f"endless_{way}", f"kept_{way}"):
            server.on_task(name, after=None)
        task = f"deployed_{way}"
        server.unknown_task(task)
        server.on_task(task, output=1)
        meanwhile(lambda task=task: the_run(task, "PENDING_VERSION"), lambda task=task: server.deploy(task))
    result = run_tasks(LIMITED)
    runs = {
        task: [server.runs[one] for one in ids]
        for (task, key), ids in result.pushed.items()
        if key == "run_id"
    }
    for way in WAYS:
        assert (result.xcoms[f"late_{way}"], result.xcoms[f"deployed_{way}"]) == ("late", 1)
        for name, status, became in (
            ("endless", "CANCELED", "It was canceled. "),
            ("kept", "EXECUTING", "It was not canceled, and is EXECUTING. "),
        ):
            (run,) = runs[f"{name}_{way}"]
            assert run.status == status
            assert said.lines(f"Run {run.id} ", "did not end within its time limit (timeout=1 s). ", became)
        for name, task in (("task", "resize"), ("queue", "crop")):
            (run,) = runs[f"{name}_{way}"]
            assert (run.status, result.tries[f"{name}_{way}"]) == ("CANCELED", [1])
            assert said.lines(
                f"AirflowFailException: Run {run.id} of Trigger.dev task {task!r} was still waiting for ",
                f"no deployed version in this environment has the Trigger.dev task {task!r} (or its queue)",
                f"It was canceled. {server.url}/runs/{run.id}",
            )
    assert len(said.lines("Canceling run ", "it did not end in time")) == 4


@pytest.mark.parametrize(
    ("deferrable", "words"),
    [(True, "Canceling run {}: it did not end in time"), (False, "Canceled run {}")],
    ids=["deferred", "waiting"],
)
def test_an_execution_timeout_ends_the_run(deferrable, words, server, run_tasks, said):
    server.on_task("endless", after=None)
    with suppress(AirflowTaskTimeout):  # which dag.test() of Airflow 2 lets through, of a waiting task
        result = run_tasks(f"""
            import datetime

            RunTriggerTaskOperator(
                task_id="start",
                task_identifier="endless",
                deferrable={deferrable},
                poll_interval=0.1,
                execution_timeout=datetime.timedelta(seconds=4),
            )
        """)
        assert result.state == "failed"
    (run,) = server.runs.values()
    assert run.status == "CANCELED"
    assert said.lines(words.format(run.id))
    assert bool(said.lines("(execution_timeout=4 s). It was canceled.")) is deferrable
