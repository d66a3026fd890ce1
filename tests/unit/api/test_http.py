from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_provider_trigger.api.http import API_VERSION, Request, Response, read_http_date


def test_the_api_version_is_the_one_with_todays_status_words() -> None:
    assert API_VERSION == "2025-07-16"


def test_a_request_has_neither_query_nor_body_unless_given() -> None:
    request = Request(method="GET", path="/api/v1/runs", repeatable=True)
    assert (dict(request.params), request.json) == ({}, None)


def test_a_request_is_shown_by_method_and_path_of_limited_length() -> None:
    request = Request(method="POST", path="/" + "p" * 999, params={"a": "b"}, repeatable=True)
    assert str(request) == "POST /" + "p" * 199


@pytest.mark.parametrize("name", ["method", "path", "repeatable"])
def test_a_request_must_say_what_it_is(name: str) -> None:
    arguments: dict[str, Any] = {"method": "GET", "path": "/", "repeatable": True}
    del arguments[name]
    with pytest.raises(TypeError, match=name):
        Request(**arguments)


def test_requests_and_responses_cannot_be_changed(response: Any) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        response().status = 500
    with pytest.raises(dataclasses.FrozenInstanceError):
        Request(method="GET", path="/", repeatable=True).path = "/x"  # type: ignore[misc]  # that is the test


def test_a_response_does_not_show_its_body(response: Any) -> None:
    assert "hidden" not in repr(response(200, b"hidden"))


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"id": "run_1"}', {"id": "run_1"}),
        (b"[1]", [1]),
        (b'"text"', "text"),
        (b"null", None),
        (b"", None),
        (b"<html>", None),
        (b'{"id": "run_1", "sta', None),
        (b"\xff\xfe\xfa", None),
        (b"[" * 100_000, None),
        (b"9" * 5000, None),
    ],
)
def test_a_body_is_decoded_where_it_is_valid_json(response: Any, body: bytes, value: Any) -> None:
    assert response(200, body).json() == value


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32", "utf-32-le"])
def test_a_body_that_is_not_utf_8_is_not_decoded(response: Any, encoding: str) -> None:
    """The key is masked in UTF-8 only, so it would not be found in these."""
    assert response(200, json.dumps({"error": "the key"}).encode(encoding)).json() is None


def test_a_byte_order_mark_before_utf_8_is_not_part_of_the_body(response: Any) -> None:
    assert response(200, b"\xef\xbb\xbf{}").json() == {}


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b'"text"', b"7"])
def test_a_body_that_is_not_an_object_is_an_empty_one(response: Any, body: bytes) -> None:
    assert response(200, body).json_object() == {}


def test_a_body_that_is_an_object_is_returned_as_one(response: Any) -> None:
    assert response(200, {"a": 1}).json_object() == {"a": 1}


def test_the_servers_clock_is_read(response: Any) -> None:
    answered = response(headers={"date": "Wed, 25 Nov 2026 09:32:29 GMT"})
    assert answered.date() == datetime(2026, 11, 25, 9, 32, 29, tzinfo=UTC)


def test_without_a_date_the_servers_clock_is_unknown() -> None:
    assert Response(status=200, headers={}, body=b"").date() is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
        "Mon, 01 Jan 2026 00:00:00 +99999999999999999999",
    ],
)
def test_a_date_that_is_not_valid_is_none(text: str) -> None:
    assert read_http_date(text) is None


@pytest.mark.parametrize("zone", ["GMT", "-0000", "+0000"])
def test_a_date_without_a_zone_is_utc(zone: str) -> None:
    read = read_http_date(f"Wed, 25 Nov 2026 09:32:29 {zone}")
    assert read == datetime(2026, 11, 25, 9, 32, 29, tzinfo=UTC)


def test_a_date_in_another_zone_is_the_same_moment() -> None:
    read = read_http_date("Wed, 25 Nov 2026 10:32:29 +0100")
    assert read == datetime(2026, 11, 25, 9, 32, 29, tzinfo=UTC)
