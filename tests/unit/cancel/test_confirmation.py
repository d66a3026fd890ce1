"""Of many runs, queries confirm what was canceled, and only the rest is checked run by run."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import pytest

from airflow_provider_trigger.cancel import bulk, confirmation
from airflow_provider_trigger.cancel.confirmation import LAG, MAX_FAILURES, PAUSE


@pytest.fixture
def many(add, server) -> list[str]:
    """30 runs; the query lags as much as was measured."""
    server.query_lag = 1.7
    run_ids: list[str] = add(*[f"run_{number:02}" for number in range(30)])
    return run_ids


@pytest.fixture
def cancel(cancel):
    """Cancel runs, of more than 20 with queries."""
    return lambda run_ids, **options: cancel(run_ids, **{"bulk_from": 20, "confirm_from": 20} | options)


@pytest.fixture
def alone(line):
    """Return which runs were checked alone."""
    return lambda: [name.split()[1] for name in line.of("check run")]


def counted(work: Any) -> Counter[str]:
    return Counter(result.outcome.value for result in work.results)


def test_one_query_takes_the_place_of_all_checks_once_it_can_show_what_was_canceled(
    many, cancel, line, alone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "MAX_SIZE", 10)
    line.latency = 0.25
    work = cancel(many)
    assert counted(work) == {"canceled": 30}
    assert {result.task_identifier for result in work.results} == {"hello-task"}
    assert (len(line.of("query")), alone()) == (2, [])  # the first bulk action ends before the others
    assert line.at("query")[-1] >= line.at("bulk-check")[-1] + LAG


@pytest.mark.parametrize(("confirm_from", "queries", "checks"), [(29, 1, 0), (30, 0, 30)])
def test_of_few_runs_each_is_checked(
    many, cancel, line, alone, confirm_from: int, queries: int, checks: int
) -> None:
    cancel(many, confirm_from=confirm_from)
    assert (len(line.of("query")), len(alone())) == (queries, checks)


def test_what_no_query_shows_as_ended_is_checked(many, add, cancel, server, line, alone) -> None:
    server.lose_in_query("run_07")
    add("run_done", status="COMPLETED")
    work = cancel([*many, "run_done", "run_unknown", ".."])
    assert counted(work) == {"canceled": 30, "already_completed": 1, "not_found": 1, "failed": 1}
    assert sorted(alone()) == ["run_07", "run_unknown"]
    assert sorted(line.of("cancel")) == ["cancel run_07", "cancel run_unknown"]


def test_a_query_names_as_many_runs_as_the_server_shows(
    many, cancel, line, alone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "MAX_SIZE", 10)
    monkeypatch.setattr(confirmation, "MAX_QUERIED_RUNS", 29)
    cancel(many)
    assert (len(line.of("query")), alone()) == (2, [])
    first, second = line.at("query")
    assert second >= first + PAUSE


@pytest.mark.parametrize(
    ("failures", "queries", "are_checked"),
    [
        ([(429, {"error": "too many"}), None], 3, False),
        ([None] * MAX_FAILURES, MAX_FAILURES, True),
        ([(404, b"<html>")], 1, True),
        ([(400, {"error": "connect ECONNREFUSED"})], 1, True),
    ],
)
def test_a_query_that_fails_is_repeated_after_a_pause_and_after_three_times_each_run_is_checked(
    many, cancel, line, alone, failures: list[Any], queries: int, are_checked: bool
) -> None:
    for failure in failures:
        line.fault("query", *(failure or ("lost",)))
    work = cancel(many)
    at = line.at("query")
    assert len(at) == queries
    assert all(after - before >= PAUSE for before, after in pairwise(at))
    assert set(counted(work)) == {"canceled"}
    assert set(alone()) == (set(many) if are_checked else set())


def test_a_good_query_lets_earlier_failures_count_no_longer(many, cancel, server, line, clock, alone) -> None:
    server.bulk_duration, line.latency = None, 0.2
    clock.after(6.0, lambda: line.fault("query", "lost", times=2))
    clock.after(10.3, lambda: line.fault("query", "lost", times=2))
    cancel(many, max_concurrency=1)
    assert len(line.of("query")) > 5
    assert alone() == []


def test_where_a_bulk_action_does_nothing_queries_confirm_the_single_cancels(
    many, cancel, server, line, alone
) -> None:
    """One each second at the most, and none before it can show what was canceled."""
    server.bulk_duration, line.latency = None, 0.1
    assert counted(cancel(many, max_concurrency=1)) == {"canceled": 30}
    assert (len(line.of("cancel")), alone()) == (30, [])
    canceled_at = line.at("cancel")
    queried_at = [at for at in line.at("query") if at > canceled_at[0]]  # before, of the bulk action
    assert queried_at[0] >= canceled_at[0] + LAG
    assert queried_at[-1] >= canceled_at[-1] + LAG
    assert all(after - before >= PAUSE for before, after in pairwise(queried_at))


def test_ids_that_no_query_can_name_are_checked(add, cancel, line) -> None:
    run_ids = add(*[f"run.{number}" for number in range(30)])
    assert counted(cancel(run_ids)) == {"canceled": 30}
    assert line.of("query") == []


def test_a_query_takes_a_part_of_the_remaining_time(many, cancel, line) -> None:
    cancel(many, time_limit=8.5)
    [number] = [number for number, name in enumerate(line.names) if name == "query"]
    assert line.timeouts[number] == pytest.approx((8.5 - line.at("query")[0]) / 3)
