"""Which runs a list shows, where the contract tests have no recording."""

from __future__ import annotations

import json

from fake_clock import Clock
from in_process import routed

from airflow_provider_trigger.testing import TriggerDevServer
from airflow_provider_trigger.testing.routes.run_list import list_runs


def listed(server: TriggerDevServer, **query: str) -> list[tuple[str, str]]:
    filters = {f"filter[{name}]": value for name, value in query.items()}
    now = server.clock()
    shown = list_runs(server.runs.values(), filters, modern=True, now=now, seen_until=now - 1)
    return [(item["id"], item["status"]) for item in shown["data"]]


def test_a_list_lags_behind_in_which_runs_and_not_in_what_they_show(
    server: TriggerDevServer, clock: Clock
) -> None:
    run = server.add_run("QUEUED", run_id="a")
    assert listed(server) == []
    clock.now += 1
    assert listed(server) == [("a", "QUEUED")]
    run.cancel()
    assert listed(server) == [("a", "CANCELED")]
    assert listed(server, status="QUEUED") == []
    assert listed(server, status="CANCELED") == []
    clock.now += 1
    assert listed(server, status="CANCELED") == [("a", "CANCELED")]


def found(server: TriggerDevServer, **query: str) -> list[tuple[str, str]]:
    """Return what the API's list shows."""
    filters = "&".join(f"filter[{name}]={value}" for name, value in query.items())
    shown = json.loads(routed(server, "GET", f"/api/v1/runs?{filters}").body)
    return [(item["id"], item["status"]) for item in shown["data"]]


def test_a_status_is_found_as_the_query_has_it(server: TriggerDevServer, clock: Clock) -> None:
    server.query_lag = 4.0
    run = server.add_run("EXECUTING", run_id="a")
    clock.now += 5
    run.status = "COMPLETED"
    young = server.add_run("QUEUED", run_id="b")
    clock.now += 3
    assert found(server) == [("b", "QUEUED"), ("a", "COMPLETED")]
    assert found(server, status="EXECUTING,QUEUED") == found(server, status="COMPLETED") == []
    young.cancel()
    clock.now += 1
    assert found(server, status="COMPLETED") == [("a", "COMPLETED")]
    assert found(server, status="QUEUED,CANCELED") == [("b", "CANCELED")]
    server.list_lag = 6.0
    assert found(server, status="CANCELED") == []


def test_an_end_that_the_query_has_lost_is_found_by_no_status(server: TriggerDevServer, clock: Clock) -> None:
    runs = [server.add_run("EXECUTING", run_id=run_id) for run_id in "ab"]
    server.lose_in_query("a")
    clock.now += 1
    for run in runs:
        run.status = "COMPLETED"
    clock.now += 3600
    assert found(server, status="COMPLETED") == [("b", "COMPLETED")]
    assert found(server, status="EXECUTING") == []
    assert found(server) == [("b", "COMPLETED"), ("a", "COMPLETED")]
