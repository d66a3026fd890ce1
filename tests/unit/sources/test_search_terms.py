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


_WORD = "a string that is not empty, without a comma"
_LIST = "a string, or a list of at least one tag"


@pytest.mark.parametrize(
    ("value", "what", "shown"),
    [
        (None, _LIST, None),
        ([], _LIST, []),
        ("[]", _LIST, "[]"),
        ({"a": 1}, _LIST, {"a": 1}),
        ("", _WORD, ""),
        (["a", " "], _WORD, " "),
        ("a,b", _WORD, "a,b"),
        (["a", 1], _WORD, 1),
        (Outputs("a", 1), _WORD, 1),
    ],
)
def test_a_tag_that_is_not_valid_is_named_with_its_argument(value: Any, what: str, shown: Any) -> None:
    assert invalid("tags", value) == f"tags must be {what}, not {shown!r}"


@pytest.mark.parametrize("value", [" null ", "None", "LazySelectSequence([3 items])"])
def test_what_a_template_makes_of_nothing_or_of_outputs_is_no_tag(value: str) -> None:
    why = "a template that finds nothing, or a mapped task's outputs, renders to this"
    assert invalid("tags", ["a", value]) == f"tags must not be {value!r}: {why}"
