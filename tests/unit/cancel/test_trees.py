"""Which runs are descendants of the given ones, and what is left to walk."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_trigger.api.models.related_runs import ChildRun
from airflow_provider_trigger.api.models.runs import Run
from airflow_provider_trigger.cancel.search import Trees


def trees(*run_ids: str) -> Trees:
    made = Trees()
    made.add(run_ids)
    return made


def shown(run_id: str, *children: str, status: str = "EXECUTING", root: str | None = None) -> Run:
    related: dict[str, Any] = {"children": [{"id": child, "status": status} for child in children]}
    related |= {} if root is None else {"root": {"id": root, "status": "EXECUTING"}}
    return Run.from_answer({"id": run_id, "status": "EXECUTING", "relatedRuns": related})


def rows(*pairs: tuple[str, str], status: str = "EXECUTING") -> list[ChildRun]:
    return [ChildRun(run_id, status, parent_id) for run_id, parent_id in pairs]


def ids(found: list[ChildRun]) -> list[tuple[str, str]]:
    return sorted((child.id, child.parent_id) for child in found)


def test_given_runs_count_once() -> None:
    made = Trees()
    assert made.add(["a", "b", "a"]) == ["a", "b"]
    assert made.add(["b", "c"]) == ["c"]
    assert made.roots == ["a", "b", "c"]


def test_a_check_shows_children() -> None:
    made = trees("a")
    assert ids(made.take_run(shown("a", "b", "c"))) == [("b", "a"), ("c", "a")]
    assert ids(made.take_run(shown("b", "d"))) == [("d", "b")]
    assert made.take_run(shown("a", "b", "c")) == []


def test_rows_are_followed_down_whatever_their_order() -> None:
    made = trees("a")
    assert ids(made.take(rows(("d", "c"), ("c", "b"), ("b", "a"), ("e", "a")))) == [
        ("b", "a"),
        ("c", "b"),
        ("d", "c"),
        ("e", "a"),
    ]
    assert made.take(rows(("b", "a"), ("c", "b"))) == []


def test_below_a_run_that_is_known_already_new_ones_are_found() -> None:
    made = trees("a")
    made.take(rows(("b", "a")))
    assert ids(made.take(rows(("b", "a"), ("c", "b")))) == [("c", "b")]
    assert ids(made.take(rows(("d", "c")))) == [("d", "c")]


def test_other_branches_of_the_tree_are_left_alone() -> None:
    made = trees("b")
    assert ids(made.take(rows(("b", "a"), ("x", "a"), ("y", "x"), ("c", "b")))) == [("c", "b")]


def test_a_row_whose_parent_is_missing_is_found_once_that_is_known() -> None:
    made = trees("a")
    late = rows(("c", "b"))
    assert made.take(late) == []
    made.take_run(shown("a", "b"))
    assert ids(made.take(late)) == [("c", "b")]


@pytest.mark.parametrize("pairs", [[("b", "a"), ("c", "b")], [("c", "b"), ("b", "a")]])
def test_given_runs_that_are_descendants_are_no_news_but_lead_to_others(pairs: list[tuple[str, str]]) -> None:
    made = trees("a", "b")
    assert ids(made.take(rows(*pairs))) == [("c", "b")]


@pytest.mark.parametrize("status", ["COMPLETED", "FAILED", "EXPIRED"])
def test_a_descendant_that_has_ended_is_only_walked(status: str) -> None:
    made = trees("a")
    made.take(rows(("b", "a"), status=status))
    assert list(made.unwalked) == ["b"]
    assert ids(made.take_run(shown("b", "c"))) == [("c", "b")]
    assert made.unwalked == {}


def test_below_a_descendant_that_has_ended_rows_are_followed() -> None:
    made = trees("a")
    assert ids(made.take([*rows(("b", "a"), status="COMPLETED"), *rows(("c", "b"))])) == [("c", "b")]


@pytest.mark.parametrize("status", ["CANCELED", "QUEUED", "WAITING", "A_NEW_WORD"])
def test_a_descendant_that_a_worker_may_have_needs_a_cancel(status: str) -> None:
    assert ids(trees("a").take(rows(("b", "a"), status=status))) == [("b", "a")]


def test_the_root_is_known_once_a_check_has_shown_it() -> None:
    made = trees("a", "b", "c")
    made.take_run(shown("a", root="r"))
    made.take_run(shown("b", root="r"))
    made.take_run(shown("c"))
    assert made.roots == ["r", "c"]
    assert made.known_roots == {"a", "b", "c", "r"}


def test_the_root_of_a_descendant_is_that_of_its_given_run() -> None:
    made = trees("a")
    made.take_run(shown("a", "b"))
    made.take_run(shown("b", root="a"))
    assert made.roots == ["a"]


def test_a_run_that_is_its_own_ancestor_ends_the_walk() -> None:
    assert ids(trees("a").take(rows(("b", "a"), ("a", "b"), ("b", "b")))) == [("b", "a")]


def test_a_deep_tree_is_no_recursion() -> None:
    deep = rows(*[(f"{depth + 1}", f"{depth}") for depth in range(5000)])
    assert len(trees("0").take(reversed(deep))) == 5000
