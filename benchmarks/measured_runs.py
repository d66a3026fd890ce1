"""What both the Dags of ``dags/`` and the benchmarks that run them know; Airflow finds it on its path."""

from __future__ import annotations

from typing import Any

OWN, EVENT_TRIGGER, DEFERRABLE_SENSOR = "own", "http_event_trigger", "http_sensor_deferrable"
WAIT = "wait"  # the last task of each Dag
MANY = "many"
TASKS_OF_MANY = 500
QUICK = "quick"
TASKS_OF_QUICK = 300
BATCH, MAPPED = "batch", "mapped"
ITEMS = 1000

POLL_INTERVAL = 2.0  # this provider's own for a run of up to 20 s
PAYLOAD = "{{ run_id }}"  # by which the benchmark finds the run of a Dag run


async def has_ended(response: Any) -> bool:
    """Check a run, as a user of HttpEventTrigger does: by a function that can be imported."""
    return response.json()["isCompleted"]
