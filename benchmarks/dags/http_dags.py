"""Start a run and wait for it in the ways of Airflow's HTTP provider."""

from __future__ import annotations

import json
from typing import Any

from airflow.providers.http.operators.http import HttpOperator  # type: ignore[import-not-found]
from airflow.providers.http.sensors.http import HttpSensor  # type: ignore[import-not-found]
from airflow.providers.http.triggers.http import (  # type: ignore[import-not-found]
    HttpEventTrigger,
    HttpResponseSerializer,
)
from airflow.sdk import DAG, BaseOperator, PokeReturnValue
from measured_runs import DEFERRABLE_SENSOR, EVENT_TRIGGER, PAYLOAD, POLL_INTERVAL, WAIT, has_ended

CONN_ID = "trigger_http"
ENDPOINT = "api/v3/runs/{{ ti.xcom_pull('start') }}"


class EventTriggerSensor(BaseOperator):
    """
    Defer on HttpEventTrigger.

    :param endpoint: of the run; templated
    """

    template_fields = ("endpoint",)

    def __init__(self, *, endpoint: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.endpoint = endpoint

    def execute(self, context: Any) -> None:
        """Defer until the run has ended."""
        trigger = HttpEventTrigger(
            response_check_path=f"{has_ended.__module__}.{has_ended.__name__}",
            http_conn_id=CONN_ID,
            method="GET",
            endpoint=self.endpoint,
            poll_interval=POLL_INTERVAL,
        )
        self.defer(trigger=trigger, method_name=self.execute_complete.__name__)

    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any:
        """Return the output."""
        return HttpResponseSerializer.deserialize(event["response"]).json()["output"]


def check(response: Any) -> PokeReturnValue:
    """Check a run, as a user of HttpSensor does, and return its output."""
    run = response.json()
    return PokeReturnValue(is_done=run["isCompleted"], xcom_value=run.get("output"))


def start_run(task_identifier: str) -> HttpOperator:
    """Return the task that starts a run, and returns its id."""
    return HttpOperator(
        task_id="start",
        http_conn_id=CONN_ID,
        endpoint=f"api/v1/tasks/{task_identifier}/trigger",
        headers={"Content-Type": "application/json"},
        data=json.dumps({"payload": PAYLOAD}),
        response_filter=lambda response: response.json()["id"],
    )


with DAG(EVENT_TRIGGER, schedule=None):
    start_run(EVENT_TRIGGER) >> EventTriggerSensor(task_id=WAIT, endpoint=ENDPOINT)

with DAG(DEFERRABLE_SENSOR, schedule=None):
    start_run(DEFERRABLE_SENSOR) >> HttpSensor(
        task_id=WAIT,
        http_conn_id=CONN_ID,
        endpoint=ENDPOINT,
        response_check=check,
        poke_interval=POLL_INTERVAL,
        deferrable=True,
    )
