from __future__ import annotations

import pytest

from airflow_provider_trigger.api import server_advice

NOW = 1_795_599_150.0


@pytest.mark.parametrize(
    ("header", "says"),
    [("true", True), ("True", True), ("false", False), ("FALSE", False), ("", None), ("1", None)],
)
def test_what_the_server_says_of_another_try(response, header: str, says: bool | None) -> None:
    assert server_advice.should_retry(response(503, b"", {"x-should-retry": header})) is says
    assert server_advice.should_retry(response(503)) is server_advice.should_retry(None) is None


# How long to wait


DATE = "Wed, 25 Nov 2026 09:32:30 GMT"  # NOW
NO_DATE = "1 Jan 99999999999999999999 00:00 GMT"
LATER = "Wed, 25 Nov 2026 09:32:37 GMT"
RESET = {"x-ratelimit-reset": str(int(NOW * 1000) + 4000)}


@pytest.mark.parametrize(
    ("status", "headers", "body", "wait"),
    [
        (503, {}, {}, None),
        (503, {"retry-after": "3"}, {}, 3),
        (503, {"retry-after": "0.5"}, {}, 0.5),
        (503, {"retry-after": LATER}, {}, 7),
        (503, {"retry-after": LATER.replace("GMT", "-0000")}, {}, 7),
        # Four hours ahead of us: what it says is to be read by its own clock.
        (503, {"retry-after": "Wed, 25 Nov 2026 13:32:33 GMT", "date": DATE.replace("09", "13")}, {}, 3),
        *((503, {"retry-after": it}, {}, None) for it in (DATE, "0", "-3", "soon", "nan", "inf", NO_DATE)),
        (503, {"retry-after": "59.5"}, {}, 59.5),
        (503, {"retry-after": "61"}, {}, 60),
        (503, {"retry-after": "86400"}, {}, 60),
        (429, {"retry-after": "3"} | RESET, {"secondsUntilReset": 9}, 3),
        (429, {"retry-after": "soon"} | RESET, {"secondsUntilReset": 9}, 4),
        (429, RESET, {"secondsUntilReset": 9}, 4),
        (429, {"x-ratelimit-reset": str(int(NOW) + 5)}, {}, 5),
        (429, {"x-ratelimit-reset": str(int(NOW * 1000))}, {"secondsUntilReset": 9}, 9),
        (429, {"x-ratelimit-reset": str(int(NOW * 1000) - 1)}, {"secondsUntilReset": 9}, 9),
        (429, {"x-ratelimit-reset": "never"}, {"secondsUntilReset": "9"}, 9),
        (429, {}, {"secondsUntilReset": 9.5}, 9.5),
        (429, {}, {"secondsUntilReset": 99}, 60),
        *((429, {}, {"secondsUntilReset": it}, None) for it in (0, -1, "soon", None, 10**400)),
        (429, {}, {}, None),
        (429, {}, b"<html>", None),
        (429, {"x-ratelimit-reset": str(int(NOW * 1000) + 10**9)}, {}, 60),
        # Another limit than the bucket's.
        (429, RESET | {"x-ratelimit-remaining": "736"}, {}, None),
        (429, RESET | {"x-ratelimit-remaining": "736", "retry-after": "3"}, {}, 3),
        (429, RESET | {"x-ratelimit-remaining": "1"}, {}, None),
        (429, RESET | {"x-ratelimit-remaining": "0"}, {}, 4),
        (429, RESET | {"x-ratelimit-remaining": "-2"}, {}, 4),
        # Only a 429 says that it was the bucket.
        (428, RESET, {"secondsUntilReset": 9}, None),
        (503, RESET, {"secondsUntilReset": 9}, None),
    ],
)
def test_how_long_the_server_wants_us_to_wait(
    response, status: int, headers: dict[str, str], body, wait: float | None
) -> None:
    assert server_advice.server_wait(response(status, body, headers), now=NOW) == pytest.approx(wait)


@pytest.mark.parametrize(
    ("reset", "seconds"),
    [
        # The largest number that is read as seconds, and the smallest one that is read as milliseconds.
        ("100000000000", 1e11 - 1e8 + 7),
        ("100000000001", 0.001 + 7),
        ("100000007001", 0.001 + 14),
        ("100000006999", 0.0 + 13.999),
        (None, None),
        ("", None),
        ("nan", None),
    ],
)
def test_a_reset_is_in_milliseconds_or_where_the_number_is_small_in_seconds(
    response, reset: str | None, seconds: float | None
) -> None:
    headers = {} if reset is None else {"x-ratelimit-reset": reset}
    answered = response(200, b"", headers)
    assert server_advice.seconds_until_reset(answered, now=1e8 - 7) == pytest.approx(seconds)


@pytest.mark.parametrize("difference", [3600, -3600, 5.5, -5.5, 0.75, -0.75, 3.75, -5])
def test_a_reset_is_read_by_the_servers_clock_where_it_differs_from_our_finer_one(
    response, difference: float
) -> None:
    answered = response(200, b"", RESET | {"date": DATE})
    by_ours = 4 - difference if abs(difference) <= 5 else 4
    assert server_advice.seconds_until_reset(answered, now=NOW + difference) == pytest.approx(by_ours)
