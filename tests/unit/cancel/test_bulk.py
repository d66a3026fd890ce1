"""Many runs are canceled in bulk first, then one by one where that left some out."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from airflow_provider_trigger.cancel import bulk
from airflow_provider_trigger.cancel.bulk import LONGEST, NO_PROGRESS_AFTER, SHARE
from airflow_provider_trigger.cancel.confirmation import LAG, PAUSE
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


def shown(status: str = "PENDING", *, success: int = 0, failure: int = 0) -> tuple[int, Any]:
    """Return the answer to a check of a bulk action."""
    counts = {"total": 30, "success": success, "failure": failure}
    return 200, {"id": "bulk_1", "status": status, "counts": counts}


def single(line: Any) -> list[tuple[str, Any]]:
    """Return what was sent for runs one by one, and when."""
    return [(name, at) for name, at in line.sent if "run_" in name]


def test_the_constants_that_users_feel() -> None:
    assert (BULK_FROM, SHARE, NO_PROGRESS_AFTER, LONGEST) == (300, 0.25, 4.0, 30.0)


@pytest.mark.parametrize(("runs", "sizes"), [(300, []), (301, [301]), (1001, [500, 500, 1])])
def test_more_than_300_runs_are_canceled_in_bulk_500_at_a_time(
    add, cancel, server, line, runs: int, sizes: list[int]
) -> None:
    run_ids = add(*[f"run_{number}" for number in range(runs)])
    work = cancel(run_ids, bulk_from=BULK_FROM, confirm_from=BULK_FROM, bulk_action_name="the name")
    assert [len(one.members) for one in server.bulk.values()] == sizes
    assert {one.name for one in server.bulk.values()} <= {"the name"}
    assert work.schedule.bulk_ids == list(server.bulk)
    assert set(line.outcomes(work).values()) == {"canceled"}
    assert len(line.of("cancel")) == (0 if sizes else runs)


# How long a bulk action is followed

COMPLETED = {"status": "COMPLETED", "success": 30}


@pytest.mark.parametrize(
    ("polls", "options", "expected", "polled"),
    [
        # Any status but PENDING ends it. Where it has handled no run, no run is checked before its cancel.
        ([{"status": "COMPLETED", "success": 7, "failure": 2}], {}, ("check", 0.0), 1),
        ([{"status": "ABORTED", "success": 1}], {}, ("check", 0.0), 1),
        ([{"status": "SOMETHING_NEW"}], {}, ("cancel", 0.0), 1),
        ([{}, {"success": 3}, {"status": "ABORTED", "failure": 4}], {}, ("check", 1.25), 3),
        # Without progress it is waited for 4 s; counts beyond its runs are none.
        ([{}], {}, ("cancel", 4.0625), None),
        ([{"success": 1}], {}, ("check", 4.0625), 5),
        ([{"failure": 1}], {}, ("check", 4.0625), 5),
        ([{"success": 31 + number} for number in range(20)], {}, ("check", 4.0625), 5),
        ([{}, {}, {}, {"success": 1}, COMPLETED], {}, ("check", 4.0625), 5),
        # These count from its acceptance on.
        ([{}], {"latency": 2.0}, ("cancel", 10.5), None),
        ([{"failure": 1}, COMPLETED], {"latency": 2.0}, ("check", 6.5), 2),
        # With progress it is checked less and less often, and waited for until half of the time has passed.
        ([{"success": number} for number in range(1, 20)], {}, ("check", 51.59375), 21),
        ([{"success": number} for number in range(1, 20)], {"time_limit": 40.0}, ("check", 18.59375), 10),
        # It is not waited for where no check of it could follow.
        ([{"success": 1}], {"time_limit": 2.0}, ("check", 0.0), 1),
        ([{"success": 1}], {"time_limit": 2.4}, ("check", 0.5), 2),
    ],
)
def test_when_the_runs_of_a_bulk_action_are_checked_or_canceled_one_by_one(
    many,
    cancel,
    server,
    line,
    polls: list[dict[str, Any]],
    options: dict[str, float],
    expected: tuple[str, float],
    polled: int | None,
) -> None:
    server.bulk_duration, line.latency = None, options.get("latency", 0.0)
    for number, poll in enumerate(polls, start=1):
        line.fault("bulk-check", *shown(**poll), times=1 if number < len(polls) else 999)
    cancel(many, time_limit=options.get("time_limit"))
    name, at = single(line)[0]
    assert (name.split()[0], at) == (expected[0], pytest.approx(expected[1]))
    assert polled in (None, len(line.of("bulk-check")))


def test_progress_counts_its_runs_once_it_has_handled_any(many, prepare, line, clock) -> None:
    line.fault("bulk-check", *shown())
    line.fault("bulk-check", *shown(success=1))
    work, seen = prepare(many, bulk_from=20), []
    for seconds in (0.25, 0.75):
        clock.after(seconds, lambda: seen.append(work.schedule.progress()))
    work.run()
    assert seen == [f"{sent} of 30 cancel requests sent, 0 runs finished" for sent in (0, 30)]


def test_checks_wait_for_a_bulk_action_that_may_be_canceling_and_cancels_do_not(
    many, prepare, server, line
) -> None:
    server.bulk_duration = 1.0
    work = prepare(many[:1], bulk_from=20)
    work.run(iter([many[1:]]))
    assert line.at("cancel") == [0.0]
    assert line.at("check")[0] == 1.25


def test_what_it_left_out_is_canceled_one_by_one_the_last_ones_first(many, cancel, line, leave_out) -> None:
    leave_out(*many[-2:])
    work = cancel(many, max_concurrency=1)
    assert set(line.outcomes(work).values()) == {"canceled"}
    assert [name for name, _ in single(line)][:4] == [
        "check run_29",
        "cancel run_29",
        "check run_28",
        "cancel run_28",
    ]
    assert len(line.of("cancel")) == 2


# A bulk action whose counts stand still


@pytest.mark.parametrize(("size", "has_query"), [(500, True), (500, False), (10, True)])
@pytest.mark.parametrize("confirm_from", [20, float("inf")])
def test_while_bulk_actions_cancel_runs_none_gets_a_cancel_of_its_own(
    many, cancel, server, line, monkeypatch: pytest.MonkeyPatch, size: int, has_query: bool, confirm_from
) -> None:
    """Their counts are raised for each 100 runs only, here when they complete."""
    monkeypatch.setattr(bulk, "MAX_SIZE", size)
    server.bulk_rate, server.query, server.query_lag = 0.6 if has_query else 1.2, has_query, 1.7
    work = cancel(many, confirm_from=confirm_from)
    assert set(line.outcomes(work).values()) == {"canceled"}
    assert line.of("cancel") == []


# A bulk action without progress


def test_one_that_does_nothing_is_checked_until_each_run_has_its_own_cancel(
    many, cancel, server, line
) -> None:
    server.bulk_duration = None
    line.latency = 0.2
    work = cancel(many, max_concurrency=1)
    assert set(line.outcomes(work).values()) == {"canceled"}
    polls, cancels = line.at("bulk-check"), line.at("cancel")
    assert len(cancels) == len(line.of("check")) == 30
    assert cancels[0] < polls[-2] < cancels[-1] < polls[-1]


@pytest.mark.parametrize("options", [{}, WAITING, {"time_limit": 120.0, "confirm_from": 20}])
def test_once_it_begins_after_all_runs_that_it_has_canceled_get_no_cancel_of_their_own(
    many, cancel, server, line, leave_out, options: dict[str, Any]
) -> None:
    leave_out(*many[10:])
    server.bulk_duration, line.latency = 6.5, 0.5
    work = cancel(many, max_concurrency=1, **options)
    assert set(line.outcomes(work).values()) == {"canceled"}
    begun = len(line.names) - line.names[::-1].index("bulk-check")
    alone = [name for name in line.names[:begun] if name.startswith("cancel")]
    assert 0 < len(alone) < 10
    assert {*line.of("cancel")} == {*alone} | {f"cancel {run_id}" for run_id in many[10:]}
    # Only with ``confirm_from`` a query takes the place of a check.
    assert len({*line.of("check run")}) == (0 if "confirm_from" in options else 30)
    if "confirm_from" in options:
        assert line.at("query")[0] <= line.at("bulk-check")[-1] + line.latency + LAG + PAUSE


@pytest.mark.parametrize("confirm_from", [20, float("inf")])
def test_in_the_second_half_of_the_time_each_run_gets_its_own_cancel_in_place_of_a_check(
    add, many, cancel, line, leave_out, confirm_from: float
) -> None:
    """A server that is overloaded takes 1 s for a check: with one first, most runs would get no cancel."""
    run_ids = [*many, *add(*[f"late_{number}" for number in range(30)])]
    leave_out(*run_ids)
    line.latency = 1.0
    line.fault("bulk-check", *shown("COMPLETED", success=60))
    line.fault("query", "lost", times=3)
    cancel(run_ids, time_limit=120.0, max_concurrency=1, confirm_from=confirm_from)
    canceled_at = line.at("cancel")
    assert len(canceled_at) == 60
    assert canceled_at[-1] < 100
    assert not [at for at in line.at("check") if 62 <= at < canceled_at[-1]]


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
    work = cancel(many)
    assert set(line.outcomes(work).values()) == {"canceled"}
    assert {*line.of("cancel")} == {f"cancel {run_id}" for run_id in many[10:20]}


@pytest.mark.usefixtures("small_parts")
def test_runs_that_are_not_followed_get_a_cancel_of_their_own_besides_and_no_check(
    many, cancel, line
) -> None:
    work = cancel(many, follows=False, confirm_from=20, max_concurrency=1)
    assert line.names == ["bulk"] * 3 + [f"cancel {run_id}" for run_id in many]
    assert (work.finished, work.schedule.accepted) == (True, set(many))


# Failures


@pytest.mark.parametrize(
    ("reply", "requested", "expected"),
    [
        # Rejected: its runs are as new. Where a wait follows, they are checked before their cancel.
        ((404, b"<html>"), [0.0], ("check", 0.0)),
        ((400, {"error": "no"}), [0.0], ("check", 0.0)),
        # Perhaps accepted: a check before is outdated.
        ((500, {"error": "broken"}), [0.0], ("cancel", 0.0)),
        ((503, {"error": "busy"}), [0.0], ("cancel", 0.0)),
        ((200, b"<html>"), [0.0], ("cancel", 0.0)),
        ("lost", [0.0], ("cancel", 0.0)),
        ("no answer", [0.0], ("cancel", 3.0)),
        # Only this one is repeated.
        ((429, {"error": "wait"}, {"retry-after": "2"}), [0.0, 2.0], ("check", 2.5)),
    ],
)
def test_a_bulk_action_that_fails_takes_nothing_from_any_run(
    many, cancel, line, reply: Any, requested: list[float], expected: Any
) -> None:
    line.fault("bulk", *(reply if isinstance(reply, tuple) else (reply,)))
    work = cancel(many, **WAITING, time_limit=36.0)
    assert [at for name, at in line.sent if name == "bulk"] == pytest.approx(requested, abs=0.1)
    name, at = single(line)[0]
    assert (name.split()[0], at) == (expected[0], pytest.approx(expected[1], abs=0.1))
    assert set(line.outcomes(work).values()) == {"canceled"}


@pytest.mark.usefixtures("small_parts")
def test_after_one_without_an_answer_the_runs_of_the_others_are_as_new(many, cancel, line) -> None:
    line.fault("bulk", "lost")
    cancel(many, **WAITING)
    first = {name.split()[1]: name.split()[0] for name, _ in reversed(single(line))}
    assert first == dict.fromkeys(many[:10], "cancel") | dict.fromkeys(many[10:], "check")


def test_checks_of_it_are_repeated_for_some_seconds_and_their_failure_takes_nothing_back(
    many, cancel, line
) -> None:
    busy = (503, {"error": "busy"})
    line.fault("bulk-check", *busy)
    line.fault("bulk-check", *shown(success=3))
    line.fault("bulk-check", *busy, times=99)
    cancel(many)
    assert line.at("bulk-check")[:3] == [0.0, 0.5, 1.0]
    name, at = single(line)[0]
    assert name.startswith("check")
    assert 1.0 < at <= 6.0


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (None, "cancel requested by a bulk action that was not answered, but the status was not checked"),
        (503, "cancel requested by a bulk action that was not answered, but the status was not checked"),
        (403, "not sent"),
        (404, "not sent"),
        (499, "not sent"),
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


def test_runs_that_are_added_are_canceled_in_bulk_where_they_and_all_are_many(
    add, many, prepare, server, line
) -> None:
    late = add(*[f"late_{number}" for number in range(9)])
    work = prepare(many[:1], bulk_from=20)
    work.run(iter([many[:20], many[15:], late]))
    [action] = server.bulk.values()
    assert [run.id for run in action.members] == many[20:]
    assert {*line.of("cancel")} == {f"cancel {run_id}" for run_id in [*many[:20], *late]}


def test_where_a_bulk_action_was_rejected_runs_that_are_added_are_canceled_one_by_one(
    add, many, prepare, server, line, clock
) -> None:
    server.bulk_actions = False
    line.fault("cancel run_00", 503, {"error": "busy"}, {"retry-after": "5"})
    late, work = add(*[f"late_{number}" for number in range(10)]), prepare(many, bulk_from=20)
    clock.after(1.0, lambda: work.schedule.add(late))
    work.run()
    assert line.outcomes(work) == dict.fromkeys([*many, *late], "canceled")
    assert line.names.count("bulk") == 1
