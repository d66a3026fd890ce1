"""Which values tags, batches, statuses and tasks may be."""

from __future__ import annotations

from typing import Any

import pytest
from airflow_sequences import Outputs

from airflow_provider_trigger.hooks.trigger_dev import FILTER_RULES
from airflow_provider_trigger.rules import checked
from airflow_provider_trigger.sources.arguments import SELECTING

RULES = SELECTING | FILTER_RULES


def taken(name: str, value: Any) -> Any:
    return checked(RULES, {name: value})[name]


def invalid(name: str, value: Any) -> str:
    with pytest.raises(ValueError) as raised:  # noqa: PT011  # the text is compared by the callers
        taken(name, value)
    return str(raised.value)


@pytest.mark.parametrize(
    ("value", "terms"),
    [
        ("a", ("a",)),
        (["b", "a", "b"], ("b", "a")),
        ({"b", "a"}, ("a", "b")),
        (Outputs("b", "a"), ("b", "a")),
        (" a: /%#", (" a: /%#",)),
        # What Jinja makes of a list.
        ("['a', 'b']", ("a", "b")),
        (' ["a"]', ("a",)),
        ("[urgent", ("[urgent",)),
    ],
)
def test_texts_are_taken_once_each(value: Any, terms: tuple[str, ...]) -> None:
    assert taken("tags", value) == terms


_NOTHING = "a template that finds nothing renders to this"
_EMPTY = "it must not be empty, nor have a comma"
_NO_LIST = "it must be a string, or a list of at least one tag"


@pytest.mark.parametrize(
    ("value", "shown", "reason"),
    [
        (None, "None", _NO_LIST),
        (" null ", "' null '", _NOTHING),
        (["a", "None"], "'None'", _NOTHING),
        ([], "[]", _NO_LIST),
        ("[]", "[]", _NO_LIST),
        ("", "''", _EMPTY),
        (["a", " "], "' '", _EMPTY),
        ("a,b", "'a,b'", _EMPTY),
        (["a", "\ud800"], "'\\ud800'", "it has a lone surrogate, which cannot be encoded"),
        (["a", 1], "1", "it must be a string, not int"),
        (Outputs("a", 1), "1", "it must be a string, not int"),
        ({"a": 1}, "a dict of ['a']", _NO_LIST),
        (
            "LazySelectSequence([3 items])",
            "'LazySelectSequence([3 items])'",
            "Jinja turned mapped outputs into text; use the task's .output",
        ),
    ],
)
def test_a_tag_that_is_not_valid_is_named_with_its_argument(value: Any, shown: str, reason: str) -> None:
    assert invalid("tags", value) == f"{shown} from tags is not a valid tag: {reason}"
