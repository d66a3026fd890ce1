"""Durations and dates as options write them."""

from __future__ import annotations

import pytest
from fake_clock import START, Clock

from airflow_provider_trigger.testing.engine.durations import read_delay, read_duration
from airflow_provider_trigger.testing.engine.server_time import ServerTime


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10s", 10),
        ("1h30m", 5400),
        ("2hr", 7200),
        ("1w2d3h4m5s", 788645),
        ("0s", 0),
        ("", None),
        (None, None),
        ("5", None),
        ("s", None),
        ("1s1m", None),
        ("-1s", None),
        ("1 h", None),
        ("1.5h", None),
    ],
)
def test_durations(text: str | None, seconds: float | None) -> None:
    assert read_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("10s", 10),
        ("2100-01-01", 4102444800 - START),
        ("2100-01-01T00:00:00.500Z", 4102444800.5 - START),
        ("2100-01-01T01:00:00+01:00", 4102444800 - START),
        ("2020-01-01T00:00:00Z", None),
        ("soon", None),
        (None, None),
    ],
)
def test_delays(text: str | None, after: float | None) -> None:
    assert read_delay(text, ServerTime(clock=Clock().time)) == (None if after is None else START + after)


def test_a_delay_is_shorter_on_a_fast_server_and_a_date_is_none_the_earlier() -> None:
    fast = ServerTime(clock=Clock().time, speed=100)
    assert read_delay("10s", fast) == START + 0.1
    assert read_delay("2100-01-01", fast) == 4102444800
