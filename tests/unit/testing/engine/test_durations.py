"""Durations and dates as options write them."""

from __future__ import annotations

from fake_clock import START, Clock

from airflow_provider_trigger.testing.engine.server_time import ServerTime, read_delay, read_duration


def test_durations() -> None:
    valid = {"10s": 10, "1h30m": 5400, "2hr": 7200, "1w2d3h4m5s": 788645, "0s": 0}
    assert {text: read_duration(text) for text in valid} == valid
    for text in ("", None, "5", "s", "1s1m", "-1s", "1 h", "1.5h"):
        assert read_duration(text) is None


def test_delays() -> None:
    time = ServerTime(clock=Clock().time)
    valid = {
        "10s": START + 10,
        "2100-01-01": 4102444800,
        "2100-01-01T00:00:00.500Z": 4102444800.5,
        "2100-01-01T01:00:00+01:00": 4102444800,
    }
    assert {text: read_delay(text, time) for text in valid} == valid
    for text in ("2020-01-01T00:00:00Z", "soon", None):
        assert read_delay(text, time) is None


def test_a_delay_is_shorter_on_a_fast_server_and_a_date_is_none_the_earlier() -> None:
    fast = ServerTime(clock=Clock().time, speed=100)
    assert read_delay("10s", fast) == START + 0.1
    assert read_delay("2100-01-01", fast) == 4102444800
