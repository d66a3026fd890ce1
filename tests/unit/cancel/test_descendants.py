"""How descendants are found and canceled."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_trigger.api.errors import AuthenticationError
from airflow_provider_trigger.cancel import search


@pytest.fixture
def cancel(prepare):
    def cancel(*run_ids: str, **options: Any) -> Any:
        work = prepare(run_ids, include_descendants=True, **options)
        work.run()
        return work

    return cancel


@pytest.fixture
def no_query(line) -> None:
    """The server is an older one."""
    line.fault("query", 404, b"<html>", times=99)


def grow(add: Any) -> None:
    """Add a parent, two children, and two grandchildren of the first."""
    add("a", status="EXECUTING")
    add("b", "c", status="EXECUTING", parent="a")
    add("d", "e", parent="b")


# When it looks


def test_the_query_follows_the_cancels_and_precedes_the_checks(add, cancel, line) -> None:
    grow(add)
    cancel("a", max_concurrency=1)
    assert line.names[:6] == ["cancel a", "query", "cancel b", "cancel c", "cancel d", "cancel e"]


@pytest.mark.parametrize(
    ("started_at", "queried_at"),
    [
        (None, [0, 1.2, 2.4]),  # until two looks in a row find nothing new
        (2.3, [0, 1.2, 2.4, 3.6, 4.8]),  # a new one lets it look twice more
    ],
)
def test_it_looks_until_nothing_new_is_found(
    add, cancel, line, clock, started_at: float | None, queried_at: list[float]
) -> None:
    add("a")
    if started_at:
        clock.after(started_at, lambda: add("b", parent="a"))
    assert line.outcomes(cancel("a")) == dict.fromkeys("ab" if started_at else "a", "canceled")
    assert line.at("query") == pytest.approx(queried_at)


def test_what_the_query_shows_only_later_is_found(add, cancel, line, server, clock) -> None:
    server.query_lag = 1.7
    add("a", status="EXECUTING")
    clock.after(0.1, lambda: add("b", parent="a"))  # after its parent's only check
    assert line.outcomes(cancel("a")) == {"a": "canceled", "b": "canceled"}


def test_a_look_before_a_cancel_has_arrived_does_not_count(add, cancel, line) -> None:
    line.fault("cancel a", 503, {"error": "busy"}, {"retry-after": "4"})
    cancel(*add("a"))
    assert line.at("query") == pytest.approx([0, 1.2, 2.4, 3.6, 4.8, 6.0])


def test_a_run_that_is_added_is_searched_at_once(add, prepare, line, clock) -> None:
    add("a", "x")
    add("y", parent="x")
    line.fault("check a", 503, {"error": "busy"}, {"retry-after": "9"})
    work = prepare(["a"], include_descendants=True)
    clock.after(2.5, lambda: work.schedule.add(["x", "a"]))
    work.run()
    assert line.outcomes(work) == {"a": "canceled", "x": "canceled", "y": "canceled"}
    assert line.at("query") == pytest.approx([0, 1.2, 2.4, 2.5, 3.7, 4.9])


def test_a_descendant_that_only_a_check_shows_lets_it_look_again(add, cancel, server, line, clock) -> None:
    server.query_lag = 1000
    add("a", status="EXECUTING")
    clock.after(2.5, lambda: add("b", parent="a"))
    work = cancel("a", termination_timeout=20.0, poll_interval=4.0)
    assert line.outcomes(work) == {"a": "canceled", "b": "canceled"}
    assert line.at("query") == pytest.approx([0, 1.2, 2.4, 4.0, 5.2, 6.4])


def test_the_time_limit_ends_the_search(add, cancel, line, clock) -> None:
    begun_at = clock.now
    work = cancel(*add("a"), time_limit=2.0)
    assert line.outcomes(work) == {"a": "canceled"}
    assert clock.now - begun_at <= 2.5
    assert not work.search.is_over


# What it asks for


def test_all_trees_are_in_one_query_by_their_roots(add, cancel, line) -> None:
    add("r")
    add("a", "b", parent="r")
    add("c")
    add("d", parent="a")
    add("other", parent="r")
    assert line.outcomes(cancel("a", "b", "c")) == dict.fromkeys("abcd", "canceled")
    assert line.queries[0].endswith("root_run_id IN ('a','b','c')")
    assert line.queries[-1].endswith("root_run_id IN ('r','c')")


def test_an_id_that_cannot_be_queried_is_left_out(add, cancel, line) -> None:
    assert line.outcomes(cancel(*add("a"), "it's")) == {"a": "canceled", "it's": "not_found"}
    assert {query.partition(" WHERE ")[2] for query in line.queries} == {"root_run_id IN ('a')"}


@pytest.mark.parametrize(("most", "is_cut_off"), [(2, True), (3, False)])
def test_several_queries_are_put_together_where_one_cannot_name_all_roots_or_show_all_runs(
    add, cancel, line, monkeypatch: pytest.MonkeyPatch, most: int, is_cut_off: bool
) -> None:
    monkeypatch.setattr(search, "MAX_QUERIED_RUNS", 1)
    monkeypatch.setattr(search, "MAX_ROWS", most)
    add("a", "b", status="EXECUTING")
    add("c", "d", parent="a")
    add("e", parent="b")
    work = cancel("a", "b")
    assert line.outcomes(work) == dict.fromkeys("abcde", "canceled")
    assert [query.partition(" IN ")[2] for query in line.queries[:2]] == ["('a')", "('b')"]
    assert work.search.is_cut_off is is_cut_off


def test_a_request_takes_a_part_of_the_remaining_time_and_a_query_5_s(add, cancel, line) -> None:
    cancel(*add("a"), max_concurrency=1)
    assert line.timeouts[line.names.index("query")] == 5.0
    cancel("a", max_concurrency=1, time_limit=6.0)
    assert line.timeouts[-len(line.names) + line.names.index("query", 5) :][0] == pytest.approx(2.0)


def test_with_the_query_runs_that_have_ended_cost_no_request(add, cancel, line) -> None:
    add("a", status="COMPLETED")
    add("b", status="COMPLETED", parent="a")
    add("d", parent="b")
    assert line.outcomes(cancel("a")) == {"a": "already_completed", "d": "canceled"}
    assert not [name for name in line.names if name.endswith(" b")]


def test_an_ended_one_that_no_query_shows_is_checked_once_for_its_children(add, cancel, server, line) -> None:
    """The cloud's queries look back some days only."""
    server.query_lag = 1000
    add("a", status="EXECUTING")
    add("old", status="COMPLETED", parent="a")
    add("alive", parent="old")
    assert line.outcomes(cancel("a")) == {"a": "canceled", "alive": "canceled"}
    assert line.of("check old") == ["check old"]


def test_very_many_are_canceled_in_bulk(add, cancel, line) -> None:
    add("a", status="EXECUTING")
    add(*[f"child_{number}" for number in range(30)], parent="a")
    assert set(line.outcomes(cancel("a", bulk_from=20)).values()) == {"canceled"}
    assert line.of("cancel") == ["cancel a"]


# Waiting until they are terminated


@pytest.mark.parametrize(
    ("status", "then", "is_terminated"),
    [
        ("WAITING", [], True),
        ("QUEUED", [(0.3, "EXECUTING")], False),  # it starts between the parent's check and its own cancel
        ("EXECUTING", [], False),
    ],
)
def test_a_child_that_its_parents_check_shows_is_canceled_without_a_check_of_its_own_before(
    add, cancel, line, no_query, status: str, then: list[tuple[float, str]], is_terminated: bool
) -> None:
    """The parent's cancel could arrive first, after which nothing shows whether a worker had the child."""
    line.latency = 0.5
    add("a", status="WAITING")
    add("b", status=status, then=then, parent="a")
    work = cancel("a", termination_timeout=5.0)
    assert [result.terminated for result in work.results] == [True, is_terminated]
    assert line.names.index("check a") < line.names.index("cancel a")
    assert line.names.index("cancel b") < line.names.index("check b")


def test_a_child_that_only_the_query_shows_is_checked_before(add, cancel, line) -> None:
    add("a")
    add("b", status="WAITING", parent="a")
    line.fault("check a", 200, {"id": "a", "status": "QUEUED", "taskIdentifier": "t"})
    cancel("a", termination_timeout=5.0)
    assert line.names.index("check b") < line.names.index("cancel b")


# Where the query fails

BUSY = (429, {"error": "You've exceeded your query concurrency of 3 for this project."})
LOST, NO_ANSWER = ("lost",), ("no answer",)


@pytest.mark.parametrize(
    ("reply", "times", "queries"),
    [
        # So many queries, after which checks take its place; None for one that is repeated until it works.
        ((404, b"<html>"), 20, 1),  # an older server
        ((403, {"error": "Forbidden"}), 20, 1),
        ((400, {"error": "connect ECONNREFUSED"}), 20, 1),  # its database is down
        ((200, {"results": "?"}), 20, 3),  # another product
        (NO_ANSWER, 20, 1),  # another one would take as long
        ((500, {"error": "Internal"}), 20, 3),
        (BUSY, 20, 3),
        (LOST, 20, 3),
        (BUSY, 2, None),
    ],
)
def test_a_query_that_fails_is_repeated_as_its_failure_may_pass_and_then_checks_find_all(
    add, cancel, line, reply: Any, times: int, queries: int | None
) -> None:
    grow(add)
    add("old", status="COMPLETED", parent="a")
    line.fault("query", *reply, times=times)
    work = cancel("a")
    assert line.outcomes(work) == dict.fromkeys("abcde", "canceled")
    assert (work.search.query_error is None) is (queries is None)
    assert queries in (None, len(line.of("query")))
    assert bool(line.of("check old")) is (queries is not None)
    assert (work.search.unreadable, work.search.is_over) == ({}, True)


@pytest.mark.parametrize(("reply", "times"), [(400, []), ("lost", [1.1, 2.1])])
def test_children_of_runs_that_only_a_query_has_confirmed_are_found_where_looks_have_given_it_up(
    add, cancel, line, clock, reply: Any, times: list[float]
) -> None:
    add("a", "x", "y")
    add("b", parent="a")
    line.fault("query", reply, {"error": "down"})
    for at in times:
        clock.after(at, lambda: line.fault("query", reply, {"error": "down"}))
    work = cancel("a", "x", "y", confirm_from=2)
    assert line.outcomes(work) == dict.fromkeys("axyb", "canceled")
    assert work.search.query_error is not None


def test_only_failures_in_a_row_end_the_query(add, cancel, line, clock) -> None:
    line.fault("query", 500, {"error": "broken"})
    clock.after(1.3, lambda: line.fault("query", 500, {"error": "broken"}))
    work = cancel(*add("a"))
    assert line.at("query") == pytest.approx([0, 1.2, 2.4, 3.6, 4.8])
    assert work.search.query_error is None


@pytest.mark.usefixtures("no_query")
def test_without_the_query_a_run_whose_worker_has_it_is_looked_at_again(add, cancel, line, clock) -> None:
    add("a", status="EXECUTING")
    clock.after(0.1, lambda: add("b", parent="a"))
    assert line.outcomes(cancel("a")) == {"a": "canceled", "b": "canceled"}
    assert len(line.of("check a")) >= 3
    assert line.of("check b") == ["check b"]  # it was QUEUED, so that it cannot start others


@pytest.mark.usefixtures("no_query")
def test_without_the_query_several_threads_check_what_has_ended(add, cancel, line) -> None:
    line.latency = 1.0
    add("a")
    add(*[f"ended_{number:02}" for number in range(25)], status="COMPLETED", parent="a")
    add("b", parent="ended_24")
    line.fault("check ended_00", 500, {"error": "broken"}, times=99)
    work = cancel("a")
    assert line.outcomes(work) == {"a": "canceled", "b": "canceled"}
    first_tries = {name: at for name, at in reversed(line.sent) if name.startswith("check ended")}
    assert len(first_tries) == 25
    assert len({*first_tries.values()}) == 1
    assert list(work.search.unreadable) == ["ended_00"]
    assert str(work.search.unreadable["ended_00"]).endswith("answered 500: broken")


@pytest.mark.usefixtures("no_query")
@pytest.mark.parametrize(("status", "times"), [(500, 1), (404, 99)])
def test_what_was_checked_later_or_has_vanished_is_not_unreadable(
    add, cancel, line, status: int, times: int
) -> None:
    add("a")
    add("b", status="COMPLETED", parent="a")
    add("c", parent="b")
    line.fault("check b", status, {"error": "Not found"}, times=times)
    work = cancel("a")
    assert line.outcomes(work) == dict.fromkeys("ac" if status == 500 else "a", "canceled")
    assert work.search.unreadable == {}


def test_a_rejected_key_ends_the_search(add, cancel, line) -> None:
    add("a")
    for name in ("query", "check a"):
        line.fault(name, 401, {"error": "Invalid API key"}, times=9)
    with pytest.raises(AuthenticationError):
        cancel("a")
