"""Which runs a list shows, where the contract tests have no recording."""

from __future__ import annotations

from fake_clock import Clock

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
