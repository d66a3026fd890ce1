"""Dags whose tasks are in a task loop of three iterations, where this Airflow has task loops."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from e2e_names import DAG, HAS_LOOPS, task, task_group
from e2e_work import Work, note_start

from airflow_provider_trigger.notifications.cancel import CancelTriggerRunNotifier
from airflow_provider_trigger.operators.batch import RunTriggerTaskBatchOperator
from airflow_provider_trigger.operators.run import RunTriggerTaskOperator


class StartsByHand(Work):
    """Start a run and leave it; in the third iteration hold until the process is killed."""

    def __init__(self, *, iteration: int, **kwargs: Any) -> None:
        super().__init__(tries=("hold",), **kwargs)
        self.iteration = iteration

    def execute(self, context: Any) -> None:
        RunTriggerTaskOperator(task_id="by_hand", task_identifier="never", wait_for_completion=False).execute(
            context
        )
        if self.iteration == 2:
            super().execute(context)


def waiting(kind: str, mode: str) -> None:
    """Make a Dag whose Trigger.dev task is that of no other Dag."""
    name = f"loop_{kind}_{mode}"
    given: dict[str, Any] = {"task_id": "work", "task_identifier": name, "deferrable": mode == "deferred"}
    given |= {
        "poll_interval": 0.5,
        "retries": 1,
        "retry_delay": timedelta(seconds=1),
        "pre_execute": note_start,
    }
    with DAG(name, schedule=None) as dag:

        @task_group
        def again() -> None:
            if kind == "mapped":
                RunTriggerTaskOperator.partial(**given).expand(payload=[1, 2])
            elif kind == "batch":
                RunTriggerTaskBatchOperator(**given, payloads=[1, 2])
            else:
                RunTriggerTaskOperator(**given)

        again.loop(max_iterations=3)
    globals()[name] = dag


if HAS_LOOPS:
    for kind in ("single", "mapped", "batch"):
        for mode in ("running", "deferred"):
            waiting(kind, mode)

    with DAG("loop_killed", schedule=None):

        @task
        def iterations(ti: Any = None) -> list[int]:
            return [ti.region_index] * 2

        @task_group
        def again() -> None:
            StartsByHand.partial(task_id="work", on_failure_callback=CancelTriggerRunNotifier()).expand(
                iteration=iterations()
            )

        again.loop(max_iterations=3)
