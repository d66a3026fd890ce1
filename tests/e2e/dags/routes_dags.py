"""
One Dag an event: something goes wrong with its task ``work``, and every route to cancel a run is laid.

Each route cancels a Trigger.dev run of its own, named after the Dag run and the route, so that the server's
record shows which routes were taken.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from e2e_names import DAG, EmptyOperator
from e2e_work import Work

from airflow_provider_trigger.notifications.cancel import CancelTriggerRunNotifier
from airflow_provider_trigger.operators.cancel import CancelTriggerRunOperator

# What becomes of each try of `work`, and what else is special in the event's Dag.
EVENTS: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "task_raises": (("fail",), {}),
    "try_fails": (("fail", "succeed"), {"retries": 1}),
    "last_try_fails": (("fail", "fail"), {"retries": 1}),
    "execution_timeout": (("hold",), {"execution_timeout": timedelta(seconds=3)}),
    "dagrun_timeout": (("hold",), {}),
    "task_killed": (("hold",), {}),
    "worker_killed": (("hold",), {}),
    "marked_failed": (("hold",), {}),
    "marked_success": (("hold",), {}),
    "cleared": (("hold", "hold"), {}),
    "dag_run_marked_failed": (("hold",), {}),
    "upstream_fails": (("succeed",), {}),
    "other_task_fails": (("succeed",), {}),
}
DAGRUN_TIMEOUT = timedelta(seconds=45)


def run_for(route: str) -> str:
    """Return the template of the id of a route's own run."""
    return "run_{{ run_id }}" + route.replace("_", "")


def notifier(route: str) -> CancelTriggerRunNotifier:
    """Return a notifier that cancels a route's own run."""
    return CancelTriggerRunNotifier(run_ids=run_for(route))


def cancel(route: str, **kwargs: Any) -> CancelTriggerRunOperator:
    """Return an operator that cancels a route's own run."""
    return CancelTriggerRunOperator(task_id=route, run_ids=run_for(route), on_not_found="ignore", **kwargs)


def make_dag(event: str) -> DAG:
    """Return the Dag of an event."""
    tries, arguments = EVENTS[event]
    with DAG(
        f"route_{event}",
        schedule=None,
        start_date=datetime(2026, 1, 1),
        dagrun_timeout=DAGRUN_TIMEOUT if event == "dagrun_timeout" else None,
        on_failure_callback=notifier("dag_failure_callback"),
        default_args={"retry_delay": timedelta(seconds=1)},
    ) as dag:
        work = Work(
            task_id="work",
            tries=tries,
            trigger_run_id=run_for("on_kill"),
            on_failure_callback=notifier("task_failure_callback"),
            on_retry_callback=notifier("task_retry_callback"),
            **arguments,
        )
        start = EmptyOperator(task_id="start").as_setup()
        stop = cancel("teardown").as_teardown(setups=start)
        start >> work >> stop
        # `end` fails the Dag run with `work`: operators that succeed in spite of it would make it a success.
        work >> [
            cancel("operator_one_failed", trigger_rule="one_failed"),
            cancel("operator_all_done", trigger_rule="all_done"),
            EmptyOperator(task_id="end"),
        ]
        if event == "upstream_fails":
            Work(task_id="before", tries=("fail",)) >> work
        if event == "other_task_fails":
            Work(task_id="other", tries=("fail",))
    return dag


for _event in EVENTS:
    globals()[f"route_{_event}"] = make_dag(_event)

# Its Dag-level callback runs after those that were due earlier: what has not come when it comes won't come.
with DAG(
    "route_fence", schedule=None, start_date=datetime(2026, 1, 1), on_failure_callback=notifier("fence")
):
    Work(task_id="work", tries=("fail",))
