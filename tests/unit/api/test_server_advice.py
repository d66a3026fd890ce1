from __future__ import annotations

import pytest

from airflow_provider_trigger.api import server_advice

NOW = 1_795_599_150.0
DATE = "Wed, 25 Nov 2026 09:32:30 GMT"  # NOW
LATER = "Wed, 25 Nov 2026 09:32:37 GMT"
NO_DATE = "1 Jan 99999999999999999999 00:00 GMT"
RESET = {"x-ratelimit-reset": str(int(NOW * 1000) + 4000)}


@pytest.mark.parametrize(
    ("status", "headers", "wait"),
    [
        (503, {}, None),
        (503, {"retry-after": "0.5"}, 0.5),
        (503, {"retry-after": LATER}, 7),
        # Four hours ahead of us: what it says is to be read by its own clock.
        (503, {"retry-after": "Wed, 25 Nov 2026 13:32:33 GMT", "date": DATE.replace("09", "13")}, 3),
        *((503, {"retry-after": it}, None) for it in (DATE, "0", "-3", "soon", "nan", "inf", NO_DATE)),
        (503, {"retry-after": "86400"}, 60),
        (429, {"retry-after": "3"} | RESET, 3),
        (429, {"retry-after": "soon"} | RESET, 4),
        (429, RESET, 4),
        (429, {"x-ratelimit-reset": str(int(NOW * 1000) - 1)}, None),
        (429, {"x-ratelimit-reset": "never"}, None),
        (429, {"x-ratelimit-reset": str(int(NOW * 1000) + 10**9)}, 60),
        # Another limit than the bucket's.
        (429, RESET | {"x-ratelimit-remaining": "736"}, None),
        (429, RESET | {"x-ratelimit-remaining": "736", "retry-after": "3"}, 3),
        *((429, RESET | {"x-ratelimit-remaining": it}, 4) for it in ("0", "-2")),
        # Only a 429 says that it was the bucket.
        (503, RESET, None),
    ],
)
def test_how_long_the_server_wants_us_to_wait(
    response, status: int, headers: dict[str, str], wait: float | None
) -> None:
    assert server_advice.server_wait(response(status, b"", headers), now=NOW) == pytest.approx(wait)


@pytest.mark.parametrize("difference", [3600, -3600, 0.75, -3.75])
def test_a_reset_is_read_by_the_servers_clock_where_it_differs_from_our_finer_one(
    response, difference: float
) -> None:
    answered = response(429, b"", RESET | {"date": DATE})
    by_ours = 4 - difference if abs(difference) <= 5 else 4
    assert server_advice.server_wait(answered, now=NOW + difference) == pytest.approx(by_ours)
