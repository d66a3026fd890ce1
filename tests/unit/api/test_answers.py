"""What the server says in an answer, and how long it wants us to wait."""

from __future__ import annotations

import pytest

from airflow_provider_trigger.api import errors
from airflow_provider_trigger.api.answers import server_wait
from airflow_provider_trigger.api.http import Response
from airflow_provider_trigger.api.runs import retrieve_run

FOREIGN = "this is not a Trigger.dev server, or a proxy stands in front of it"


def failure(response: Response) -> errors.ResponseError:
    with pytest.raises(errors.ResponseError) as raised:
        retrieve_run("run_1").read(response)
    return raised.value


def test_a_redirect_names_the_target_and_that_it_was_not_followed(response) -> None:
    target = "https://login.test/" + "x" * 500
    assert failure(response(302)).detail == "a redirect to nowhere, not followed"
    assert failure(response(302, b"", {"location": target})).detail == (
        f"a redirect to {target[:200]}, not followed"
    )


# The server's message


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({"error": "the message"}, "the message"),
        ({"error": "first", "detail": "second", "message": "third"}, "first"),
        ({"detail": "second", "message": "third"}, "second"),
        ({"error": {"code": 7}, "message": "third"}, "third"),
        ({"error": "in\n several \t lines \ud83d"}, "in several lines \ufffd"),
        (["error"], "(no content type, 9 bytes)"),
        (b"<html>", "(no content type, 6 bytes)"),
    ],
)
def test_the_servers_own_message_is_found_and_shown_in_one_line(response, body, detail: str) -> None:
    assert failure(response(500, body)).detail == detail


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b'{"id": "run_1", "sta', "200 without valid JSON (text/html, 20 bytes)"),
        *((body, "JSON that is not an object") for body in (b"[]", b"null")),
    ],
)
def test_a_success_that_is_not_an_object_is_an_unexpected_answer(response, body: bytes, what: str) -> None:
    with pytest.raises(errors.UnexpectedAnswerError) as raised:
        retrieve_run("run_1").read(response(200, body, {"content-type": "text/html"}))
    assert str(raised.value) == f"GET /api/v3/runs/run_1 answered {what}: {FOREIGN}"


# How long to wait

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
        (429, {"retry-after": "3"} | RESET, 3),
        (429, {"retry-after": "soon"} | RESET, 4),
        (429, RESET, 4),
        (429, {"x-ratelimit-reset": str(int(NOW) + 5)}, 5),
        (429, {"x-ratelimit-reset": str(int(NOW * 1000) - 1)}, None),
        (429, {"x-ratelimit-reset": str(int(NOW * 1000) + 10**9)}, 60),
        # Another limit than the bucket's.
        (429, RESET | {"x-ratelimit-remaining": "736"}, None),
        (429, RESET | {"x-ratelimit-remaining": "736", "retry-after": "3"}, 3),
        *((429, RESET | {"x-ratelimit-remaining": it}, 4) for it in ("0", "-2")),
        # Only a 429 says that it was the bucket.
        (503, RESET, None),
    ],
)
def test_how_long_we_are_to_wait(response, status: int, headers: dict[str, str], wait: float | None) -> None:
    assert server_wait(response(status, b"", headers), now=NOW) == pytest.approx(wait)


@pytest.mark.parametrize("difference", [3600, -3600, 0.75, -3.75])
def test_a_reset_is_read_by_the_servers_clock_where_ours_differs(response, difference: float) -> None:
    answered = response(429, b"", RESET | {"date": DATE})
    by_ours = 4 - difference if abs(difference) <= 5 else 4
    assert server_wait(answered, now=NOW + difference) == pytest.approx(by_ours)
