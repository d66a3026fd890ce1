"""Dags whose tasks are in a task loop of three iterations, where this Airflow has task loops."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from e2e_names import DAG, HAS_LOOPS, task, task_group
from e2e_work import Recorded, RecordedBatch, Work

from airflow_provider_trigger.notifications.cancel import CancelTriggerRunNotifier
from airflow_provider_trigger.operators.run import RunTriggerTaskOperator


class StartsByHand(Work):
    """Start a run and leave it; in the third iteration hold until the process is killed."""

    def __init__(self, *, iteration: int, **kwargs: Any) -> None:
        super().__init__(tries=("hold",), **kwargs)
        self.iteration = iteration

    def execute(self, context: Any) -> None:
        """Start the run."""
        RunTriggerTaskOperator(task_id="by_hand", task_identifier="never", wait_for_completion=False).execute(
            context
        )
        if self.iteration == 2:
            super().execute(context)


def start(task_id: str, kind: str, **arguments: Any) -> Any:
    """Return a task of one run, or of two."""
    arguments["task_id"] = task_id
    if kind == "batch":
        return RecordedBatch(payloads=[1, 2], **arguments)
    return Recorded.partial(**arguments).expand(payload=[1, 2]) if kind == "mapped" else Recorded(**arguments)


def waiting(kind: str, mode: str) -> None:
    """Make a Dag whose Trigger.dev task is that of no other Dag."""
    name = f"loop_{kind}_{mode}"
    retries = {"retries": 1, "retry_delay": timedelta(seconds=1)}
    with DAG(name, schedule=None) as dag:

        @task_group
        def again() -> None:
            start(
                "work",
                kind,
                task_identifier=name,
                deferrable=mode == "deferred",
                poll_interval=0.5,
                **retries,
            )

        again.loop(max_iterations=3)
    globals()[name] = dag


if HAS_LOOPS:
    for kind in ("single", "mapped", "batch"):
        for mode in ("running", "deferred"):
            waiting(kind, mode)

    with DAG("loop_fails", schedule=None, on_failure_callback=CancelTriggerRunNotifier(timeout=20)):

        @task
        def fail(ti: Any = None) -> None:
            """Fail in the third iteration."""
            assert ti.region_index < 2

        @task_group
        def again() -> None:
            """Leave five runs."""
            kinds = ("single", "mapped", "batch")
            leave = {"task_identifier": "never", "wait_for_completion": False}
            single, mapped, batch = (start(kind, kind, **leave) for kind in kinds)
            single >> mapped >> batch >> fail()

        again.loop(max_iterations=3)

    with DAG("loop_killed", schedule=None):

        @task
        def iterations(ti: Any = None) -> list[int]:
            """Return the iteration for each instance of a mapped task."""
            return [ti.region_index] * 2

        @task_group
        def again() -> None:
            """Leave a run for each instance."""
            StartsByHand.partial(task_id="work", on_failure_callback=CancelTriggerRunNotifier()).expand(
                iteration=iterations()
            )

        again.loop(max_iterations=3)
