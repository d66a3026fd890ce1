"""Which values tags, batches, statuses and tasks may be."""

from __future__ import annotations

from typing import Any

import pytest
from airflow_sequences import Outputs

from airflow_provider_trigger.hooks.run_arguments import BATCH_ID, STATUSES
from airflow_provider_trigger.sources.search_terms import (
    BATCH_IDS,
    TAGS,
    Selection,
    Terms,
    given_terms,
    read_terms,
)


def invalid(terms: Terms, value: Any) -> str:
    with pytest.raises(ValueError) as raised:  # noqa: PT011  # the text is compared by the callers
        read_terms(terms, value)
    return str(raised.value)


@pytest.mark.parametrize(
    ("value", "terms"),
    [
        ("a", ("a",)),
        (["b", "a", "b"], ("b", "a")),
        (("a",), ("a",)),
        ({"b", "a"}, ("a", "b")),
        (frozenset("a"), ("a",)),
        (Outputs("b", "a"), ("b", "a")),
        (" a: /%#", (" a: /%#",)),
        # What Jinja makes of a list.
        ("['a', 'b']", ("a", "b")),
        (' ["a"]', ("a",)),
        ("[urgent", ("[urgent",)),
    ],
)
def test_texts_are_taken_once_each(value: Any, terms: tuple[str, ...]) -> None:
    assert read_terms(TAGS, value) == terms


_NOTHING = "a template that finds nothing renders to this"
_EMPTY = "it must not be empty, nor have a comma"
_NO_LIST = "it must be a string, or a list of strings"
_ANY = "the list must have at least one tag"


@pytest.mark.parametrize(
    ("value", "shown", "reason"),
    [
        (None, "None", _NO_LIST),
        ("None", "'None'", _NOTHING),
        (" null ", "' null '", _NOTHING),
        (["a", "None"], "'None'", _NOTHING),
        ([], "[]", _ANY),
        ("[]", "[]", _ANY),
        (set(), "[]", _ANY),
        ("", "''", _EMPTY),
        (["a", " "], "' '", _EMPTY),
        ("a,b", "'a,b'", _EMPTY),
        (["a", "\ud800"], "'\\ud800'", "it has a lone surrogate, which cannot be encoded"),
        (["a", 1], "1", "it must be a string, not int"),
        ({"a", 1}, "1", "it must be a string, not int"),
        (Outputs("a", 1), "1", "it must be a string, not int"),
        (Outputs(), "[]", _ANY),
        ({"a": 1}, "a dict of ['a']", _NO_LIST),
        (
            "LazySelectSequence([3 items])",
            "'LazySelectSequence([3 items])'",
            "Jinja turned mapped outputs into text; use the task's .output",
        ),
    ],
)
def test_a_tag_that_is_not_valid_is_named_with_its_argument(value: Any, shown: str, reason: str) -> None:
    assert invalid(TAGS, value) == f"{shown} from tags is not a valid tag: {reason}"


def test_a_batch_is_named_with_its_argument() -> None:
    assert invalid(BATCH_IDS, ["batch_1", ""]) == f"'' from batch_ids is not a valid batch id: {_EMPTY}"
    assert invalid(BATCH_ID, ["batch_1"]).endswith(" batch id: it must be a string, not list")
    assert invalid(BATCH_ID, None).endswith(" batch id: it must be a string, not NoneType")


def test_only_todays_statuses_are_known() -> None:
    assert read_terms(STATUSES, ["EXECUTING", "CANCELED"]) == ("EXECUTING", "CANCELED")
    for status in ("PENDING", "FROZEN", "executing"):
        assert "it must be one of CANCELED, COMPLETED, CRASHED, DELAYED, " in invalid(STATUSES, status)


def test_what_is_not_known_yet_is_left_out() -> None:
    output = object()

    def is_unknown(value: object) -> bool:
        return value is output or (isinstance(value, str) and "{{" in value)

    assert read_terms(TAGS, output, skip=is_unknown) == ()
    assert read_terms(TAGS, [output, "a"], skip=is_unknown) == ("a",)
    assert read_terms(TAGS, "{{ a, b }}", skip=is_unknown) == ()
    assert read_terms(TAGS, ["a", "{{ a, b }}"], skip=is_unknown) == ("a",)
    with pytest.raises(ValueError, match="'' from tags"):
        read_terms(TAGS, ["{{ a }}", ""], skip=is_unknown)


def test_an_argument_that_was_not_given_holds_no_texts() -> None:
    assert given_terms(TAGS, None) == ()
    assert given_terms(TAGS, ["a,b", "c"], skip=lambda text: text == "a,b") == ("c",)


def test_a_selection_selects_runs_by_tags_or_by_batches() -> None:
    assert Selection(tags=("a",), max_runs=1)
    assert Selection(batch_ids=("batch_1",), max_runs=1)
    assert not Selection(max_runs=1)
