"""Scenes in which a task starts a run or waits for one, and says what ``outcomes.md`` shows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook
from airflow_provider_trigger.notifications.cancel import CancelTriggerRunNotifier
from airflow_provider_trigger.operators.replay import ReplayTriggerRunOperator
from airflow_provider_trigger.operators.run import RunTriggerTaskOperator
from airflow_provider_trigger.run import wait
from airflow_provider_trigger.sensors.run import TriggerRunSensor
from airflow_provider_trigger.sources.context import dag_run_of
from airflow_provider_trigger.triggers import ended, run
from airflow_provider_trigger.triggers.run import TriggerDevRunTrigger

JSON = "application/json"
TASK = "resize-image"


class RunScene:
    """
    What such a scene has at hand.

    :param server: the local server
    :param run_try: execute an operator as a try of a task instance
    :param meanwhile: do something as soon as a condition holds
    :param make_context: make a context with a Dag
    """

    def __init__(self, server: Any, run_try: Any, meanwhile: Any, make_context: Any) -> None:
        self.server, self.run_try, self.meanwhile = server, run_try, meanwhile
        self.make_context = make_context
        self.error = ""

    @property
    def a_run(self) -> Any:
        """The first run, None if there is none yet."""
        return next(iter(list(self.server.runs.values())), None)

    def start(self, *, ti: Any = None, **options: Any) -> Any:
        """Execute the operator, and keep the text of its error."""
        operator = RunTriggerTaskOperator(
            task_id="resize", task_identifier=TASK, **{"poll_interval": 0.05} | options
        )
        return self.tried(operator, **ti or {})

    def tried(self, operator: Any, **ti: Any) -> Any:
        """Execute any operator, and keep the text of its error."""
        done = self.run_try(operator, **ti)
        self.error = str(done.error)
        return done

    def raised(self, call: Callable[[], Any]) -> None:
        """Keep the text of the error that a call raises."""
        with pytest.raises(Exception, match=r"\w") as raised:
            call()
        self.error = str(raised.value)

    def kill(self, operator: Any, when: Callable[[], Any]) -> None:
        """Execute an operator, and kill it as soon as a condition holds."""
        self.meanwhile(when, operator.on_kill)
        self.tried(operator)

    def output(self) -> None:
        """Wait for a run whose output is behind a URL."""
        self.server.on_task(TASK, output=1, output_by_url=True)
        self.start()


def fails(scene: RunScene) -> None:
    error = {"name": "TypeError", "message": "x is not a function", "stackTrace": "at resize.ts:17"}
    scene.server.on_task(TASK, error=error, after=0.01, retry_after=0.01)
    scene.start(max_attempts=3)


def crashes(scene: RunScene) -> None:
    scene.server.on_task(TASK, crash="TASK_PROCESS_OOM_KILLED")
    scene.start()


def is_canceled(scene: RunScene) -> None:
    scene.server.on_task(TASK, after=None)
    scene.meanwhile(lambda: scene.a_run, lambda: scene.a_run.cancel())  # noqa: PLW0108 - there is none yet
    scene.start()


def expires(scene: RunScene) -> None:
    scene.server.on_task(TASK, start_after=None)
    scene.start(ttl=1)


def takes_too_long(scene: RunScene, **options: Any) -> None:
    scene.server.on_task(TASK, after=None, acknowledge_after=0)
    scene.start(timeout=0.3, **options)


def takes_too_long_and_cannot_be_canceled(scene: RunScene) -> None:
    scene.server.fail_next(None, 403, path="/cancel")
    takes_too_long(scene)


def has_no_version(scene: RunScene) -> None:
    scene.server.unknown_task(TASK)
    scene.start(pending_version_timeout=0)


def cannot_be_checked(scene: RunScene) -> None:
    scene.server.fail_next(None, 403, path="/api/v3/runs")
    scene.start()


def is_killed(scene: RunScene) -> None:
    scene.server.on_task(TASK, after=None, acknowledge_after=0)
    operator = RunTriggerTaskOperator(task_id="resize", task_identifier=TASK)
    scene.kill(operator, lambda: scene.a_run and scene.a_run.status == "EXECUTING")


def is_killed_in_vain(scene: RunScene) -> None:
    scene.server.fail_next(None, 403, path="/cancel")
    is_killed(scene)


def is_killed_before_the_answer(scene: RunScene) -> None:
    scene.server.hang_next(path="/trigger")
    scene.server.fail_next(None, 403, path="/trigger")
    operator = RunTriggerTaskOperator(task_id="resize", task_identifier=TASK)
    scene.kill(operator, lambda: any("/trigger" in sent.path for sent in list(scene.server.requests)))


def ends_while_deferred(scene: RunScene) -> None:
    scene.server.add_run("EXECUTING", run_id="run_a")
    asyncio.run(TriggerDevRunTrigger(run_id="run_a").cancel_run())


def ends_while_deferred_in_vain(scene: RunScene) -> None:
    scene.server.fail_next(None, 403, path="/cancel")
    ends_while_deferred(scene)


def loses_the_answer(scene: RunScene, **options: Any) -> None:
    scene.server.fail_next(None, 503, path="/trigger")
    scene.start(**options)


def is_canceled_each_time(scene: RunScene) -> None:
    scene.server.add_run("CANCELED", task_identifier=TASK, idempotency_key="k", started=False)
    # Acknowledged, but without effect: so the key leads to the same run each time.
    scene.server.malformed_next(None, '{"id": "k"}', JSON, path="/reset")
    scene.start(idempotency_key="k")


def renders_to_nonsense(scene: RunScene) -> None:
    operator = RunTriggerTaskOperator(task_id="resize", task_identifier=TASK, delay="{{ params.delay }}")
    operator.delay = "tomorrow"
    scene.tried(operator)


def replays(scene: RunScene) -> None:
    original = scene.server.add_run("FAILED", task_identifier=TASK)
    scene.tried(ReplayTriggerRunOperator(task_id="replay", run_id=original.id))


def checks_often(scene: RunScene) -> None:
    scene.server.on_task(TASK, after=0.5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wait, "_LOG_INTERVAL", 0.1)
        scene.start()


def has_trouble(scene: RunScene) -> None:
    scene.server.on_task(TASK, after=0.5)
    scene.server.fail_next(1, 503, path="/api/v3/runs")
    scene.start()


def pokes(scene: RunScene) -> None:
    scene.server.add_run("EXECUTING", run_id="run_a")
    TriggerRunSensor(task_id="wait", run_ids="run_a").poke({})


def is_started_twice(scene: RunScene) -> None:
    for _ in range(2):
        scene.start(idempotency_key="k")


def is_started_in_place(scene: RunScene) -> None:
    old = scene.server.add_run(task_identifier=TASK, idempotency_key="k", acknowledge_after=0.5)
    old.cancel()
    scene.start(idempotency_key="k")


def is_cleared(scene: RunScene, **options: Any) -> None:
    """No trigger was there that could cancel the run of the first try."""
    scene.server.on_task(TASK, start_after=0, after=1, acknowledge_after=0)
    scene.start(wait_for_completion=False)
    scene.start(ti={"try_number": 2, "max_tries": 3}, **options)


def dag_run_is_cleared(scene: RunScene) -> None:
    """It had ended, so it has another start date now."""
    scene.server.on_task(TASK, start_after=0, after=1)
    scene.start(wait_for_completion=False)
    scene.start(ti={"try_number": 2, "max_tries": 3, "started_at": "2026-01-02T06:00:02Z"})


def is_cleared_without_a_list(scene: RunScene) -> None:
    scene.server.fail_next(None, 403, path="/api/v1/runs")
    scene.start(ti={"try_number": 2})


def cannot_ask(scene: RunScene) -> None:
    def ask() -> bool:
        raise RuntimeError("the supervisor is gone")

    async def cancel() -> None: ...

    async def ask_and_wait() -> None:
        log: Any = TriggerDevRunTrigger(run_id="run_a").log
        ended.cancel_if_ended(ask, cancel, log=log)
        await asyncio.gather(*ended._tasks)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ended, "_PAUSE", 0)
        asyncio.run(ask_and_wait())


def has_no_link(scene: RunScene) -> None:
    scene.start(ti={"fails_at": "run_url"})


def has_no_connection(scene: RunScene) -> None:
    async def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("the secrets backend is away")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("airflow_provider_trigger.hooks.asynchronous.get_async_connection", fail)
        patch.setattr(run, "_CONNECTION_PAUSES", (0,))
        scene.raised(lambda: asyncio.run(TriggerDevRunTrigger(run_id="run_a").hook()))


def returns(scene: RunScene, **behavior: Any) -> None:
    scene.server.on_task(TASK, after=0, **behavior)
    scene.start(max_output_size=10)


def notify_of_the_dag_run(scene: RunScene) -> None:
    started = datetime(2026, 1, 1, 6, 0, 2, tzinfo=UTC)
    dag_run = SimpleNamespace(dag_id="a_dag", run_id="manual_1", start_date=started)
    context: Any = {"dag_run": dag_run, "run_id": "manual_1"}
    identity = dag_run_of(context)
    assert identity
    scene.server.add_run("EXECUTING", tags=[identity.tag])
    CancelTriggerRunNotifier(timeout=10).notify(context)


def lists_nonsense(scene: RunScene, answer: str) -> None:
    scene.server.malformed_next(None, answer, JSON, path="/api/v1/runs")
    notify_of_the_dag_run(scene)


def has_started_nothing(scene: RunScene) -> None:
    from airflow_provider_trigger.operators.cancel import CancelTriggerRunOperator

    context = scene.make_context()
    RunTriggerTaskOperator(task_id="start", task_identifier=TASK, dag=context["dag"])
    CancelTriggerRunOperator(task_id="cancel", xcom_task_ids="start").execute(context)


def answers(scene: RunScene, answer: str, path: str) -> None:
    scene.server.malformed_next(None, answer, JSON, path=path)
    scene.start()


def resets_nonsense(scene: RunScene) -> None:
    scene.server.add_run("CANCELED", task_identifier=TASK, idempotency_key="k", started=False)
    scene.server.malformed_next(None, "{}", JSON, path="/reset")
    scene.start(idempotency_key="k")


def stores(scene: RunScene, fault: str, *arguments: Any) -> None:
    getattr(scene.server, fault)(None, *arguments, path="/packets/")
    scene.output()


def presigns_nonsense(scene: RunScene) -> None:
    answer = '{"id": "run_a", "status": "COMPLETED", "outputPresignedUrl": "nowhere"}'
    scene.server.malformed_next(None, answer, JSON, path="/api/v3/runs")
    scene.raised(lambda: TriggerDevHook().get_output("run_a"))


def hook_raises(scene: RunScene, call: Callable[[TriggerDevHook], Any]) -> None:
    scene.server.add_run("EXECUTING", run_id="run_a")
    scene.raised(lambda: call(TriggerDevHook()))


def event_fails(scene: RunScene, operator: Any, event: Any) -> None:
    scene.raised(lambda: operator.execute_complete({}, event))


def sensor() -> TriggerRunSensor:
    return TriggerRunSensor(task_id="wait", run_ids="run_a")


UNCHECKED = {"runs": [], "failed": {"run_id": "run_a", "status": None, "error": "a 404"}}

# A part of a message that the page shows, and what makes the code say it. The longest part decides.
RUN_SCENARIOS: dict[str, Callable[[RunScene], object]] = {
    "ended with status FAILED": fails,
    "ended with status CRASHED": crashes,
    "ended with status CANCELED": is_canceled,
    "ended with status EXPIRED": expires,
    "(timeout=…). It was canceled": takes_too_long,
    "It was left alone": lambda scene: takes_too_long(scene, cancel_on_kill=False),
    "(…). It may still be running": takes_too_long_and_cannot_be_canceled,
    "still waiting for a version": has_no_version,
    "any more, and may still": cannot_be_checked,
    "The task was killed; its": is_killed,
    "Run … may still be running:": is_killed_in_vain,
    "Run of this task may": is_killed_before_the_answer,
    "it could not be canceled": ends_while_deferred_in_vain,
    "The request is not repeated": lambda scene: loses_the_answer(scene, idempotency_key=None),
    "A run may exist: a retry": loses_the_answer,
    "each of 5 runs": is_canceled_each_time,
    "delay must be": renders_to_nonsense,
    "exactly one run id": lambda scene: scene.tried(
        ReplayTriggerRunOperator(task_id="replay", run_id=["run_a", "run_b"])
    ),
    "there is no option": lambda scene: hook_raises(
        scene, lambda hook: hook.trigger_task(TASK, options={"maxAttempts": 1})
    ),
    "one of your own": lambda scene: hook_raises(
        scene, lambda hook: hook.trigger_task(TASK, options={"idempotency_key": "auto"})
    ),
    "has no output: it is": lambda scene: hook_raises(scene, lambda hook: hook.get_output("run_a")),
    "not an event of a run": lambda scene: event_fails(
        scene, RunTriggerTaskOperator(task_id="resize", task_identifier=TASK), None
    ),
    "not a valid event": lambda scene: event_fails(scene, sensor(), None),
    "cannot be checked any more: …": lambda scene: event_fails(scene, sensor(), UNCHECKED),
    # While it waits.
    "Starting a run": lambda scene: scene.start(),
    "Replaying": replays,
    "Waiting for run": lambda scene: scene.start(),
    "is EXECUTING, attempt": checks_often,
    "is still EXECUTING after": checks_often,
    "the wait goes on": has_trouble,
    "can be checked again": has_trouble,
    "have not ended yet": pokes,
    "no new one is started": is_started_twice,
    "until its worker": is_started_in_place,
    "in its place": is_started_in_place,
    "it was started before this": is_cleared,
    "Left alone, and still": dag_run_is_cleared,
    "since before this task": lambda scene: is_cleared(scene, cancel_on_kill=False),
    "Could not look for": is_cleared_without_a_list,
    "it did not end in time": takes_too_long,
    "no deployed version has its": has_no_version,
    "Canceled run …": is_killed,
    "because its task was": ends_while_deferred,
    "Could not find out": cannot_ask,
    "was not fetched": has_no_connection,
    "has no output: its": returns,
    "more than max_output_size": lambda scene: returns(scene, output="x" * 20),
    "Stack trace": fails,
    "The link to": has_no_link,
    # Sources.
    "it did not start a run": has_started_nothing,
    "this Dag run cannot be found": lambda scene: CancelTriggerRunNotifier().notify({}),
    "could not be listed": lambda scene: lists_nonsense(scene, "[]"),
    "Left alone, as they have": notify_of_the_dag_run,
    # A run: why.
    "a run without an id": lambda scene: answers(scene, "{}", "/trigger"),
    "without the idempotency key": resets_nonsense,
    "a list of runs in": lambda scene: lists_nonsense(scene, "{}"),
    "without 'pagination'": lambda scene: lists_nonsense(scene, '{"data": []}'),
    "the object store rejected": lambda scene: stores(scene, "fail_next", 404),
    "the object store … failed": lambda scene: stores(scene, "fail_next", 503),
    "redirects elsewhere": lambda scene: stores(scene, "redirect_next"),
    "an output that is not": lambda scene: stores(scene, "malformed_next", "<p>", JSON),
    "a text that is not": lambda scene: stores(scene, "malformed_next", b"\xff", "text/plain"),
    "a URL for the run's output": presigns_nonsense,
    "be the id of a task": lambda scene: hook_raises(scene, lambda hook: hook.trigger_task("..")),
}
