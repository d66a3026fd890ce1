from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import requests
from hypothesis import example, given
from hypothesis import strategies as st
from urllib3.util import parse_url

from airflow_provider_trigger.api import endpoints, errors, retries
from airflow_provider_trigger.api.endpoints import MAX_DETAIL_LENGTH, Call, Response

BASE_URLS = ("https://api.trigger.dev", "http://[::1]:3030", "https://trigger.test/a/prefix")
ANY_TEXT = st.text(st.characters(exclude_categories=()))
CALLS: tuple[Callable[[], Call[Any]], ...] = (
    lambda: endpoints.cancel_run("run_1"),
    lambda: endpoints.retrieve_run("run_1"),
    lambda: endpoints.list_runs(page_size=1),
)
RUN = {"id": "run_1", "status": "QUEUED"}


def failure(call: Call[Any], answered: Response) -> errors.TriggerDevError:
    with pytest.raises(errors.TriggerDevError) as raised:
        call.read(answered)
    return raised.value


def test_a_cancel_is_a_post_without_a_body_that_may_be_repeated() -> None:
    request = endpoints.cancel_run("run_1").request
    assert (request.method, request.path) == ("POST", "/api/v2/runs/run_1/cancel")
    assert request.repeatable
    assert not request.params


def test_a_look_is_a_get_that_may_be_repeated() -> None:
    request = endpoints.retrieve_run("run_1").request
    assert (request.method, request.path, request.repeatable) == ("GET", "/api/v3/runs/run_1", True)


def test_a_list_asks_for_as_many_as_it_is_told() -> None:
    request = endpoints.list_runs(page_size=7).request
    assert (request.method, request.path) == ("GET", "/api/v1/runs")
    assert dict(request.params) == {"page[size]": "7"}


@pytest.mark.parametrize("run_id", ["", ".", "..", "....", "run_\ud800"])
@pytest.mark.parametrize("call", [endpoints.cancel_run, endpoints.retrieve_run])
def test_an_id_that_cannot_be_a_segment_is_refused(call: Callable[[str], Call[Any]], run_id: str) -> None:
    with pytest.raises(errors.NotSentError, match="cannot be the id of a run") as raised:
        call(run_id)
    assert not raised.value.retryable
    assert str(raised.value).isprintable()


@given(ANY_TEXT, st.sampled_from(BASE_URLS))
@example("../../../admin", BASE_URLS[0])
@example("run_1/cancel?x=1#y", BASE_URLS[0])
@example("@evil.test/", BASE_URLS[0])
@example("%2e%2e", BASE_URLS[2])
@example("%2F", BASE_URLS[2])
@example("a\\..\\b", BASE_URLS[2])
@example("~.-_'!*", BASE_URLS[1])
@example("\r\nHost: evil.test", BASE_URLS[1])
def test_an_id_reaches_its_own_segment_of_the_url_or_is_refused(run_id: str, base_url: str) -> None:
    for call, before, after in (
        (endpoints.cancel_run, "/api/v2/runs/", "/cancel"),
        (endpoints.retrieve_run, "/api/v3/runs/", ""),
    ):
        try:
            request = call(run_id).request
        except errors.NotSentError:
            assert not run_id.strip(".") or any("\ud800" <= character <= "\udfff" for character in run_id)
            continue
        prepared = requests.Request(request.method, base_url + request.path).prepare().url
        assert prepared is not None
        for url in (prepared, parse_url(prepared).url):
            parts = urlsplit(url)
            assert url.startswith(base_url + before)
            assert (parts.query, parts.fragment, parts.netloc) == ("", "", urlsplit(base_url).netloc)
            segment = url.removeprefix(base_url + before).removesuffix(after)
            assert url == base_url + before + segment + after
            assert "/" not in segment
            assert "\\" not in segment
            assert unquote(segment) == run_id


@pytest.mark.parametrize("status", [200, 202, 204])
def test_any_success_means_that_a_cancel_was_heard(response: Any, status: int) -> None:
    assert endpoints.cancel_run("run_1").read(response(status)) is None


@pytest.mark.parametrize("status", [400, 409])
def test_a_refusal_that_says_already_means_that_a_cancel_was_heard(response: Any, status: int) -> None:
    answered = response(status, {"error": "Run is Already completed"})
    assert endpoints.cancel_run("run_1").read(answered) is None


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, {"error": "Invalid run id"}),
        (409, b"already"),
        (404, {"error": "already gone"}),
        (500, {"error": "already"}),
    ],
)
def test_no_other_refusal_counts_as_heard(response: Any, status: int, body: Any) -> None:
    assert isinstance(failure(endpoints.cancel_run("run_1"), response(status, body)), errors.ResponseError)


@pytest.mark.parametrize(
    ("status", "kind", "retryable"),
    [
        (301, errors.RedirectError, False),
        (307, errors.RedirectError, False),
        (400, errors.ResponseError, False),
        (401, errors.AuthenticationError, False),
        (403, errors.PermissionDeniedError, False),
        (404, errors.NotFoundError, False),
        (405, errors.ResponseError, False),
        (408, errors.ResponseError, True),
        (409, errors.ResponseError, True),
        (422, errors.ResponseError, False),
        (429, errors.RateLimitError, True),
        (500, errors.ServerError, True),
        (503, errors.ServerError, True),
        (599, errors.ServerError, True),
    ],
)
@pytest.mark.parametrize("call", CALLS)
def test_each_status_is_its_own_kind_of_error(
    response: Any,
    call: Callable[[], Call[Any]],
    status: int,
    kind: type[errors.ResponseError],
    retryable: bool,
) -> None:
    error = failure(call(), response(status, {"error": "Not found" if status == 404 else "no"}))
    assert type(error) is kind
    assert error.retryable is retryable
    assert f" answered {status}: " in str(error)


def test_a_server_that_forbids_another_try_is_believed(response: Any) -> None:
    answered = response(503, {"error": "gone for good"}, {"x-should-retry": "False"})
    assert not failure(endpoints.retrieve_run("run_1"), answered).retryable


def test_a_404_that_asks_for_another_try_is_no_hope_for_later(response: Any) -> None:
    answered = response(404, {"error": "Not found"}, {"x-should-retry": "true"})
    assert not failure(endpoints.retrieve_run("run_1"), answered).retryable


@pytest.mark.parametrize("text", ["Not found", "Resource not found", "Run not found"])
def test_the_apis_own_404_means_an_unknown_run(response: Any, text: str) -> None:
    error = failure(endpoints.cancel_run("run_1"), response(404, {"error": text}))
    assert type(error) is errors.NotFoundError
    assert str(error).endswith(f"answered 404: {text}")


OTHERS_404 = [b"<!DOCTYPE html><html>", b"", b'{"error": "Not fo', b"[]", b"{}", b'{"error": {"code": 404}}']


@pytest.mark.parametrize(
    "body",
    [
        b'{"detail": "Not Found"}',
        b'{"message": "no Route matched"}',
        b'{"error": "Not Found"}',
        b'{"timestamp": 1, "status": 404, "error": "Not Found", "path": "/x"}',
        b'{"error": "Unknown project"}',
    ],
)
def test_the_404_of_another_product_is_not_taken_for_an_unknown_run(response: Any, body: bytes) -> None:
    error = failure(endpoints.cancel_run("run_1"), response(404, body))
    assert type(error) is errors.ResponseError
    assert str(error).endswith(": this is not a Trigger.dev server, or a proxy stands before it")


@pytest.mark.parametrize("body", OTHERS_404)
def test_a_404_that_is_not_the_apis_is_not_taken_for_an_unknown_run(response: Any, body: bytes) -> None:
    error = failure(endpoints.cancel_run("run_1"), response(404, body, {"content-type": "text/html; x=y"}))
    assert type(error) is errors.ResponseError
    assert f"(text/html, {len(body)} bytes): this is not a Trigger.dev server" in str(error)


def test_a_redirect_tells_where_to_and_that_nobody_went_there(response: Any) -> None:
    answered = response(302, b"", {"location": "https://login.test/" + "x" * 500})
    error = failure(endpoints.retrieve_run("run_1"), answered)
    assert "a redirect to https://login.test/xxx" in str(error)
    assert "not followed" in str(error)
    assert len(str(error)) < 500


def test_a_redirect_to_nowhere_is_told_as_one(response: Any) -> None:
    assert "a redirect to nowhere" in str(failure(endpoints.retrieve_run("run_1"), response(302)))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32", "utf-32-le"])
@pytest.mark.parametrize("status", [200, 403, 404])
def test_an_answer_that_is_not_utf_8_is_not_read(response: Any, encoding: str, status: int) -> None:
    """The driver looks for the key in bytes, so it would not find it in these."""
    body = json.dumps(RUN | {"error": "the key, say"}).encode(encoding)
    told = str(failure(endpoints.retrieve_run("run_1"), response(status, body)))
    assert "the key" not in told
    assert f"{len(body)} bytes)" in told


def test_a_mark_of_the_byte_order_before_utf_8_is_no_part_of_the_answer(response: Any) -> None:
    body = json.dumps(RUN).encode("utf-8-sig")
    assert endpoints.retrieve_run("run_1").read(response(200, body)).status == "QUEUED"


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({"error": "the message"}, "the message"),
        ({"title": "T", "detail": "the detail"}, "the detail"),
        ({"message": "the text"}, "the text"),
        ({"error": "first", "detail": "second", "message": "third"}, "first"),
        ({"error": {"code": 7}, "message": "third"}, "third"),
        ({"error": "in\n several \t lines"}, "in several lines"),
        ({"error": None}, "(no content type, 15 bytes)"),
        (["error"], "(no content type, 9 bytes)"),
    ],
)
def test_the_servers_own_message_is_found_and_told_in_one_line(response: Any, body: Any, detail: str) -> None:
    error = failure(endpoints.cancel_run("run_1"), response(400, body))
    assert isinstance(error, errors.ResponseError)
    assert error.detail == detail


def test_a_long_message_is_cut(response: Any) -> None:
    error = failure(endpoints.cancel_run("run_1"), response(500, {"error": "e" * 9999}))
    assert isinstance(error, errors.ResponseError)
    assert error.detail == "e" * MAX_DETAIL_LENGTH


def test_the_requests_id_is_told_and_cut(response: Any) -> None:
    answered = response(500, {"error": "no"}, {"x-request-id": "q" * 9999})
    error = failure(endpoints.cancel_run("run_1"), answered)
    assert isinstance(error, errors.ResponseError)
    assert error.request_id == "q" * 100
    assert str(error).endswith(f"(request {'q' * 100})")


def test_a_long_id_does_not_swell_the_error(response: Any) -> None:
    assert len(str(failure(endpoints.cancel_run("r" * 9999), response(404, {"error": "no"})))) < 300


def test_a_run_is_read_with_the_servers_clock(response: Any) -> None:
    answered = response(200, RUN, {"date": "Wed, 25 Nov 2026 09:32:29 GMT"})
    run = endpoints.retrieve_run("run_1").read(answered)
    assert (run.id, run.status) == ("run_1", "QUEUED")
    assert run.seen_at == datetime(2026, 11, 25, 9, 32, 29, tzinfo=UTC)


@pytest.mark.parametrize(
    "date",
    [
        None,
        "",
        "soon",
        "Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
        "Mon, 01 Jan 2026 00:00:00 +99999999999999999999",
    ],
)
def test_a_clock_that_cannot_be_read_is_none(response: Any, date: str | None) -> None:
    assert response(headers={} if date is None else {"date": date}).date() is None


def test_a_clock_without_a_zone_is_utc(response: Any) -> None:
    read = response(headers={"date": "Wed, 25 Nov 2026 09:32:29 -0000"}).date()
    assert read == datetime(2026, 11, 25, 9, 32, 29, tzinfo=UTC)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"<html>", "no JSON (text/html, 6 bytes)"),
        (b"", "no JSON (text/html, 0 bytes)"),
        (b'{"id": "run_1", "sta', "no JSON"),
        (b"\xff\xfe\xfa", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"9" * 5000, "no JSON"),
        (b"null", "JSON that is no object"),
        (b"[]", "JSON that is no object"),
        (b"{}", "a run without 'id'"),
        (b'{"id": "run_1"}', "a run without 'status'"),
        (b'{"id": "run_1", "status": null}', "a run without 'status'"),
        (b'{"id": "run_2", "status": "QUEUED"}', "another run: 'run_2'"),
    ],
)
def test_what_is_no_run_is_an_unexpected_answer(response: Any, body: bytes, reason: str) -> None:
    answered = response(200, body, {"content-type": "text/html"})
    error = failure(endpoints.retrieve_run("run_1"), answered)
    assert type(error) is errors.UnexpectedAnswerError
    assert reason in str(error)
    assert str(error).startswith("GET /api/v3/runs/run_1 answered ")
    assert error.retryable


def test_a_list_is_read(response: Any) -> None:
    assert endpoints.list_runs(page_size=1).read(response(200, {"data": [RUN], "pagination": {}})) == [RUN]


@pytest.mark.parametrize("body", [{}, {"data": None}, {"data": {"0": RUN}}, {"runs": []}])
def test_another_products_json_is_no_list(response: Any, body: Any) -> None:
    error = failure(endpoints.list_runs(page_size=1), response(200, body))
    assert type(error) is errors.UnexpectedAnswerError
    assert "without a list of runs" in str(error)


HEADER_NAMES = ("content-type", "date", "location", "retry-after", "x-request-id", "x-should-retry")
LIMITS = tuple(f"x-ratelimit-{name}" for name in ("limit", "remaining", "reset"))
HEADER_VALUES = (
    st.sampled_from(["true", "false", "0", "nan", "inf", "1e999", "-1", "1795599159334"])
    | st.sampled_from(["Wed, 25 Nov 2026 09:32:29 -0000", "1 Jan 99999999999 00:00 +9999999999"])
    | st.text(max_size=20)
)
BODIES = [
    b'{"error": 1}',
    b'{"data": []}',
    b'{"id": "run_1", "status": "X"}',
    b'{"id": "run_1", "status": "CANCELED", "startedAt": "x"}',
    b'{"secondsUntilReset": 1e999}',
    b'{"secondsUntilReset": 1' + b"0" * 400 + b"}",
]


@given(
    st.integers(100, 599),
    st.dictionaries(st.sampled_from(HEADER_NAMES + LIMITS), HEADER_VALUES),
    st.sampled_from(BODIES) | st.binary(max_size=50),
    st.sampled_from(CALLS),
)
def test_whatever_comes_back_is_read_or_is_one_of_our_errors(
    status: int, headers: dict[str, str], body: bytes, call: Callable[[], Call[Any]]
) -> None:
    answered = Response(status=status, headers=headers, body=body)
    told, tries = "", 1.0
    try:
        result = call().read(answered)
    except errors.TriggerDevError as error:
        error.response = answered
        told, tries = str(error), retries.tries_allowed(call().request, error)
    else:
        assert 200 <= status < 300 or result is None
    assert len(told) < 1000
    assert tries >= 1
    wait = retries.server_wait(answered, now=1_795_600_000.0)
    assert wait is None or 0 < wait <= retries.MAX_WAIT
