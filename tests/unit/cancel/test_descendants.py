"""How descendants are found and canceled."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture
def cancel(prepare):
    def cancel(*run_ids: str, **options: Any) -> Any:
        work = prepare(run_ids, include_descendants=True, **options)
        work.run()
        return work

    return cancel


def test_each_check_shows_what_to_cancel_next_and_the_results_say_of_whom(add, cancel, line) -> None:
    add("a", status="EXECUTING")
    add("b", "c", status="EXECUTING", parent="a")
    add("d", "e", parent="b")
    work = cancel("c", "a", max_concurrency=1)
    assert line.outcomes(work) == dict.fromkeys("cabde", "canceled")
    assert [one.parent_run_id for one in work.results] == [None, None, "a", "b", "b"]
    assert sorted(line.of("cancel")) == [f"cancel {name}" for name in "abcde"]
    assert (work.finished, work.unsearched) == (True, [])


@pytest.mark.parametrize(
    ("started", "checked_at"),
    [
        ([], [0, 1.2, 2.4]),
        ([0.1], [0, 1.2, 2.4, 3.6]),  # a new one lets it look longer
        ([0.1, 2.5], [0, 1.2, 2.4, 3.6, 4.8, 6.0]),
    ],
)
def test_a_run_whose_worker_has_it_is_checked_until_it_starts_nothing_new(
    add, cancel, line, clock, started: list[float], checked_at: list[float]
) -> None:
    add("a", status="EXECUTING", acknowledge_after=60)
    for at in started:
        clock.after(at, lambda at=at: add(f"b{at}", parent="a"))
    work = cancel("a")
    assert line.outcomes(work) == dict.fromkeys(["a", *(f"b{at}" for at in started)], "canceled")
    assert line.at("check a") == pytest.approx(checked_at)


def test_of_runs_that_had_ended_only_the_descendants_are_canceled(add, cancel, line) -> None:
    add("a", status="COMPLETED")
    add("b", status="COMPLETED", parent="a")
    add("d", parent="b")
    assert line.outcomes(cancel("a")) == {"a": "already_completed", "d": "canceled"}
    assert (line.of("cancel b"), line.of("check b")) == ([], ["check b"])


def test_very_many_are_canceled_in_bulk(add, cancel, line, server) -> None:
    server.bulk_rate = None
    add("a", status="EXECUTING")
    children = add(*[f"child_{number}" for number in range(30)], parent="a")
    add("grandchild", parent="child_7")
    work = cancel("a", bulk_from=20)
    assert line.outcomes(work) == dict.fromkeys(["a", *children, "grandchild"], "canceled")
    assert line.of("cancel") == ["cancel a", "cancel grandchild"]


def test_a_run_that_is_added_is_searched_too(add, prepare, line) -> None:
    add("a", "x")
    add("y", parent="x")
    work = prepare(["a"], include_descendants=True)
    work.run(iter([["x", "a"]]))
    assert line.outcomes(work) == {"a": "canceled", "x": "canceled", "y": "canceled"}


@pytest.mark.parametrize(("status", "is_missing"), [(403, True), (404, True), (None, False)])
def test_what_may_be_missing_is_said(add, cancel, line, status: int | None, is_missing: bool) -> None:
    add("a", status="COMPLETED")
    add("b", status="COMPLETED", parent="a")
    if status:
        line.fault("check b", status, {"error": "no"}, times=99)
    work = cancel("a")
    assert line.outcomes(work) == {"a": "already_completed"}
    assert [one.partition(" (")[0] for one in work.unsearched] == (
        ["these runs could not be checked: b"] if is_missing else []
    )


def test_the_time_limit_ends_the_search(add, cancel, line, clock) -> None:
    begun_at = clock.now
    work = cancel(*add("a", status="EXECUTING"), time_limit=2.0)
    assert line.outcomes(work) == {"a": "canceled"}
    assert clock.now - begun_at <= 2.5
    assert work.unsearched == ["the search was not finished"]


def test_while_termination_is_waited_for_what_a_run_starts_is_canceled(add, cancel, line, clock) -> None:
    add("a", status="EXECUTING", acknowledge_after=15)
    clock.after(8.5, lambda: add("b", parent="a"))
    work = cancel("a", termination_timeout=20.0, poll_interval=4.0)
    assert line.outcomes(work) == {"a": "canceled", "b": "canceled"}
    assert [result.terminated for result in work.results] == [True, True]
