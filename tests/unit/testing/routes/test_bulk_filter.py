"""Which runs the filter of a bulk action matches."""

from __future__ import annotations

from typing import Any

import pytest
from server_clock import START, Clock

from airflow_provider_trigger.testing import TriggerDevServer
from airflow_provider_trigger.testing.routes.bulk_filter import matching

DAY = 86400


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [
        ({"tag": "x"}, "a"),
        ({"tag": ["x", "y"]}, "ab"),
        ({"tag": "x,y"}, ""),
        ({"taskIdentifier": "t2"}, "b"),
        ({"taskIdentifier": ["t2", "t3"], "version": "1"}, ""),
        ({"status": "QUEUED"}, "a"),
        ({"status": ["QUEUED", "FROZEN"]}, "ab"),
        ({"status": "WAITING", "tag": "x"}, ""),
        ({"queue": {"type": "task", "name": "t2"}}, "b"),
        ({"isTest": False}, "ab"),
        ({"isTest": True}, ""),
        ({"region": "local"}, "ab"),
        ({"batch": "batch_x"}, ""),
        ({"period": "30d"}, "abo"),
        ({"period": "nonsense"}, "ab"),
        ({"from": (START - 60) * 1000}, "ab"),
        ({"to": (START - 60) * 1000}, "o"),
        ({"from": "2026-01-01", "to": "2100-01-01T00:00:00Z"}, "abo"),
    ],
)
def test_filters(clock: Clock, wanted: dict[str, Any], fits: str) -> None:
    server = TriggerDevServer(clock=clock)
    clock.now -= 8 * DAY
    server.add_run("QUEUED", run_id="o", tags=["z"], task_identifier="t3").status = "SOMETHING_NEW"
    clock.now += 8 * DAY
    server.add_run("QUEUED", run_id="a", tags=["x"], task_identifier="t1")
    server.add_run("WAITING", run_id="b", tags=["y"], task_identifier="t2")
    found = matching(server.runs.values(), wanted, now=clock.now)
    assert sorted(run.id for run in found) == sorted(fits)
