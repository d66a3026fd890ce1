"""Many runs are checked by one query, in the thread that waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_trigger.api.errors import TriggerDevError
from airflow_provider_trigger.run.checks import CONCURRENCY
from airflow_provider_trigger.run.drive import WATCH_FROM, BlockingWatch, StoppedError, drive
from airflow_provider_trigger.run.steps import Check
from airflow_provider_trigger.run.wait import wait_for_runs
from airflow_provider_trigger.run.wait_settings import WaitSettings

QUERY, GET = "POST /api/v1/query", "GET /api/v3/runs/"


@pytest.fixture
def stopped() -> list[bool]:
    return []


@pytest.fixture
def watch(client, virtual_time, log, stopped, monkeypatch: pytest.MonkeyPatch) -> BlockingWatch:
    monkeypatch.setattr("airflow_provider_trigger.run.drive.time", virtual_time)
    return BlockingWatch(client, name="of_a_test", log=log, is_stopped=lambda: bool(stopped))


@pytest.fixture
def wait(client, watch: BlockingWatch, log, clock) -> Callable[..., Any]:
    def act(runs: list[Any], **settings: Any) -> Any:
        steps = wait_for_runs([run.id for run in runs], WaitSettings(**settings), log=log, now=clock.time)
        return drive(steps, client, check=watch.check)

    return act


def add(server, count: int = WATCH_FROM, status: str = "EXECUTING") -> list[Any]:
    return [server.add_run(status) for _ in range(count)]


def end_at(clock, monkeypatch: pytest.MonkeyPatch, at: float, act: Callable[[], None]) -> None:
    sleep = clock.sleep

    def sleep_and_act(seconds: float) -> None:
        before = clock.now
        sleep(seconds)
        if before < at <= clock.now:
            act()

    monkeypatch.setattr(clock, "sleep", sleep_and_act)


def test_a_query_shows_the_ends_of_all(wait, server, network, clock, monkeypatch) -> None:
    runs = add(server)

    def end() -> None:
        for run in runs:
            run.status = "COMPLETED"

    end_at(clock, monkeypatch, 1060, end)
    ended = wait(runs)
    assert [ended[run.id].run.status for run in runs] == ["COMPLETED"] * len(runs)
    assert len(network.sent(QUERY)) >= 20
    assert len(network.sent(GET)) < 70  # one in a second, in the background
    assert clock.now < 1065


def test_where_no_query_works_each_is_checked(wait, server, network, log, answer) -> None:
    runs = add(server, status="COMPLETED")
    network.fault(QUERY, answer(404, b"<html>"), times=1000)
    assert len(wait(runs)) == len(runs)
    assert len(network.sent(GET)) == len(runs)
    why = "the server has no status queries; each run is checked by itself"
    assert f"Connection 'of_a_test': {why}" in log.of("info")


def test_where_no_query_works_a_check_does_not_wait_for_the_next_query(
    watch, server, network, clock, answer
) -> None:
    network.fault(QUERY, answer(404, b"<html>"), times=1000)
    run = server.add_run("EXECUTING", then=[(10, "COMPLETED")])
    step = Check(run_ids=(run.id,))
    assert [watch.check(step)[run.id].status for _ in range(2)] == ["EXECUTING", "COMPLETED"]
    assert clock.now < 1015


def test_the_rate_limit_says_how_often_to_query(watch, server, network, clock, answer) -> None:
    [run] = add(server, 1)
    rows = {"results": [{"run_id": run.id, "status": "Executing"}]}
    limits = {"x-ratelimit-limit": "5", "x-ratelimit-remaining": "5"}
    limits["x-ratelimit-reset"] = str(round(clock.time() * 1000) + 3600_000)
    network.fault(QUERY, answer(200, rows, limits), times=1000)
    step = Check(run_ids=(run.id,), until=clock.time() + 110)
    while clock.now < 1110:
        watch.check(step)
    assert 4 <= len(network.sent(QUERY)) <= 7  # a tenth of it in 10 s


def test_only_so_many_runs_are_checked_before_it_replies(watch, server, network, answer) -> None:
    network.fault(QUERY, answer(404, b"<html>"), times=1000)
    runs = add(server, CONCURRENCY + 4)
    step = Check(run_ids=tuple(run.id for run in runs))
    assert [len(watch.check(step)) for _ in range(2)] == [CONCURRENCY, 4]


def test_no_call_is_repeated_by_the_client(watch, server, network, answer) -> None:
    [run] = add(server, 1)
    for call in (QUERY, GET):
        network.fault(call, answer(503, {"error": "Down"}), times=1000)
    assert isinstance(watch.check(Check(run_ids=(run.id,)))[run.id], TriggerDevError)
    assert network.requests == [QUERY, f"{GET}{run.id}"]


def test_it_ends_at_the_deadline_though_nothing_is_new(wait, server, clock) -> None:
    runs = add(server)
    ended = wait(runs, deadline=clock.time() + 20, cancels=False)
    assert {waited.end for waited in ended.values()} == {"timed_out"}
    assert 1020 <= clock.now < 1025


def test_without_a_deadline_it_returns_after_five_minutes(watch, server, clock) -> None:
    runs = add(server, 1)
    step = Check(run_ids=(runs[0].id,))
    assert watch.check(step)[runs[0].id].status == "EXECUTING"
    assert watch.check(step) == {}
    assert 1300 <= clock.now < 1310


def test_after_its_time_limit_it_returns_at_once(watch, server, clock) -> None:
    [run] = add(server, 1)
    watch.check(Check(run_ids=(run.id,)))
    begun = clock.now
    assert watch.check(Check(run_ids=(run.id,), until=clock.time() - 5)) == {}
    assert clock.now == begun


@pytest.mark.parametrize("poll_interval", [None, 0.5])
def test_runs_that_no_step_names_any_more_are_forgotten(watch, server, network, poll_interval) -> None:
    first, second = add(server, 2, status="COMPLETED")
    assert set(watch.check(Check(run_ids=(first.id,), poll_interval=poll_interval))) == {first.id}
    assert set(watch.check(Check(run_ids=(second.id,), poll_interval=poll_interval))) == {second.id}


def test_a_fixed_interval_checks_each_run_by_itself(watch, server, network, clock) -> None:
    runs = add(server, 3)
    watch.check(Check(run_ids=tuple(run.id for run in runs), poll_interval=0.5))
    assert len(network.sent(GET)) >= 3
    assert clock.now < 1001


def test_a_check_that_fails_is_news(watch, network, answer) -> None:
    network.fault(QUERY, answer(404, b"<html>"), times=1000)
    news = watch.check(Check(run_ids=("run_1",)))
    assert isinstance(news["run_1"], TriggerDevError)


def test_a_stop_ends_it(watch, server, stopped, clock, monkeypatch) -> None:
    [run] = add(server, 1)
    watch.check(Check(run_ids=(run.id,)))
    end_at(clock, monkeypatch, 1010, lambda: stopped.append(True))
    with pytest.raises(StoppedError):
        watch.check(Check(run_ids=(run.id,)))
    assert clock.now < 1011
