"""Which runs are descendants of the given ones."""

from __future__ import annotations

import pytest

from airflow_provider_trigger.api.models import ChildRun
from airflow_provider_trigger.cancel.search import Trees


def trees(run_ids: str) -> Trees:
    made = Trees()
    made.add(run_ids)
    return made


def rows(*pairs: str) -> list[ChildRun]:
    """Make what a query shows: of ``ba``, that b was started by a."""
    return [ChildRun(run_id, "EXECUTING", parent_id) for run_id, parent_id in map(tuple, pairs)]


def pairs(found: list[ChildRun]) -> list[str]:
    return sorted(child.id + child.parent_id for child in found)


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


def test_a_deep_tree_is_no_recursion() -> None:
    deep = [ChildRun(f"{depth + 1}", "QUEUED", f"{depth}") for depth in range(5000)]
    assert len(trees("0").take(reversed(deep))) == 5000
