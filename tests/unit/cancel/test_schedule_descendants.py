"""How descendants are found and canceled, by the clock of the test."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_trigger.api.errors import AnswerTimeoutError, TransportError
from airflow_provider_trigger.cancel import search as module
from airflow_provider_trigger.cancel.jobs import Job


@pytest.fixture
def plan_all(plan):
    return lambda *run_ids, **settings: plan(run_ids, include_descendants=True, **settings)


@pytest.fixture
def queried_at(server):
    """When the query was sent, in seconds."""
    return lambda: [round(at - server.begun, 3) for name, at in server.log if name == "query"]


@pytest.fixture(autouse=True)
def begun(server, clock) -> None:
    server.begun = clock.now


def outcomes(results) -> dict[str, str]:
    return {result.run_id: result.outcome.value for result in results}


def grow(server, *, status: str = "EXECUTING") -> None:
    """Add a parent, two children, and two grandchildren of the first."""
    server.add("a", status=status)
    server.add("b", "c", status=status, parent="a")
    server.add("d", "e", status="QUEUED", parent="b")


def test_the_query_follows_the_cancels_and_precedes_the_checks(plan_all, server) -> None:
    grow(server)
    plan_all("a").run()
    assert server.names[:2] == ["cancel a", "query"]
    assert server.names[2:6] == ["cancel b", "cancel c", "cancel d", "cancel e"]


def test_it_looks_until_two_looks_in_a_row_find_nothing_new(plan_all, server, queried_at) -> None:
    server.add("a")
    plan_all("a").run()
    assert queried_at() == [0, 1.2, 2.4]


def test_a_new_descendant_lets_it_look_twice_more(plan_all, server, clock, queried_at) -> None:
    server.add("a")
    driver = plan_all("a")

    def show_one_more(_: float) -> Any:
        server.add("b", parent="a")
        return server.answer(server.requests[-1])

    as_usual = [lambda _: server.answer(server.requests[-1])] * 2
    server.instead["query"] = [*as_usual, show_one_more]
    assert outcomes(driver.run()) == {"a": "canceled", "b": "canceled"}
    assert queried_at() == [0, 1.2, 2.4, 3.6, 4.8]


def test_what_the_query_shows_only_later_is_found(plan_all, server) -> None:
    server.query_lag = 1.7
    server.add("a", status="EXECUTING")

    def start_one(_: float) -> Any:
        answer = server.answer(server.requests[-1])
        server.add("b", parent="a")  # after its parent's only check
        return answer

    server.instead["check a"] = [start_one]
    assert outcomes(plan_all("a").run()) == {"a": "canceled", "b": "canceled"}


def test_a_look_before_a_cancel_has_arrived_does_not_count(plan_all, server, clock, queried_at) -> None:
    server.add("a")
    driver = plan_all("a")
    job = driver.begin()
    assert driver.name(job) == "cancel a"
    for _ in range(4):
        driver.do(driver.take())
        clock.now += 1.2
    driver.finish(job)
    driver.run()
    assert queried_at() == [0, 1.2, 2.4, 3.6, 4.8, 6.0]


def test_further_runs_are_searched_at_once(plan_all, server, clock, queried_at) -> None:
    server.add("a", "x")
    server.add("y", parent="x")
    driver = plan_all("a")
    driver.schedule.awaits_more = True
    while isinstance(job := driver.schedule.take(), (Job, float)) and job != float("inf"):
        if isinstance(job, Job):
            driver.do(job)
        else:
            clock.now += job
    assert queried_at() == [0, 1.2, 2.4]
    clock.now += 10
    driver.schedule.add(["x", "a"])
    driver.schedule.awaits_more = False
    assert outcomes(driver.run()) == {"a": "canceled", "x": "canceled", "y": "canceled"}
    assert queried_at()[3:] == [12.4, 13.6, 14.8]


def test_all_trees_are_in_one_query_by_their_roots(plan_all, server) -> None:
    server.add("r")
    server.add("a", "b", parent="r")
    server.add("c")
    server.add("d", parent="a")
    server.add("other", parent="r")
    results = plan_all("a", "b", "c").run()
    assert outcomes(results) == dict.fromkeys("abcd", "canceled")
    queries = [request.json["query"] for request in server.requests if request.json]
    assert queries[0].endswith("root_run_id IN ('a','b','c')")
    assert queries[-1].endswith("root_run_id IN ('r','c')")


def test_more_roots_than_a_query_names_are_queried_one_query_after_another(
    plan_all, server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_QUERIED_RUNS", 2)
    server.add("a", "b", "c")
    server.add("d", parent="c")
    assert outcomes(plan_all("a", "b", "c").run())["d"] == "canceled"
    queries = [request.json["query"] for request in server.requests if request.json]
    assert [query.partition(" IN ")[2] for query in queries[:2]] == ["('a','b')", "('c')"]


def test_an_id_that_cannot_be_queried_is_left_out(plan_all, server) -> None:
    server.add("a")
    driver = plan_all("a", "it's")
    assert outcomes(driver.run()) == {"a": "canceled", "it's": "not_found"}


STARTED = "2026-11-25T09:00:00Z"


def test_a_suspended_child_that_its_parents_check_shows_needs_no_check_before(plan_all, server) -> None:
    """The parent's cancel could arrive first, after which nothing shows that no worker had the child."""
    server.instead["query"] = [TransportError("lost")] * 9
    server.add("a", status="WAITING", startedAt=STARTED, attemptCount=1)
    server.add("b", status="WAITING", startedAt=STARTED, attemptCount=1, parent="a")
    results = plan_all("a", termination_timeout=90.0).run()
    assert [(result.run_id, result.terminated) for result in results] == [("a", True), ("b", True)]
    names = [name for name in server.names if name.endswith((" a", " b"))]
    assert names[:2] == ["check a", "cancel a"]
    assert names.index("cancel b") < names.index("check b")


def test_a_child_that_started_again_after_its_parents_check_is_waited_for(plan_all, server) -> None:
    server.instead["query"] = [TransportError("lost")] * 9
    server.add("a", status="WAITING", startedAt=STARTED)
    server.add("b", status="QUEUED", parent="a")
    server.becomes["b"] = [{"startedAt": STARTED}]
    results = plan_all("a", termination_timeout=5.0).run()
    assert [result.terminated for result in results] == [True, False]


def test_a_child_that_a_worker_has_when_its_parents_check_shows_it_is_waited_for(plan_all, server) -> None:
    server.instead["query"] = [TransportError("lost")] * 9
    server.add("a", status="WAITING", startedAt=STARTED)
    server.add("b", status="EXECUTING", startedAt=STARTED, parent="a")
    results = plan_all("a", termination_timeout=5.0).run()
    assert outcomes(results) == {"a": "canceled", "b": "canceled"}
    assert [result.terminated for result in results] == [True, False]


def test_a_child_that_only_the_query_shows_is_checked_before(plan_all, server, response) -> None:
    server.add("a", status="QUEUED")
    server.add("b", status="WAITING", startedAt=STARTED, attemptCount=1, parent="a")
    without = {"id": "a", "status": "QUEUED", "taskIdentifier": "t"}
    server.instead["check a"] = [response(200, without)]
    results = plan_all("a", termination_timeout=90.0).run()
    assert results[1].terminated
    assert server.names.index("check b") < server.names.index("cancel b")


def test_very_many_descendants_are_canceled_in_bulk(plan_all, server) -> None:
    server.add("a")
    server.add(*[f"child_{number}" for number in range(400)], parent="a")
    results = plan_all("a").run()
    assert set(outcomes(results).values()) == {"canceled"}
    assert "bulk" in server.names
    assert len([name for name in server.names if name.startswith("cancel")]) == 1


def test_the_time_limit_ends_the_search(plan_all, server, clock) -> None:
    server.add("a")
    driver = plan_all("a", time_limit=2.0)
    assert outcomes(driver.run()) == {"a": "canceled"}
    assert clock.now - server.begun <= 2.0
    assert not driver.schedule.search.is_over


# Without the query

REASONS = {
    "an older server": lambda response: response(404, b"<html>"),
    "no permission": lambda response: response(403, {"error": "Forbidden"}),
    "its database is down": lambda response: response(400, {"error": "connect ECONNREFUSED"}),
    "broken": lambda response: response(500, {"error": "Internal"}),
    "another product": lambda response: response(200, {"results": "?"}),
}


@pytest.fixture(params=REASONS)
def no_query(request: pytest.FixtureRequest, server, response) -> None:
    server.instead["query"] = [REASONS[request.param](response)] * 20


def test_without_the_query_it_walks_from_run_to_run(no_query, plan_all, server) -> None:
    grow(server)
    driver = plan_all("a")
    assert outcomes(driver.run()) == dict.fromkeys("abcde", "canceled")
    search = driver.schedule.search
    assert search.query_error is not None
    assert search.unreadable == {}
    assert search.is_over
    assert server.names.count("query") <= 2


def test_with_the_query_runs_that_have_ended_cost_no_request(plan_all, server) -> None:
    server.add("a", status="COMPLETED")
    server.add("b", status="COMPLETED", parent="a")
    server.add("d", parent="b")
    assert outcomes(plan_all("a").run()) == {"a": "already_completed", "d": "canceled"}
    assert not [name for name in server.names if name.endswith(" b")]


def test_without_the_query_a_run_whose_worker_has_it_is_looked_at_again(no_query, plan_all, server) -> None:
    started = {"status": "EXECUTING", "startedAt": "2026-11-25T09:00:00Z"}
    server.add("a", **started)

    def start_one(_: float) -> Any:
        answer = server.answer(server.requests[-1])
        server.add("b", parent="a")
        return answer

    server.instead["check a"] = [start_one]
    assert outcomes(plan_all("a").run()) == {"a": "canceled", "b": "canceled"}
    assert server.names.count("check a") >= 3
    assert server.names.count("check b") == 1  # it was QUEUED, so that it cannot start others


def test_a_check_that_succeeds_later_leaves_nothing_unreadable(plan_all, server, response) -> None:
    server.instead["query"] = [response(404, b"<html>")]
    server.add("a")
    server.add("b", status="COMPLETED", parent="a")
    server.add("c", parent="b")
    server.instead["check b"] = [response(500, {"error": "broken"})]
    driver = plan_all("a")
    assert outcomes(driver.run()) == {"a": "canceled", "c": "canceled"}
    assert driver.schedule.search.unreadable == {}


def test_an_ended_run_that_vanishes_is_not_unreadable(plan_all, server, response) -> None:
    server.instead["query"] = [response(404, b"<html>")]
    server.add("a")
    server.add("b", status="COMPLETED", parent="a")
    server.instead["check b"] = [response(404, {"error": "Not found"}, x_should_retry="false")] * 20
    driver = plan_all("a")
    driver.run()
    assert driver.schedule.search.unreadable == {}


# A query that fails in passing


def test_a_busy_query_is_repeated(plan_all, server, response) -> None:
    server.add("a")
    server.add("b", parent="a", status="COMPLETED")
    server.add("c", parent="b")
    busy = response(429, {"error": "You've exceeded your query concurrency of 3 for this project."})
    server.instead["query"] = [busy] * 3
    driver = plan_all("a")
    assert outcomes(driver.run()) == {"a": "canceled", "c": "canceled"}
    assert driver.schedule.search.query_error is None
    assert server.names.count("check b") == 0


def test_a_query_that_stays_busy_has_failed(plan_all, server, response) -> None:
    server.add("a")
    server.instead["query"] = [response(429, {"error": "busy"})] * 50
    driver = plan_all("a")
    driver.run()
    assert driver.schedule.search.query_error is not None
    assert server.names.count("query") == 5


def test_a_lost_connection_is_not_the_end_of_the_query(plan_all, server) -> None:
    server.add("a")
    server.instead["query"] = [TransportError("connection lost")] * 3
    driver = plan_all("a")
    driver.run()
    assert driver.schedule.search.query_error is None


def test_a_query_may_take_five_seconds(plan_all, server, clock) -> None:
    server.add("a")
    timeouts: list[float] = []

    def answer(timeout: float) -> Any:
        timeouts.append(timeout)
        return server.answer(server.requests[-1])

    server.instead["query"] = [answer]
    plan_all("a").run()
    assert timeouts == [5.0]


def test_a_query_without_an_answer_is_not_repeated(plan_all, server) -> None:
    server.add("a")
    server.instead["query"] = [AnswerTimeoutError("no answer")] * 5
    driver = plan_all("a")
    driver.run()
    assert server.names.count("query") == 1
    assert driver.schedule.search.query_error is not None


def test_a_rejected_key_ends_the_search(plan_all, server, response) -> None:
    server.add("a")
    rejected = response(401, {"error": "Invalid API key"})
    server.instead["query"] = [rejected] * 9
    server.instead["check a"] = [rejected] * 9
    driver = plan_all("a")
    driver.run()
    assert driver.schedule.rejection is not None
