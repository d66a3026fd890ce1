"""Scenes in which a task starts a run or waits for one, and says what ``outcomes.md`` shows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from airflow_provider_trigger.operators.run import RunTriggerTaskOperator
from airflow_provider_trigger.triggers.run import TriggerDevRunTrigger

TASK = "resize-image"


class RunScene:
    """
    What such a scene has at hand.

    :param server: the local server
    :param run_try: execute an operator as a try of a task instance
    :param meanwhile: do something as soon as a condition holds
    """

    def __init__(self, server: Any, run_try: Any, meanwhile: Any) -> None:
        self.server, self.run_try, self.meanwhile = server, run_try, meanwhile
        self.error = ""

    @property
    def a_run(self) -> Any:
        """The first run, None if there is none yet."""
        return next(iter(list(self.server.runs.values())), None)

    def start(self, *, ti: dict[str, Any] | None = None, **options: Any) -> None:
        """Execute the operator, and keep the text of its error."""
        operator = RunTriggerTaskOperator(
            task_id="resize", task_identifier=TASK, **{"poll_interval": 0.05} | options
        )
        self.error = str(self.run_try(operator, **ti or {}).error)

    def stop(self, when: Callable[[], Any]) -> None:
        """Execute the operator, and stop it as Airflow does, as soon as a condition holds."""
        operator = RunTriggerTaskOperator(task_id="resize", task_identifier=TASK)
        self.meanwhile(when, operator.on_kill)
        self.error = str(self.run_try(operator).error)


def is_canceled(scene: RunScene) -> None:
    scene.server.on_task(TASK, after=None)
    scene.meanwhile(lambda: scene.a_run, lambda: scene.a_run.cancel())  # noqa: PLW0108 - there is none yet
    scene.start()


def expires(scene: RunScene) -> None:
    scene.server.on_task(TASK, start_after=None)
    scene.start(ttl=1)


def takes_too_long_and_cannot_be_canceled(scene: RunScene) -> None:
    scene.server.fail_next(None, 403, path="/cancel")
    scene.server.on_task(TASK, after=None)
    scene.start(timeout=0.3)


def cannot_be_checked(scene: RunScene) -> None:
    scene.server.fail_next(None, 403, path="/api/v3/runs")
    scene.start()


def is_stopped_in_vain(scene: RunScene) -> None:
    scene.server.fail_next(None, 403, path="/cancel")
    scene.server.on_task(TASK, after=None)
    scene.stop(lambda: scene.a_run and scene.a_run.status == "EXECUTING")


def is_stopped_before_the_answer(scene: RunScene) -> None:
    scene.server.hang_next(path="/trigger")
    scene.server.fail_next(None, 403, path="/trigger")
    scene.stop(lambda: any("/trigger" in sent.path for sent in list(scene.server.requests)))


def is_stopped_in_vain_while_deferred(scene: RunScene) -> None:
    scene.server.fail_next(None, 403, path="/cancel")
    scene.server.add_run("EXECUTING", run_id="run_a")
    asyncio.run(TriggerDevRunTrigger(run_ids=["run_a"]).cancel_runs())


def loses_the_answer(scene: RunScene, **options: Any) -> None:
    scene.server.fail_next(None, 503, path="/trigger")
    scene.start(**options)


def is_cleared_without_a_list(scene: RunScene) -> None:
    scene.server.fail_next(None, 403, path="/api/v1/runs")
    scene.start(ti={"try_number": 2})


def is_cleared_while_the_list_is_behind(scene: RunScene) -> None:
    scene.server.list_lag = 60
    scene.start(ti={"try_number": 2, "max_tries": 1})


def loses_the_output(scene: RunScene, status: int) -> None:
    scene.server.on_task(TASK, output=1, output_by_url=True)
    scene.server.fail_next(None, status, path="/packets/")
    scene.start()


def has_a_broken_output(scene: RunScene) -> None:
    scene.server.fail_next(None, 500, path="/api/v3/runs/")
    scene.start(deferrable=True)


# A part of a message that the page shows, and what makes the code say it. The longest part decides.
RUN_SCENARIOS: dict[str, tuple[Callable[[RunScene], object], ...]] = {
    "may still be running": (
        takes_too_long_and_cannot_be_canceled,
        cannot_be_checked,
        is_stopped_in_vain,
        is_stopped_before_the_answer,
        is_stopped_in_vain_while_deferred,
    ),
    "run may exist": (lambda scene: loses_the_answer(scene, idempotency_key=None), loses_the_answer),
    "ended with status CANCELED": (is_canceled,),
    "ended with status EXPIRED": (expires,),
    "may still be running: the list of runs": (
        is_cleared_without_a_list,
        is_cleared_while_the_list_is_behind,
    ),
    "its output cannot be fetched": (has_a_broken_output,),
    "the object store rejected": (lambda scene: loses_the_output(scene, 404),),
    "the object store … failed": (lambda scene: loses_the_output(scene, 503),),
}
