"""What templates and outputs of tasks have become: lists, the text None, and names of Python objects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any

import pytest

from airflow_provider_trigger.operators.task_runs import (
    check_sequence_texts,
    lone_expressions,
    none_texts,
    with_lists,
)


class Mapped(Sequence[Any]):
    """Like one of Airflow's sequences: its iterator sends one request more than it has items."""

    __module__ = "airflow.somewhere"

    def __init__(self, *items: Any) -> None:
        self.items = items

    def __getitem__(self, index: Any) -> Any:
        assert index < len(self.items)
        return self.items[index]

    def __len__(self) -> int:
        return len(self.items)


class LazyXComSequence(Mapped):
    """Like the output of a mapped task, of which a slice is one request."""

    __module__ = "airflow.sdk.execution_time.lazy_sequence"

    def __getitem__(self, index: Any) -> Any:
        assert isinstance(index, slice)
        return self.items[index]


@pytest.mark.parametrize("kind", [Mapped, LazyXComSequence])
def test_sequences_of_airflow_are_lists_at_any_depth(kind: Callable[..., Any]) -> None:
    assert with_lists(kind(1, {"a": kind(2)})) == [1, {"a": [2]}]
    assert with_lists({"a": [kind(1), (kind(),)], "b": kind(kind(5))}) == {"a": [[1], [[]]], "b": [[5]]}


@pytest.mark.parametrize("value", [None, 5, "text", b"text", {1}, range(3), object()])
def test_all_else_stays_what_it_is(value) -> None:
    assert with_lists(value) is value
    [inside] = with_lists({"a": value}).values()
    assert inside is value


ARGUMENTS: dict[str, Any] = {
    "payload": {"a": "{{ x }}", "b": ["{{ x }}", " {{ x | list }}\n"], "c": "id {{ x }}", "d": None, "e": 5},
    "tags": ["{{ x }}{{ y }}", "{% if x %}{{ x }}{% endif %}", "{{ x", "text"],
    "metadata": {"k": {"l": "{{ a.b['c'] }}"}},
    "concurrency_key": "{{ x }}",
    "region": None,
    "ttl": object(),
}
LONE = {"payload['a']", "payload['b'][0]", "payload['b'][1]", "metadata['k']['l']", "concurrency_key"}


def test_a_state_of_airflow_is_a_text() -> None:
    """Its enumerations are sequences of characters, too."""
    state = StrEnum("State", {"SUCCESS": "success"}, module="airflow.utils.state")  # type: ignore[misc]
    given = {"state": state.SUCCESS}
    assert with_lists(given) == {"state": "success"}


def test_templates_of_one_expression_are_found_at_any_depth() -> None:
    assert lone_expressions(ARGUMENTS) == LONE


def test_those_that_rendered_to_the_text_none_are_named() -> None:
    rendered = {
        "payload": {"a": "None", "b": ["5", " None\n"], "c": "None", "d": "None"},
        "tags": ["None"],
        "metadata": {"k": {"l": "none"}},
        "concurrency_key": "None",
    }
    assert none_texts(rendered, LONE) == ["payload['a']", "payload['b'][1]", "concurrency_key"]
    # As rendered natively.
    assert none_texts({"payload": {"a": None, "b": [None, []]}, "concurrency_key": None}, LONE) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"payload": {"a": ["LazySelectSequence([2 items])"]}},
            "payload['a'][0] must not contain 'LazySelectSequence([2 items])', which is what the "
            "template made of a mapped task's outputs. Give the task's .output in place of the template, or "
            "set render_template_as_native_obj=True on the Dag",
        ),
        ({"metadata": {"a": "ids: LazySelectSequence([1 item])!"}}, "metadata['a'] must not contain '"),
        ({"tags": ["LazyXComSequence(<unevaluated length>)"]}, "tags[0] must not contain 'LazyXComSequ"),
    ],
)
def test_the_name_of_a_python_object_is_an_error_that_says_what_to_write(
    arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match="must not contain") as raised:
        check_sequence_texts(arguments)
    assert str(raised.value).startswith(message)


def test_other_texts_are_none_of_these() -> None:
    check_sequence_texts({"payload": ["LazySelectSequence", "Lazy([2 items])", 5, None, {"a": ()}]})
