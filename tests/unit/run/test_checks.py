"""A call for each of several runs, and the checks of a wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from airflow_provider_trigger.api.errors import PermissionDeniedError, ResponseError
from airflow_provider_trigger.api.runs import retrieve_run
from airflow_provider_trigger.run import checks
from airflow_provider_trigger.run.checks import (
    CONCURRENCY,
    QUERY_ABOVE,
    RunChecks,
    are_few,
    call_all,
    call_each,
    in_threads,
    query_many,
)

QUERY, GET = "POST /api/v1/query", "GET /api/v3/runs/"


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


# The checks of one wait


@pytest.fixture
def check(log, client) -> Callable[..., dict[str, str]]:
    """Check runs once; return the statuses that were seen, by run id."""
    made = RunChecks(log)

    def act(*runs: Any) -> dict[str, str]:
        seen = made.make(client, ids_of(list(runs)))
        statuses = {run.id: run.status for run in seen}
        assert len(statuses) == len(seen)
        return statuses

    return act


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let any number of runs be many."""
    monkeypatch.setattr(checks, "QUERY_ABOVE", 0)


def test_a_check_that_fails_is_repeated_for_seconds_not_for_minutes_and_then_warned_of(
    server, check, network, answer, clock, log
) -> None:
    done, failing, alive = server.add_run("COMPLETED"), *add(server, 2)
    network.fault(failing.id, answer(503, {"error": "Down"}), times=1000)
    assert check(done, failing, alive) == {done.id: "COMPLETED", alive.id: "EXECUTING"}
    assert 3 < clock.now - 1000 < 30
    assert len(network.sent(f"{GET}{failing.id}")) > 2
    [(level, line)] = log.leveled
    assert level == "warning"
    assert line.startswith(f"Status check of run {failing.id} failed; still waiting: {GET}{failing.id} ans")


def test_what_cannot_pass_by_itself_ends_the_wait_only_before_a_check_has_succeeded(
    server, check, network, log, answer
) -> None:
    first, second = add(server, 2)
    network.fault(first.id, answer(503, {"error": "Down"}), times=1000)
    assert check(first) == {}
    network.repair()
    network.fault(second.id, answer(400, {"error": "No"}), times=1000)
    with pytest.raises(ResponseError, match="answered 400"):
        check(second)
    assert set(check(first, second)) == {first.id}  # this very check has shown that the server is right
    network.fault(first.id, answer(400, {"error": "No"}), times=1000)
    for _ in range(3):
        assert check(first, second) == {}


@pytest.mark.parametrize("is_outage", [False, True])
def test_a_run_that_no_check_shows_ends_the_wait_if_the_server_works_otherwise(
    server, check, network, answer, clock, is_outage: bool
) -> None:
    run, broken = add(server, 2)
    check(run)
    network.fault(broken.id, answer(500, {"error": "No"}), times=10_000)
    if is_outage:
        network.fault("GET /api/v1/runs", answer(500, {"error": "No"}), times=10_000)
    begun, ended = clock.now, None
    while ended is None and clock.now < begun + 300:
        try:
            check(run, broken)
        except ResponseError as error:
            ended = error
        clock.sleep(1)
    assert is_outage is (ended is None)
    assert is_outage or (f"{broken.id} answered 500" in str(ended) and clock.now >= begun + 120)


@pytest.mark.usefixtures("many")
def test_of_many_runs_those_that_failed_are_checked_first_and_those_that_completed_never(
    server, check, network
) -> None:
    runs = {status: add(server, 10, status) for status in ("EXECUTING", "COMPLETED", "FAILED")}
    seen = check(*runs["EXECUTING"], *runs["COMPLETED"], *runs["FAILED"])
    assert seen == {run.id: status for status, some in runs.items() for run in some}
    assert network.requests[0] == QUERY
    checked = {request.removeprefix(GET) for request in network.requests[1:]}
    assert len(network.requests) == 1 + CONCURRENCY
    assert checked > set(ids_of(runs["FAILED"]))
    assert checked < set(ids_of(runs["FAILED"] + runs["EXECUTING"]))


@pytest.mark.usefixtures("many")
def test_runs_that_a_query_lacks_are_checked_before_those_that_it_shows(
    server, check, network, clock
) -> None:
    server.query_lag = 60.0
    listed = add(server, 30)
    clock.sleep(100)
    new = add(server, CONCURRENCY)
    assert set(check(*listed, *new)) == set(ids_of(listed + new))
    assert {request.removeprefix(GET) for request in network.sent(GET)} == set(ids_of(new))


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize(
    ("queried", "checked", "seen"),
    [
        ("FAILED", "EXECUTING", "FAILED"),
        ("QUEUED", "EXECUTING", "EXECUTING"),
        ("QUEUED", "FAILED", "FAILED"),
        ("QUEUED", None, "QUEUED"),  # the query counts as a check that has succeeded
    ],
)
def test_a_check_is_newer_than_a_query_but_does_not_undo_an_end(
    server, check, network, answer, queried: str, checked: str | None, seen: str
) -> None:
    run = server.add_run(queried)
    shown = {"id": run.id, "status": checked}
    network.fault(GET, answer(200, shown) if checked else answer(400, {"error": "No"}), times=1000)
    assert check(run) == {run.id: seen}
