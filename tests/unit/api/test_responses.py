from __future__ import annotations

import pytest

from airflow_provider_trigger.api import errors
from airflow_provider_trigger.api.http import Request, Response
from airflow_provider_trigger.api.responses import (
    MAX_DETAIL_LENGTH,
    json_object,
    raise_unless_success,
    server_message,
)

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


@pytest.mark.parametrize("advice", ["true", "False"])
@pytest.mark.parametrize("status", [400, 404, 408, 429, 500, 503])
def test_a_server_that_forbids_another_try_is_believed_and_advice_to_retry_means_now(
    response, status: int, advice: str
) -> None:
    error = failure(response(status, {"error": "Not found"}, {"x-should-retry": advice}))
    assert error.retryable is (advice == "true" and status not in (400, 404))


# What is not Trigger.dev's


@pytest.mark.parametrize("text", ["Not found", "Resource not found", "Run not found"])
def test_the_apis_own_404_means_an_unknown_run(response, text: str) -> None:
    error = failure(response(404, {"error": text}))
    assert type(error) is errors.NotFoundError
    assert str(error).endswith(f"answered 404: {text}")


PAGE = "(text/html, %d bytes)"


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b'{"error": "Not Found"}', "Not Found"),
        (b'{"timestamp": 1, "status": 404, "error": "Not Found", "path": "/x"}', "Not Found"),
        (b'{"error": "Unknown project"}', "Unknown project"),
        (b'{"message": "Not found"}', "Not found"),
        *((body, PAGE % len(body)) for body in (b"<html>", b"", b'{"error": "Not fo', b"[]", b"{}")),
        (b'{"error": {"code": 404}}', PAGE % 24),
    ],
)
def test_another_404_is_not_taken_for_an_unknown_run(response, body: bytes, detail: str) -> None:
    error = failure(response(404, body, {"content-type": "text/html; x=y"}))
    assert type(error) is errors.NotTriggerDevError
    assert error.detail == f"{detail}: {FOREIGN}"


@pytest.mark.parametrize("status", [400, 403, 405, 409, 422, 499, 501])
@pytest.mark.parametrize("body", [b"<html>", b"", b"[]", b"{}", b'{"error": {"code": 1}}'])
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
        ({"title": "T", "detail": "the detail"}, "the detail"),
        ({"message": "the text"}, "the text"),
        ({"error": "first", "detail": "second", "message": "third"}, "first"),
        ({"detail": "second", "message": "third"}, "second"),
        ({"error": {"code": 7}, "message": "third"}, "third"),
        ({"error": "in\n several \t lines \ud83d"}, "in several lines \ufffd"),
        ({"error": None}, "(no content type, 15 bytes)"),
        (["error"], "(no content type, 9 bytes)"),
        (b"<html>", "(no content type, 6 bytes)"),
    ],
)
def test_the_servers_own_message_is_found_and_shown_in_one_line(response, body, detail: str) -> None:
    assert server_message(response(400, body)) == detail
    assert failure(response(500, body)).detail == detail


def test_whatever_is_long_is_cut(response) -> None:
    assert MAX_DETAIL_LENGTH == 300
    answered = response(400, b"<html>", {"content-type": "t" * 999 + "; charset=utf-8"})
    assert server_message(answered) == f"({'t' * 100}, 6 bytes)"
    request = Request(method="GET", path="/" + "p" * 999, repeatable=True)
    error = failure(response(500, {"error": "e" * 9999}, {"x-request-id": "q" * 9999}), request)
    assert (error.path, error.detail, error.request_id) == ("/" + "p" * 199, "e" * 300, "q" * 100)
    assert str(error) == f"GET {error.path} answered 500: {error.detail} (request {error.request_id})"
    for headers, kind in (({"content-type": "t" * 999}, "t" * 100), ({}, "no content type")):
        with pytest.raises(errors.UnexpectedAnswerError, match=rf"\({kind}, 1 bytes\)"):
            json_object(REQUEST, response(200, b"<", headers))


@pytest.mark.parametrize("headers", [{}, {"x-request-id": ""}])
def test_a_response_without_a_request_id_has_none(response, headers: dict[str, str]) -> None:
    assert failure(response(500, {"error": "no"}, headers)).request_id is None


# The object of a success


def test_the_object_of_a_success_is_returned(response) -> None:
    assert json_object(REQUEST, response(200, {"id": "run_1"})) == {"id": "run_1"}
    with pytest.raises(errors.ServerError):
        json_object(REQUEST, response(500, {"id": "run_1"}))


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b"<html>", "200 without valid JSON (text/html, 6 bytes)"),
        (b"", "200 without valid JSON (text/html, 0 bytes)"),
        (b'{"id": "run_1", "sta', "200 without valid JSON (text/html, 20 bytes)"),
        (b"\xff\xfe\xfa", "200 without valid JSON (text/html, 3 bytes)"),
        (b"null", "200 without valid JSON (text/html, 4 bytes)"),
        (b"[]", "JSON that is not an object"),
        (b'"text"', "JSON that is not an object"),
        (b"0", "JSON that is not an object"),
    ],
)
def test_a_success_that_is_not_an_object_is_an_unexpected_answer(response, body: bytes, what: str) -> None:
    with pytest.raises(errors.UnexpectedAnswerError) as raised:
        json_object(REQUEST, response(200, body, {"content-type": "text/html"}))
    assert str(raised.value) == f"GET /api/v3/runs/run_1 answered {what}: {FOREIGN}"
    assert raised.value.retryable
