"""Many runs are canceled in bulk first, then one by one where that left some out."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from airflow_provider_trigger.cancel import bulk
from airflow_provider_trigger.defaults import BULK_FROM

WAITING: dict[str, Any] = {"termination_timeout": 90.0, "poll_interval": 2.0}


@pytest.fixture
def many(add, server) -> list[str]:
    """30 runs; of more than 20, most are canceled in bulk here, all at once."""
    server.bulk_rate = None
    run_ids: list[str] = add(*[f"run_{number:02}" for number in range(30)])
    return run_ids


@pytest.fixture
def cancel(cancel):
    return lambda run_ids, **options: cancel(run_ids, **{"bulk_from": 20} | options)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a bulk action take 10 runs."""
    monkeypatch.setattr(bulk, "MAX_SIZE", 10)


@pytest.fixture
def leave_out(server):
    """Let bulk actions leave out runs as if they were triggered a moment ago, and no other ones."""

    def leave_out(*run_ids: str) -> None:
        server.bulk_lag = 3600
        for run in server.runs.values():
            run.created_at -= timedelta(hours=0 if run.id in run_ids else 2)

    return leave_out


def single(line: Any) -> list[tuple[str, Any]]:
    """Return what was sent for runs one by one, and when."""
    return [(name, at) for name, at in line.sent if "run_" in name]


def is_all_canceled(work: Any) -> bool:
    return {result.outcome.value for result in work.results} == {"canceled"}


@pytest.mark.parametrize(("runs", "sizes"), [(300, []), (301, [301]), (1001, [500, 500, 1])])
def test_more_than_300_runs_are_canceled_in_bulk_500_at_a_time(
    add, cancel, server, line, runs: int, sizes: list[int]
) -> None:
    server.bulk_rate = None
    run_ids = add(*[f"run_{number}" for number in range(runs)])
    work = cancel(run_ids, bulk_from=BULK_FROM, bulk_action_name="the name")
    assert [len(one.members) for one in server.bulk.values()] == sizes
    assert {one.name for one in server.bulk.values()} <= {"the name"}
    assert work.bulk_ids == list(server.bulk)
    assert is_all_canceled(work)
    assert len(single(line)) == (0 if sizes else 2 * runs)


# What follows a bulk action


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("has_query", [True, False])
@pytest.mark.parametrize(("size", "rate"), [(500, 0.6), (500, 3.0), (10, 0.6)])
def test_while_bulk_actions_cancel_runs_none_gets_a_cancel_of_its_own(
    many, cancel, server, line, monkeypatch: pytest.MonkeyPatch, size: int, rate: float, has_query: bool
) -> None:
    """Their counts are raised for each 100 runs only, here when they complete."""
    monkeypatch.setattr(bulk, "MAX_SIZE", size)
    server.bulk_rate, server.query, server.query_lag = rate, has_query, 1.7
    assert is_all_canceled(cancel(many))
    assert line.of("cancel") == []
    assert len(line.of("check")) <= (6 if has_query else 60)


@pytest.mark.parametrize("has_query", [True, False])
@pytest.mark.parametrize("options", [{}, WAITING, {"time_limit": 120.0}])
def test_where_the_bulk_worker_is_off_single_cancels_begin_after_4_s(
    many, cancel, server, line, has_query: bool, options: dict[str, Any]
) -> None:
    server.bulk_duration, server.query = None, has_query
    assert is_all_canceled(cancel(many, **options))
    assert line.at("cancel")[0] == pytest.approx(4.0)
    assert sorted(line.of("cancel")) == [f"cancel {run_id}" for run_id in many]
    assert len(line.of("check")) == 30 + 2  # of the first and the last, whether it does anything


@pytest.mark.parametrize(
    ("options", "has_query", "first"),
    [
        # A query shows which it has left out; without one, a check of each does.
        ({}, True, ("cancel", 4.0)),
        ({}, False, ("check", 2.0)),
        (WAITING, True, ("cancel", 4.0)),
        # Half of the time is left to single cancels.
        ({"time_limit": 4.5}, True, ("cancel", 2.25)),
    ],
)
def test_what_it_left_out_is_canceled_one_by_one(
    many, cancel, server, line, leave_out, options: dict[str, Any], has_query: bool, first: Any
) -> None:
    server.query = has_query
    leave_out(*many[-2:])
    assert is_all_canceled(cancel(many, **options))
    assert line.of("cancel") == ["cancel run_28", "cancel run_29"]
    name, at = single(line)[0]
    assert (name.split()[0], at) == (first[0], pytest.approx(first[1]))


@pytest.mark.parametrize("run_id", ["it's", "run_x"])
def test_ids_that_no_query_shows_are_canceled_alone(many, cancel, line, run_id: str) -> None:
    work = cancel([*many, run_id])
    assert line.outcomes(work) == dict.fromkeys(many, "canceled") | {run_id: "not_found"}
    assert len(line.of("cancel")) == 1


@pytest.mark.parametrize(
    ("reply", "queries"),
    [
        (("lost",), 4),  # it is repeated with the next looks, up to three failures in a row
        ((403, {"error": "no"}), 1),
        ((400, {"error": "connect ECONNREFUSED"}), 1),
        (("no answer",), 1),
    ],
)
def test_a_query_that_fails_costs_only_speed(many, cancel, server, line, reply: Any, queries: int) -> None:
    server.bulk_rate = 3.0
    line.fault("query", *reply, times=3 if queries == 4 else 1)
    assert is_all_canceled(cancel(many))
    assert line.of("cancel") == []
    assert len(line.of("query")) <= queries
    assert len(line.of("check")) >= 28


def test_checks_of_it_that_fail_cost_only_speed(many, cancel, line) -> None:
    line.fault("bulk-check", 503, {"error": "busy"}, times=999)
    assert is_all_canceled(cancel(many))
    assert line.of("cancel") == []


def test_other_runs_are_canceled_meanwhile(many, prepare, server, line) -> None:
    server.bulk_duration = 1.5
    work = prepare(many[:1], bulk_from=20)
    work.run(iter([[], many[1:]]))
    assert is_all_canceled(work)
    assert line.at("cancel") == line.at("check") == [0.0]


# Several bulk actions


@pytest.mark.usefixtures("small_parts")
def test_the_first_one_goes_alone_until_the_server_has_accepted_it(many, cancel, line) -> None:
    line.latency = 1.0
    cancel(many)
    assert [at for name, at in line.sent if name == "bulk"] == [0.0, 1.0, 1.0]


@pytest.mark.usefixtures("small_parts")
def test_one_that_fails_does_not_take_the_accepted_ones_back(many, cancel, line, clock) -> None:
    line.latency = 1.0
    clock.after(0.5, lambda: line.fault("bulk", 400, {"error": "no"}))
    assert is_all_canceled(cancel(many))
    assert {*line.of("cancel")} == {f"cancel {run_id}" for run_id in many[10:20]}


@pytest.mark.usefixtures("small_parts")
def test_runs_that_are_not_followed_get_a_cancel_of_their_own_besides_and_no_check(
    many, cancel, line
) -> None:
    work = cancel(many, follows=False, max_concurrency=1)
    assert line.names == ["bulk"] * 3 + [f"cancel {run_id}" for run_id in many]
    assert (work.finished, work.accepted) == (True, set(many))


# Failures


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        # Rejected: its runs are as new. Where a wait follows, they are checked before their cancel.
        ((404, b"<html>"), ("check", 0.0)),
        ((400, {"error": "no"}), ("check", 0.0)),
        # Perhaps accepted: a check before is outdated.
        ((500, {"error": "broken"}), ("cancel", 0.0)),
        ((200, b"<html>"), ("cancel", 0.0)),
        ("lost", ("cancel", 0.0)),
        ("no answer", ("cancel", 3.0)),
    ],
)
def test_a_bulk_action_that_fails_takes_nothing_from_any_run(
    many, cancel, line, reply: Any, expected: Any
) -> None:
    line.fault("bulk", *(reply if isinstance(reply, tuple) else (reply,)))
    work = cancel(many, **WAITING, time_limit=36.0)
    assert len(line.at("bulk")) == 1
    name, at = single(line)[0]
    assert (name.split()[0], at) == (expected[0], pytest.approx(expected[1], abs=0.1))
    assert is_all_canceled(work)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (None, "cancel requested by a bulk action that was not answered, but the status was not checked"),
        (503, "cancel requested by a bulk action that was not answered, but the status was not checked"),
        (403, "not sent"),
    ],
)
@pytest.mark.usefixtures("small_parts")
def test_what_is_reported_of_it_at_an_early_end(many, cancel, line, status: int | None, error: str) -> None:
    line.latency = 1.0
    if status:
        line.fault("bulk", status, {"error": "no"})
    work = cancel(many, stop_at=0.4 if status is None else 1.0)
    assert [result.error for result in work.results] == [
        f"{error}: canceling was stopped" if number < 10 else "not sent: canceling was stopped"
        for number in range(30)
    ]


# Runs that are added


@pytest.mark.parametrize("has_bulk", [True, False])
def test_runs_that_are_added_are_canceled_in_bulk_where_they_and_all_are_many(
    add, many, prepare, server, line, has_bulk: bool
) -> None:
    server.bulk_actions = has_bulk
    late = add(*[f"late_{number}" for number in range(9)])
    work = prepare(many[:1], bulk_from=20)
    work.run(iter([many[:20], many[15:], late]))
    assert is_all_canceled(work)
    assert [len(one.members) for one in server.bulk.values()] == ([10] if has_bulk else [])
    alone = [*many[:20], *late] if has_bulk else [*many, *late]
    assert {*line.of("cancel")} == {f"cancel {run_id}" for run_id in alone}
    assert line.names.count("bulk") == 1
