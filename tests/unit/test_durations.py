"""Which values are durations, and how long they are."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest

from airflow_provider_trigger.durations import read_duration, read_duration_text, read_number


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (5, 5),
        (0, 0),
        (-1, -1),
        (2.5, 2.5),
        ("90", 90),
        (" 1.5 ", 1.5),
        (timedelta(minutes=1, milliseconds=500), 60.5),
        (timedelta(seconds=-1), -1),
        ("5m", 300),
        (" 1h30m ", 5400),
        ("1w2d3h4m5s", 604_800 + 2 * 86_400 + 3 * 3_600 + 4 * 60 + 5),
        ("0s", 0),
    ],
)
def test_a_duration_in_seconds(value, seconds: float) -> None:
    assert read_duration(value) == seconds


@pytest.mark.parametrize(
    "value", ["9" * 400, "9" * 400 + ".0", "9" * 5000, "9" * 400 + "w", "9" * 5000 + "s"]
)
def test_a_number_of_so_many_digits_is_none(value: str) -> None:
    assert (read_duration(value), read_number(10**400)) == (None, None)


NONE = ["", " ", "m", "soon", "5 m", "1.5h", "30m1h", "-1", "5M", "\u0665m", "{{ x }}"]


@pytest.mark.parametrize("value", [*NONE, None, True, [5], math.nan, math.inf, object()])
def test_what_is_none(value) -> None:
    assert read_duration(value) is None


def test_a_text_without_a_unit_is_a_number_and_one_with_units_is_not() -> None:
    assert (repr(read_number("5")), read_duration_text("5")) == ("5", None)
    assert (read_number("5s"), read_duration_text("5s")) == (None, 5)
