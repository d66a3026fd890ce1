"""A Dag whose tasks, callbacks and deadline alerts meet every ending, with a connection of every way."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from unittest import mock

from e2e_names import DAG, HAS_DEADLINE_ALERTS
from secret_cases import CASES, CRASHES, connection_of, pattern_of, run_of
from urllib3.connectionpool import HTTPConnectionPool

from airflow_provider_trigger.api import transport
from airflow_provider_trigger.notifications.cancel import CancelTriggerRunNotifier
from airflow_provider_trigger.operators.cancel import CancelTriggerRunOperator

# What calls these has the key in a local variable: once as it is, once in the headers of a request.
BUGS: dict[str, tuple[Any, str]] = {
    "crashed": (transport, "connection_options"),
    "crashedsending": (HTTPConnectionPool, "_make_request"),
}


def bug(way: str, ending: str, route: str) -> Any:
    """Let our code crash, for as long as a ``with`` lasts."""
    return mock.patch.object(*BUGS[ending], side_effect=RuntimeError(pattern_of(way, ending, route)))


class CrashingOperator(CancelTriggerRunOperator):
    """Meets the bug of its ending."""

    def execute(self, context: Any) -> Any:
        way, ending = self.task_id.split("_")
        with bug(way, ending, "task"):
            return super().execute(context)


class CrashingNotifier(CancelTriggerRunNotifier):
    """
    Meets the bug of an ending; not in the triggerer, where others would meet it too.

    :param case: way, ending and route
    """

    def __init__(self, *, case: tuple[str, str, str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.case = case

    def notify(self, context: Any) -> None:
        with bug(*self.case):
            super().notify(context)


def arguments(way: str, ending: str, route: str) -> dict[str, Any]:
    """Return which run to cancel with which connection."""
    return {"run_ids": run_of(way, ending, route), "trigger_dev_conn_id": connection_of(way, ending)}


def notifier(way: str, ending: str, route: str) -> CancelTriggerRunNotifier:
    """Return the notifier that meets an ending."""
    # The Dag processor has 50 s for all of them.
    given: dict[str, Any] = {"timeout": 3, **arguments(way, ending, route)}
    if ending in CRASHES:
        return CrashingNotifier(case=(way, ending, route), **given)
    return CancelTriggerRunNotifier(**given)


def deadline_alerts() -> dict[str, Any]:
    """Return the Dag's deadlines, each of which is missed; nothing where Airflow has none."""
    if not HAS_DEADLINE_ALERTS:
        return {}
    from airflow.sdk import AsyncCallback, DeadlineAlert, DeadlineReference

    return {
        "deadline": [
            DeadlineAlert(
                reference=DeadlineReference.DAGRUN_QUEUED_AT,
                interval=timedelta(seconds=1),
                callback=AsyncCallback(CancelTriggerRunNotifier, kwargs=arguments(way, ending, "deadline")),
            )
            for way, ending in CASES
            if ending not in CRASHES
        ]
    }


with DAG(
    "secret_key",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    on_failure_callback=[notifier(way, ending, "dag") for way, ending in CASES],
    **deadline_alerts(),
):
    for way, ending in CASES:
        operator = CrashingOperator if ending in CRASHES else CancelTriggerRunOperator
        operator(
            task_id=f"{way}_{ending}",
            on_failure_callback=notifier(way, ending, "callback"),
            **arguments(way, ending, "task"),
        )
