"""When the search looks, and with what; whole cancellations with it are in test_schedule_descendants.py."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from airflow_provider_trigger.api.deadline import NEVER, Deadline
from airflow_provider_trigger.api.errors import TriggerDevError
from airflow_provider_trigger.api.exchange import Send
from airflow_provider_trigger.api.models.related_runs import ChildRun
from airflow_provider_trigger.api.models.runs import Run
from airflow_provider_trigger.cancel import search as module
from airflow_provider_trigger.cancel.search import Look, Search, look_steps


class Plan:
    """A search, and when each look is to begin."""

    def __init__(self, *run_ids: str) -> None:
        self.put: list[tuple[Look, float]] = []
        self.search = Search(lambda look, at: self.put.append((look, at)))
        self.search.add(run_ids, now=0.0)

    @property
    def put_at(self) -> list[float]:
        return [round(at, 3) for _, at in self.put]

    def begin(self) -> Look:
        """Begin the last look that was put."""
        look, at = self.put[-1]
        self.search.begin(look, may_have_children=(), is_early=False, now=at)
        return look

    def look(self, *, error: TriggerDevError | None = None, is_cut_off: bool = False) -> list[ChildRun]:
        """Do the last look that was put; it shows nothing."""
        look, at = self.begin(), self.put[-1][1]
        look.is_cut_off = is_cut_off
        return self.search.finish(look, error, now=at)

    def look_to_the_end(self) -> None:
        while not self.search.is_over:
            assert len(self.put) < 50
            self.look()

    def show(self, run: Run, *, now: float) -> list[str]:
        return [child.id for child in self.search.take_run(run, now=now)]


def shown(
    run_id: str, children: Iterable[str] = (), *, status: str = "EXECUTING", root: str | None = None
) -> Run:
    related: dict[str, Any] = {"children": [{"id": child, "status": status} for child in children]}
    related |= {} if root is None else {"root": {"id": root, "status": "EXECUTING"}}
    return Run.from_answer({"id": run_id, "status": "EXECUTING", "relatedRuns": related})


@pytest.fixture
def without_query(error) -> Plan:
    """A search of the run a that has just found that the query does not work."""
    plan = Plan("a")
    plan.look(error=error("permanent"))
    return plan


# When


def test_a_check_without_news_takes_no_news_from_a_look_in_progress() -> None:
    plan = Plan("a")
    look = plan.begin()
    plan.show(shown("a"), now=0.1)
    plan.search.finish(look, None, now=0.2)
    plan.look_to_the_end()
    assert plan.put_at == [0, 1.2, 2.4]


def test_a_descendant_that_a_check_shows_between_two_looks_lets_it_look_twice_more() -> None:
    plan = Plan("a")
    plan.look()
    assert plan.show(shown("a", ["b"]), now=0.5) == ["b"]
    plan.look_to_the_end()
    assert plan.put_at == [0, 1.2, 2.4, 3.6]


@pytest.mark.parametrize(("now", "expected"), [(2.5, [3.6, 4.8, 6.0]), (10.0, [10.0, 11.2, 12.4])])
def test_a_descendant_that_a_check_shows_after_the_last_look_lets_it_look_again(
    now: float, expected: list[float]
) -> None:
    plan = Plan("a")
    plan.look_to_the_end()
    assert plan.show(shown("a", ["b"]), now=now) == ["b"]
    assert not plan.search.is_over
    plan.look_to_the_end()
    assert plan.put_at == [0, 1.2, 2.4, *expected]


def test_each_tree_whose_root_only_a_check_shows_lets_it_look_again() -> None:
    plan = Plan("a", "b")
    for run in (shown("a", root="r"), shown("b", root="s")):
        plan.look_to_the_end()
        plan.show(run, now=100.0)
        assert not plan.search.is_over
    plan.look_to_the_end()
    plan.show(shown("b", root="s"), now=200.0)
    assert plan.search.is_over


def test_an_ended_descendant_that_no_query_shows_is_checked_once_for_its_children() -> None:
    """The cloud's queries look back some days only."""
    plan = Plan("a")
    plan.show(shown("a", ["old", "new"], status="COMPLETED"), now=0.0)
    look = plan.begin()
    assert (look.roots, look.run_ids) == (["a"], [])
    look.children = [ChildRun("new", "COMPLETED", "a")]
    plan.search.finish(look, None, now=0.1)
    look = plan.begin()
    assert (look.roots, look.run_ids) == (["a"], ["old"])
    look.runs = [shown("old", ["alive"])]
    assert [child.id for child in plan.search.finish(look, None, now=1.3)] == ["alive"]
    plan.look_to_the_end()
    assert not any(look.run_ids for look, _ in plan.put[2:])


def test_a_run_that_is_added_is_looked_for_at_once_although_a_look_has_just_ended() -> None:
    plan = Plan("a")
    plan.look_to_the_end()
    plan.search.add(["b"], now=2.5)
    assert plan.put_at == [0, 1.2, 2.4, 2.5]


# Without the query


def test_once_the_query_does_not_work_checks_take_its_place_at_once(without_query: Plan) -> None:
    assert without_query.put_at == [0, 0]
    without_query.look_to_the_end()
    assert without_query.put_at == [0, 0, 1.2, 2.4]


def test_the_parts_of_a_look_share_its_checks_and_are_followed_by_one_look(without_query: Plan) -> None:
    plan, ended = without_query, [f"ended_{number}" for number in range(25)]
    plan.show(shown("a", ended, status="COMPLETED"), now=0.0)
    first = plan.begin()
    parts = [first, *(look for look, _ in plan.put[2:])]
    for part in parts[1:]:
        plan.search.begin(part, may_have_children=(), is_early=False, now=0.1)
    assert plan.put_at == [0] * 4
    assert [len(part.run_ids) for part in parts] == [10, 10, 5]
    assert [run_id for part in parts for run_id in part.run_ids] == ended
    for part in parts:
        assert not plan.search.is_over
        assert plan.put_at == [0] * 4
        part.runs += [shown(run_id) for run_id in part.run_ids]
        plan.search.finish(part, None, now=0.2)
    assert plan.put_at == [0] * 4 + [1.2]


def test_a_run_that_one_part_of_a_look_could_not_check_stays_unreadable_after_another(
    without_query: Plan, error
) -> None:
    plan, failure = without_query, error("server")
    plan.show(shown("a", [f"ended_{number}" for number in range(11)], status="COMPLETED"), now=0.0)
    first = plan.begin()
    second = plan.put[-1][0]
    first.unreadable["ended_0"] = failure
    for part in (first, second):
        plan.search.finish(part, None, now=0.1)
    assert plan.search.unreadable == {"ended_0": failure}


def test_only_failures_in_a_row_end_the_query(error) -> None:
    plan = Plan("a")
    for failure in (error("server"), None, error("server"), None):
        plan.look(error=failure)
    assert plan.search.query_error is None
    for failure in (error("server"), error("server")):
        plan.look(error=failure)
    assert plan.search.query_error is not None


# What may be missing


@pytest.mark.parametrize("are_cut_off", [[False, False], [True, False], [False, True]])
def test_it_is_cut_off_if_any_look_was(are_cut_off: list[bool]) -> None:
    plan = Plan("a")
    for is_cut_off in are_cut_off:
        plan.look(is_cut_off=is_cut_off)
    assert plan.search.is_cut_off is any(are_cut_off)


# Requests


@pytest.fixture
def send(exchange, server):
    """Send all requests of a look."""

    def send(look: Look) -> None:
        steps, reply = look_steps(exchange, look, deadline=NEVER), None
        while (step := next_step(steps, reply)) is not None:
            reply = server.send(step)

    return send


def next_step(steps: Any, reply: Any) -> Send | None:
    try:
        step = steps.send(reply)
    except StopIteration:
        return None
    assert isinstance(step, Send)
    return step


@pytest.mark.parametrize("look", [Look(roots=["a"]), Look(run_ids=["a"])], ids=["query", "check"])
def test_a_request_takes_no_more_than_a_part_of_the_remaining_time(exchange, clock, look: Look) -> None:
    step = next_step(look_steps(exchange, look, deadline=Deadline(clock.now + 6.0)), None)
    assert step is not None
    assert step.timeout == pytest.approx(2.0)


@pytest.mark.parametrize("roots", [["a", "b"], ["b", "a"]])
@pytest.mark.parametrize(("most", "is_cut_off"), [(2, True), (3, False)])
def test_what_several_queries_show_is_put_together(
    send, server, monkeypatch: pytest.MonkeyPatch, roots: list[str], most: int, is_cut_off: bool
) -> None:
    monkeypatch.setattr(module, "MAX_QUERIED_RUNS", 1)
    monkeypatch.setattr(module, "MAX_ROWS", most)
    server.add("a", "b")
    server.add("c", "d", parent="a")
    server.add("e", parent="b")
    look = Look(roots=roots)
    send(look)
    assert server.names == ["query"] * 2
    assert sorted(child.id for child in look.children) == ["c", "d", "e"]
    assert look.is_cut_off is is_cut_off


def test_a_check_that_fails_is_kept_with_its_reason_and_the_others_follow(send, server, response) -> None:
    server.instead["check a"] = [response(500, {"error": "broken"})]
    look = Look(run_ids=[*server.add("a"), "unknown", *server.add("b")])
    send(look)
    assert [run.id for run in look.runs] == ["b"]
    assert list(look.unreadable) == ["a"]
    assert str(look.unreadable["a"]).endswith("answered 500: broken")
