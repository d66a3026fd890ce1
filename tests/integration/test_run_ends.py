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
    "without_message": ({"error": {"name": "AbortError", "message": ""}}, [": AbortError."], True),
    "text": ({"error": {"message": "just a text"}}, ["FAILED after 1 attempt: just a text."], True),
    "twice": ({"failures": 2, "retry_after": 0.05}, ["FAILED after 2 attempts: Error: boom."], True),
    "memory": (
        {"crash": "TASK_PROCESS_OOM_KILLED"},
        ["CRASHED", "TASK_PROCESS_OOM_KILLED", "a larger machine"],
        True,
    ),
    "duration": ({"crash": "MAX_DURATION_EXCEEDED"}, ["TIMED_OUT", "allow a longer one"], True),
    "output": (
        {"crash": "TASK_OUTPUT_ERROR"},
        ["FAILED", "TASK_OUTPUT_ERROR", "/docs/troubleshooting"],
        True,
    ),
    "not_found": ({"crash": "COULD_NOT_FIND_TASK"}, ["SYSTEM_FAILURE", "has no task with this"], True),
    "new_code": ({"crash": "SOMETHING_NEW"}, ["SYSTEM_FAILURE", "internal error (SOMETHING_NEW)."], True),
    "expired": ({"start_after": None}, ["EXPIRED: Run expired because the TTL was reached."], False),
    "canceled": ({"after": None}, ["CANCELED after 1 attempt: Canceled by user."], False),
}

# Each in one of the two ways, as waiting blocks and defers alike.
DEFERS = {name: number % 2 == 1 for number, name in enumerate(ENDS)}

STARTS = """
for name, deferrable in %r.items():
    RunTriggerTaskOperator(
        task_id=name,
        task_identifier=name,
        deferrable=deferrable,
        poll_interval=0.05,
        retries=1,
        ttl="1s" if name == "expired" else None,
        max_attempts=2 if name == "twice" else None,
    )
"""


def test_each_end_has_its_text_and_allows_retries_or_not(server, run_tasks, said, meanwhile, the_run):
    for name, (behavior, _, _) in ENDS.items():
        server.on_task(name, **{"start_after": 0, "after": 0.05} | behavior)
    meanwhile(lambda: the_run("canceled", "EXECUTING"), lambda: the_run("canceled").cancel())
    result = run_tasks(STARTS % DEFERS)
    assert result.state == "failed"
    runs: dict[str, list[Any]] = {name: [] for name in ENDS}
    for run in server.runs.values():
        runs[run.task_identifier].append(run)
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
    assert result.xcoms == {}


def test_the_statuses_that_allow_retries_can_be_set(server, run_tasks, meanwhile, the_run):
    server.on_task("canceled", after=None, times=1)
    server.on_task("canceled", output="second")
    server.on_task("failing", error="no such file")
    meanwhile(lambda: the_run("canceled", "EXECUTING"), lambda: the_run("canceled").cancel())
    result = run_tasks("""
        RunTriggerTaskOperator(
            task_id="canceled",
            task_identifier="canceled",
            poll_interval=0.05,
            retries=1,
            retry_statuses=["CANCELED"],
        )
        RunTriggerTaskOperator(
            task_id="failing", task_identifier="failing", poll_interval=0.05, retries=1, retry_statuses=[]
        )
    """)
    assert result.tries == {"canceled": [2], "failing": [1]}
    assert result.xcoms == {"canceled": "second"}


def test_a_run_whose_task_or_queue_is_not_deployed_is_canceled(server, run_tasks, said):
    server.unknown_task("resize")
    server.unknown_queue("images")
    result = run_tasks("""
        for queue in (None, "images"):
            for deferrable in (False, True):
                RunTriggerTaskOperator(
                    task_id=f"start_{queue}_{deferrable}",
                    task_identifier="crop" if queue else "resize",
                    queue=queue,
                    deferrable=deferrable,
                    poll_interval=0.1,
                    pending_version_timeout=0.5,
                    retries=1,
                )
    """)
    assert result.tries == {f"start_{queue}_{way}": [1] for queue in (None, "images") for way in WAYS}
    assert [run.status for run in server.runs.values()] == ["CANCELED"] * 4
    for run in server.runs.values():
        task = run.task_identifier
        assert said.lines(
            f"AirflowFailException: Run {run.id} of Trigger.dev task {task!r} was still waiting for ",
            f"no deployed version in this environment has the Trigger.dev task {task!r} (or its queue)",
            f"It was canceled. {server.url}/runs/{run.id}",
        )
    after = "After 0.5 s (pending_version_timeout) the run is canceled"
    assert len(said.lines("is PENDING_VERSION: no deployed version", after)) == 4


def test_a_task_that_is_deployed_in_time_is_waited_for(server, run_tasks, meanwhile, the_run):
    for way in WAYS:
        task = f"resize_{way}"
        server.unknown_task(task)
        server.on_task(task, output=1)
        meanwhile(lambda task=task: the_run(task, "PENDING_VERSION"), lambda task=task: server.deploy(task))
    result = run_tasks("""
        for deferrable in (False, True):
            RunTriggerTaskOperator(
                task_id=f"start_{deferrable}",
                task_identifier=f"resize_{deferrable}",
                deferrable=deferrable,
                poll_interval=0.1,
                pending_version_timeout=20,
            )
    """)
    assert result.xcoms == {"start_False": 1, "start_True": 1}


TIMEOUTS = """
import datetime

for name in %r:
    for deferrable in (False, True):
        RunTriggerTaskOperator(
            task_id=f"{name}_{deferrable}",
            task_identifier=name,
            deferrable=deferrable,
            timeout=1,
            cancel_on_kill=name != "kept",
        )
"""


def test_a_run_that_takes_too_long_is_canceled_and_the_task_fails(server, run_tasks, said):
    for name in ("canceled", "kept"):
        server.on_task(name, after=None)
    result = run_tasks(TIMEOUTS % ["canceled", "kept"])
    assert {state for states in result.states.values() for state in states} == {"failed"}
    for run in server.runs.values():
        is_canceled = run.task_identifier == "canceled"
        assert run.status == ("CANCELED" if is_canceled else "EXECUTING")
        became = "It was canceled. " if is_canceled else "It was not canceled, and is EXECUTING. "
        assert said.lines(f"Run {run.id} ", "did not end within its time limit (timeout=1 s). ", became)
    assert len(said.lines("Canceling run ", "it did not end in time")) == 2


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


@pytest.mark.parametrize("ends", ["in_spite_of_its_cancel", "before_its_cancel"])
def test_a_run_that_completes_while_it_is_given_up_gives_its_output(server, connect, run_tasks, said, ends):
    connect(timeout=30)  # a cancel that is answered late is not sent again
    if ends == "in_spite_of_its_cancel":
        behavior: dict[str, Any] = {"after": None, "completes_despite_cancel": True, "acknowledge_after": 0}
    else:
        behavior = {"start_after": 0, "after": 3.5}
        server.delay_next(2, 3.0, after_handling=False, path="/cancel")
    server.on_task("late", output="late", **behavior)
    result = run_tasks(TIMEOUTS % ["late"])
    assert result.state == "success"
    assert result.xcoms == {"late_False": "late", "late_True": "late"}
    assert [run.cancel_requests for run in server.runs.values()] == [1, 1]
