"""Which runs are descendants of the given ones, and what is left to walk."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_trigger.api.models.related_runs import ChildRun
from airflow_provider_trigger.api.models.runs import Run
from airflow_provider_trigger.cancel.search import Trees


def trees(run_ids: str) -> Trees:
    made = Trees()
    made.add(run_ids)
    return made


def rows(*pairs: str, status: str = "EXECUTING") -> list[ChildRun]:
    """Make what a query shows: of ``ba``, that b was started by a."""
    return [ChildRun(run_id, status, parent_id) for run_id, parent_id in map(tuple, pairs)]


def shown(run_id: str, children: str = "", *, root: str | None = None) -> Run:
    related: dict[str, Any] = {"children": [{"id": child, "status": "EXECUTING"} for child in children]}
    related |= {} if root is None else {"root": {"id": root, "status": "EXECUTING"}}
    return Run.from_answer({"id": run_id, "status": "EXECUTING", "relatedRuns": related})


def pairs(found: list[ChildRun]) -> list[str]:
    return sorted(child.id + child.parent_id for child in found)


def test_given_runs_count_once() -> None:
    made = trees("aba")
    assert made.add("bc") == ["c"]
    assert made.roots == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("given", "seen", "found"),
    [
        ("a", ["dc", "cb", "ba", "ea"], ["ba", "cb", "dc", "ea"]),  # whatever their order
        ("b", ["ba", "xa", "yx", "cb"], ["cb"]),  # other branches are left alone
        ("ab", ["ba", "cb"], ["cb"]),  # given runs are no news but lead to others
        ("ab", ["cb", "ba"], ["cb"]),
        ("a", ["cb"], []),  # the row of its parent is missing
        ("a", ["ba", "ab", "bb"], ["ba"]),  # its own ancestor
    ],
)
def test_rows_are_followed_down_from_the_given_runs(given: str, seen: list[str], found: list[str]) -> None:
    made = trees(given)
    assert pairs(made.take(rows(*seen))) == found
    assert made.take(rows(*seen)) == []


def test_below_what_is_known_by_then_new_ones_are_found() -> None:
    made = trees("a")
    assert made.take(rows("cb")) == []
    assert pairs(made.take_run(shown("a", "b"))) == ["ba"]
    assert pairs(made.take(rows("ba", "cb"))) == ["cb"]
    assert pairs(made.take_run(shown("c", "d"))) == ["dc"]
    assert made.take_run(shown("a", "b")) == []


def test_one_that_has_ended_is_walked_and_needs_no_cancel() -> None:
    made = trees("a")
    assert pairs(made.take([*rows("ba", status="EXPIRED"), *rows("cb")])) == ["cb"]
    assert list(made.unwalked) == ["b"]
    assert pairs(made.take_run(shown("b", "d"))) == ["db"]
    assert made.unwalked == {}


def test_the_root_of_a_given_run_is_known_once_a_check_has_shown_it() -> None:
    made = trees("abc")
    for run in (shown("a", "d", root="r"), shown("b", root="r"), shown("c"), shown("d", root="r")):
        made.take_run(run)
    assert made.roots == ["r", "c"]
    assert made.known_roots == {"a", "b", "c", "r"}


def test_a_deep_tree_is_no_recursion() -> None:
    deep = [ChildRun(f"{depth + 1}", "QUEUED", f"{depth}") for depth in range(5000)]
    assert len(trees("0").take(reversed(deep))) == 5000
