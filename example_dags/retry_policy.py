"""Let a policy decide whether and when a task is retried, by the error of its run (Airflow 3.3 and newer)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow import __version__

from airflow_provider_trigger.exceptions import TriggerRunFailedError, TriggerRunNotStartedError
from airflow_provider_trigger.operators.run import RunTriggerTaskOperator

OUT_OF_MEMORY = ("TASK_PROCESS_OOM_KILLED", "TASK_PROCESS_MAYBE_OOM_KILLED")

AIRFLOW = tuple(map(int, __version__.split(".")[:2]))

# Older Airflows have no retry policies, and so not this Dag.
if AIRFLOW >= (3, 3):
    from airflow.sdk import DAG, RetryDecision, RetryPolicy

    class ByErrorOfRun(RetryPolicy):
        def evaluate(
            self, exception: BaseException, try_number: int, max_tries: int, context: Any = None
        ) -> RetryDecision:
            if isinstance(exception, TriggerRunNotStartedError) and AIRFLOW >= (3, 4):
                # The queue may be full, or the credits used up: try again, without using up retries.
                return RetryDecision.reschedule(timedelta(minutes=10), reschedule_timeout=timedelta(hours=4))
            if not isinstance(exception, TriggerRunFailedError):
                return RetryDecision.default()
            if exception.error_code in OUT_OF_MEMORY:
                return RetryDecision.retry(timedelta(hours=1), reason="out of memory")
            if exception.error_name == "ValidationError":
                return RetryDecision.fail(reason="the payload stays invalid")
            if exception.status in ("CANCELED", "EXPIRED"):  # with a policy, these are its decision, too
                return RetryDecision.fail(reason=f"the run is {exception.status}")
            return RetryDecision.default()

    with DAG(dag_id="retry_policy", schedule=None, params={"file": "cat.png"}):
        RunTriggerTaskOperator(
            task_id="resize",
            task_identifier="resize-image",
            payload={"file": "{{ params.file }}", "width": 100},
            deferrable=True,
            retries=2,
            retry_policy=ByErrorOfRun(),
        )
