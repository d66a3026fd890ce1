"""A call for each of several runs, and queries of many."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from airflow_provider_trigger.api.errors import PermissionDeniedError
from airflow_provider_trigger.api.runs import retrieve_run
from airflow_provider_trigger.run import checks
from airflow_provider_trigger.run.checks import (
    QUERY_ABOVE,
    are_few,
    call_all,
    call_each,
    in_threads,
    query_many,
)

QUERY = "POST /api/v1/query"


def add(server, count: int, status: str = "EXECUTING") -> list[Any]:
    return [server.add_run(status) for _ in range(count)]


def ids_of(runs: list[Any]) -> list[str]:
    return [run.id for run in runs]


def test_no_more_calls_are_made_at_a_time_than_allowed(
    server, client, network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "CONCURRENCY", 1)
    threads: list[str] = []

    def take_long(_: str) -> None:
        threads.append(threading.current_thread().name)
        time.sleep(0.005)  # in which another thread would begin

    network.before = take_long
    run_ids = ids_of(add(server, 5))
    assert list(call_each(client, retrieve_run, run_ids)) == run_ids
    assert threads == ["trigger-dev-call_0"] * 5


def test_an_error_is_raised_once_all_calls_are_made(server, client, network, answer) -> None:
    run_ids = ids_of(add(server, 5))
    network.fault(run_ids[0], answer(403, {"error": "No"}))
    with pytest.raises(PermissionDeniedError, match=run_ids[0]):
        call_all(client, retrieve_run, run_ids)
    assert len(network.requests) == 5


class Interrupted(list[str]):
    """Run ids; a signal comes when the last one was read, while the first call is in flight."""

    def __init__(self, run_ids: list[str]) -> None:
        super().__init__(run_ids)
        self.in_flight = threading.Event()

    def __iter__(self) -> Iterator[str]:
        yield from super().__iter__()
        self.in_flight.wait(60)
        raise KeyboardInterrupt


def test_what_ends_the_task_waits_for_no_call_in_flight_and_lets_none_begin(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checks, "CONCURRENCY", 1)
    run_ids, release = Interrupted(["run_1", "run_2", "run_3"]), threading.Event()
    begun: list[threading.Thread] = []
    ended: list[str] = []

    def work(run_id: str) -> None:
        begun.append(threading.current_thread())
        run_ids.in_flight.set()
        release.wait(10)
        ended.append(run_id)

    with pytest.raises(KeyboardInterrupt):
        list(in_threads(work, run_ids))
    assert ended == []
    release.set()
    begun[0].join(60)
    assert ended == ["run_1"]


def test_more_runs_than_a_query_can_name_are_in_several_queries(
    server, client, network, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [are_few(["run_1"] * count) for count in (QUERY_ABOVE, QUERY_ABOVE + 1)] == [True, False]
    monkeypatch.setattr(checks, "QUERY_ABOVE", 0)
    monkeypatch.setattr("airflow_provider_trigger.api.query.MAX_QUERIED_RUNS", 2)
    run_ids = ids_of(add(server, 5))
    assert list(query_many(client, run_ids) or ()) == run_ids
    assert network.requests == [QUERY] * 3
