from __future__ import annotations

import pytest

from airflow_provider_trigger.api import errors
from airflow_provider_trigger.api.answers import (
    json_object,
    raise_unless_success,
    server_message,
    server_wait,
)
from airflow_provider_trigger.api.http import Request, Response

REQUEST = Request(method="GET", path="/api/v3/runs/run_1", repeatable=True)
FOREIGN = "this is not a Trigger.dev server, or a proxy stands in front of it"


def failure(response: Response, request: Request = REQUEST) -> errors.ResponseError:
    with pytest.raises(errors.ResponseError) as raised:
        raise_unless_success(request, response)
    return raised.value


KINDS: dict[type[errors.ResponseError], tuple[int, ...]] = {
    errors.ResponseError: (101, 199, 400, 402, 405, 408, 409, 413, 422, 425, 499),
    errors.RedirectError: (300, 301, 307, 399),
    errors.AuthenticationError: (401,),
    errors.PermissionDeniedError: (403,),
    errors.NotFoundError: (404,),
    errors.RateLimitError: (429,),
    errors.ServerError: (500, 502, 503, 504, 599),
}
KIND_OF = {status: kind for kind, statuses in KINDS.items() for status in statuses}


@pytest.mark.parametrize("status", KIND_OF)
def test_each_status_is_its_own_kind_of_error(response, status: int) -> None:
    error = failure(response(status, {"error": "Not found" if status == 404 else "no"}))
    assert type(error) is KIND_OF[status]
    assert (error.method, error.path, error.status) == ("GET", "/api/v3/runs/run_1", status)
    assert error.retryable is (status in (408, 409, 425, 429, 500, 502, 503, 504, 599))
    assert str(error).startswith(f"GET /api/v3/runs/run_1 answered {status}: ")


# What is not Trigger.dev's


@pytest.mark.parametrize(
    "body", [{"error": "Not Found"}, {"error": "Unknown project"}, {"message": "Not found"}, b"<html>", b"{}"]
)
def test_another_404_is_not_taken_for_an_unknown_run(response, body) -> None:
    error = failure(response(404, body, {"content-type": "text/html; x=y"}))
    assert type(error) is errors.NotTriggerDevError
    assert error.detail.endswith(f": {FOREIGN}")


@pytest.mark.parametrize("status", [400, 403, 405, 409, 422, 499, 501])
@pytest.mark.parametrize("body", [b"<html>", b'{"error": {"code": 1}}'])
def test_an_error_without_a_message_in_json_is_not_trigger_devs(response, status: int, body: bytes) -> None:
    error = failure(response(status, body, {"content-type": "text/html"}))
    assert type(error) is errors.NotTriggerDevError
    assert error.detail == f"(text/html, {len(body)} bytes): {FOREIGN}"


@pytest.mark.parametrize("status", [401, 408, 413, 425, 429, 500, 502, 503, 504, 599])
def test_what_a_gateway_answers_for_trigger_dev_is_trigger_devs(response, status: int) -> None:
    error = failure(response(status, b"<html>"))
    assert type(error) is KIND_OF[status]
    assert FOREIGN not in str(error)


@pytest.mark.parametrize(
    ("headers", "target"),
    [({}, "nowhere"), ({"location": "https://login.test/" + "x" * 500}, "https://login.test/" + "x" * 181)],
)
def test_a_redirect_names_the_target_and_that_it_was_not_followed(
    response, headers: dict[str, str], target: str
) -> None:
    assert failure(response(302, b"", headers)).detail == f"a redirect to {target}, not followed"


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
    assert server_message(response(400, body)) == detail
    assert failure(response(500, body)).detail == detail


# The object of a success


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b"<html>", "200 without valid JSON (text/html, 6 bytes)"),
        (b'{"id": "run_1", "sta', "200 without valid JSON (text/html, 20 bytes)"),
        (b"null", "200 without valid JSON (text/html, 4 bytes)"),
        (b"[]", "JSON that is not an object"),
    ],
)
def test_a_success_that_is_not_an_object_is_an_unexpected_answer(response, body: bytes, what: str) -> None:
    with pytest.raises(errors.UnexpectedAnswerError) as raised:
        json_object(REQUEST, response(200, body, {"content-type": "text/html"}))
    assert str(raised.value) == f"GET /api/v3/runs/run_1 answered {what}: {FOREIGN}"
    assert raised.value.retryable


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
def test_how_long_the_server_wants_us_to_wait(
    response, status: int, headers: dict[str, str], wait: float | None
) -> None:
    assert server_wait(response(status, b"", headers), now=NOW) == pytest.approx(wait)


@pytest.mark.parametrize("difference", [3600, -3600, 0.75, -3.75])
def test_a_reset_is_read_by_the_servers_clock_where_it_differs_from_our_finer_one(
    response, difference: float
) -> None:
    answered = response(429, b"", RESET | {"date": DATE})
    by_ours = 4 - difference if abs(difference) <= 5 else 4
    assert server_wait(answered, now=NOW + difference) == pytest.approx(by_ours)
