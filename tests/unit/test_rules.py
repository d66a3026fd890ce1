"""What each rule takes and returns, and how it names what it does not take."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import pytest

from airflow_provider_trigger.rules import (
    Circumstances,
    Rule,
    boolean,
    checked,
    choice,
    connection_id,
    duration,
    list_of,
    naming,
    number,
    optional,
    text,
)

COUNT = number("requests", least=1, whole=True)
SIZE = number("bytes", least=0.5)
RENDERED_COUNT = number("attempts", least=3, whole=True)
RENDERED = number("seconds", least=3)
DURATION = duration(least=0.5)
WORDS = choice("fail", "ignore")
MANY_WORDS = choice("a", "b", "c", "d")
STATUSES = list_of("final statuses", {"FAILED", "COMPLETED"})


@pytest.mark.parametrize(
    ("rule", "given", "taken"),
    [
        (boolean, True, True),
        (boolean, False, False),
        (COUNT, 1, 1),
        (COUNT, 2.0, 2),
        (SIZE, 0.5, 0.5),
        (SIZE, 7, 7),
        (SIZE, 1e9, 1e9),
        (RENDERED_COUNT, 3, 3),
        (RENDERED_COUNT, "4", 4),
        (RENDERED_COUNT, " 10 ", 10),
        (RENDERED_COUNT, "3.0", 3),
        (RENDERED, "3", 3),
        (RENDERED, "3.5", 3.5),
        (DURATION, 5, 5.0),
        (DURATION, "5m", 300.0),
        (DURATION, " 1h30m ", 5400.0),
        (DURATION, "1w2d3h4m5s", 604_800.0 + 2 * 86_400 + 3 * 3_600 + 4 * 60 + 5),
        (DURATION, " 1.5 ", 1.5),
        (DURATION, timedelta(seconds=0.5), 0.5),
        (WORDS, "fail", "fail"),
        (MANY_WORDS, "d", "d"),
        (STATUSES, [], []),
        (STATUSES, ("FAILED", "COMPLETED"), ("FAILED", "COMPLETED")),
        (text(), " é ", " é "),
        (connection_id, "{{ params.connection }}", "{{ params.connection }}"),
        (optional(DURATION), None, None),
        (optional(DURATION), "5m", 300.0),
    ],
)
def test_a_valid_value_is_returned_as_it_is_used(rule: Rule, given: Any, taken: Any) -> None:
    found = checked({"x": rule}, {"x": given})["x"]
    assert (found, type(found)) == (taken, type(taken))


INVALID: list[tuple[Rule, str, list[Any]]] = [
    (boolean, "True or False", ["yes", "True", "{{ x }}", "", 1, 0, None, [True]]),
    (COUNT, "a whole number of requests, 1 or more", [0, 1.5, True, "0", None, math.nan, math.inf]),
    (
        SIZE,
        "a number of bytes, 0.5 or more",
        [0.49, -1, math.nan, math.inf, "0.4", None, True, [1]],
    ),
    (
        RENDERED_COUNT,
        "a whole number of attempts, 3 or more",
        [2, "2", "3.5", "-5", "", "ten", "1e3", "0x10", "1_000", "9 9", "٣", timedelta(1), False],
    ),
    (RENDERED, "a number of seconds, 3 or more", [2.9, "2.9", "many", "None", math.inf, [9]]),
    (
        DURATION,
        "a duration of 0.5 s or more: seconds, a timedelta, or a text such as '5m'",
        [
            *(0.49, "0s", "soon", timedelta(), None, True, [5], math.nan, "{{ x }}", "", "m", "5 m", "1.5h"),
            *("30m1h", "-1", "5M", "\u0665m"),
        ],
    ),
    (WORDS, "'fail' or 'ignore'", ["FAIL", "", None, True, ["fail"], {}]),
    (MANY_WORDS, "one of a, b, c, d", ["e", "A", "a ", 1, ["a"], {"x": "a"}]),
    (
        STATUSES,
        "a list of final statuses (COMPLETED, FAILED)",
        ["COMPLETED", ["completed"], ["COMPLETED", "DONE"], None, [None], [["FAILED"]], [{}], 7, {"FAILED"}],
    ),
    (text(), "a string that is not empty", ["", " ", 7, 20261125.1, True, None, ["x"], {"name": "x"}]),
    (connection_id, "the id of a connection", [None, "", " ", 5]),
    (optional(boolean), "True or False", ["", 0]),
]


@pytest.mark.parametrize(
    ("rule", "what", "value"), [(rule, what, value) for rule, what, values in INVALID for value in values]
)
def test_an_invalid_value_is_an_error_that_says_what_to_give(rule: Rule, what: str, value: Any) -> None:
    with pytest.raises(ValueError, match="It 'a': wait ") as raised, naming("It 'a'"):
        checked({"wait": rule}, {"wait": value})
    assert str(raised.value) == f"It 'a': wait must be {what}, not {value!r}"


def test_a_text_that_cannot_be_encoded_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"^x must be a text that can be encoded, .*, not 'a\\ud800'$"):
        checked({"x": text()}, {"x": "a\ud800"})


@pytest.mark.parametrize(("length", "shown"), [(98, "x" * 98 + "'"), (99, "x" * 99 + "…")])
def test_a_value_of_up_to_100_characters_is_shown_whole(length: int, shown: str) -> None:
    with pytest.raises(ValueError, match=f", not '{shown}$"):
        checked({"x": WORDS}, {"x": "x" * length})


def test_what_is_not_known_yet_is_left_out() -> None:
    when = Circumstances(skip=lambda value: value == "{{ x }}")
    assert checked({"a": boolean, "b": boolean}, {"a": "{{ x }}", "b": True}, when) == {"b": True}
