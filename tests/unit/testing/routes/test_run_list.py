"""Which runs a list shows, where the contract tests have no recording."""

from __future__ import annotations

from typing import Any

import pytest
from fake_clock import START, Clock

from airflow_provider_trigger.testing import TriggerDevServer
from airflow_provider_trigger.testing.routes.run_filters import QueryError
from airflow_provider_trigger.testing.routes.run_list import list_runs

DAY = 86400


@pytest.fixture
def server(clock: Clock) -> TriggerDevServer:
    return TriggerDevServer(clock=clock.time)


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


def test_a_page_may_be_short_and_others_follow(server: TriggerDevServer, clock: Clock) -> None:
    runs = [server.add_run("QUEUED") for _ in range(25)]
    clock.now += 5
    for run in runs[5:]:
        run.cancel()
    pages: list[int] = []
    query = {"filter[status]": "QUEUED", "page[size]": "10"}
    while len(pages) < 10:
        shown: Any = list_runs(runs, query, modern=True, now=clock.time(), seen_until=clock.time() - 1)
        pages.append(len(shown["data"]))
        if "next" not in shown["pagination"]:
            break
        query["page[after]"] = shown["pagination"]["next"]
    assert pages == [0, 0, 5]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, "b"),
        ({"period": "nonsense"}, "b"),
        ({"period": "30d"}, "ab"),
        ({"from": "1"}, "ab"),
        ({"from": str(int((START - 60) * 1000))}, "b"),
        ({"from": "2026-01-01"}, "ab"),
        ({"to": str(int((START - 60) * 1000))}, "a"),
        ({"from": "1", "to": "2"}, ""),
        ({"from": "1", "period": "1h"}, "b"),
    ],
)
def test_times(server: TriggerDevServer, clock: Clock, query: dict[str, str], found: str) -> None:
    clock.now -= 8 * DAY
    server.add_run("QUEUED", run_id="a")
    clock.now += 8 * DAY
    server.add_run("QUEUED", run_id="b")
    filters = {f"filter[createdAt][{name}]": value for name, value in query.items()}
    shown = list_runs(server.runs.values(), filters, modern=True, now=clock.time(), seen_until=clock.time())
    assert sorted(item["id"] for item in shown["data"]) == sorted(found)


def test_an_invalid_time(server: TriggerDevServer) -> None:
    with pytest.raises(QueryError) as raised:
        list_runs([], {"filter[createdAt][to]": "soon"}, modern=True, now=0, seen_until=0)
    assert raised.value.details == [
        {"code": "invalid_date", "path": ["filter[createdAt][to]"], "message": "Invalid date"}
    ]
