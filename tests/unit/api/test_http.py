from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import requests
from hypothesis import example, given
from hypothesis import strategies as st
from urllib3.util import parse_url

from airflow_provider_trigger.api.errors import InvalidIdError, NotSentError
from airflow_provider_trigger.api.http import read_http_date, segment


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"id": "run_1"}', {"id": "run_1"}),
        (b"[1]", [1]),
        (b"null", None),
        (b"", None),
        (b"\xef\xbb\xbf{}", {}),  # a byte order mark
        (b"<html>", None),
        (b'{"id": "run_1", "sta', None),
        ("{}".encode("utf-16"), None),  # the key is masked in UTF-8 only
        (b"[" * 100_000, None),
        (b"9" * 5000, None),
    ],
)
def test_a_body_is_decoded_where_it_is_valid_json(response, body: bytes, value) -> None:
    assert response(200, body).json() == value
    assert response(200, body).json_object() == (value if isinstance(value, dict) else {})


READ = datetime(2026, 11, 25, 9, 32, 29, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("Wed, 25 Nov 2026 09:32:29 GMT", READ),
        ("Wed, 25 Nov 2026 09:32:29 -0000", READ),
        ("", None),
        ("soon", None),
        ("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", None),
    ],
)
def test_the_servers_clock_is_read(response, text: str, time: datetime | None) -> None:
    assert read_http_date(text) == response(headers={"date": text}).date() == time
    assert response().date() is None


BASE_URLS = ("https://api.trigger.dev", "http://[::1]:3030", "https://trigger.test/a/prefix")


@pytest.mark.parametrize("run_id", ["", " ", ".", "..", "....", "run_\ud800", "\udfff", None, ["run_1"]])
def test_an_id_that_cannot_be_a_segment_is_rejected(run_id: Any) -> None:
    with pytest.raises(InvalidIdError) as raised:
        segment(run_id)
    shown = ascii(run_id) if isinstance(run_id, str) else f"a {type(run_id).__name__}"
    assert str(raised.value) == f"{shown} cannot be the id of a run"
    assert isinstance(raised.value, ValueError)
    assert not raised.value.retryable
    assert str(raised.value).isprintable()
    with pytest.raises(NotSentError, match=f"^'{'x' * 100}' cannot be the id of a task$"):
        segment("x" * 999 + "\ud800", what="the id of a task")


@given(st.text(st.characters(exclude_categories=())), st.sampled_from(BASE_URLS))
@example("../../../admin", BASE_URLS[0])
@example("run_1/cancel?x=1#y", BASE_URLS[0])
@example("@evil.test/", BASE_URLS[0])
@example("%2e%2e", BASE_URLS[2])
@example("%2F", BASE_URLS[2])
@example("a\\..\\b", BASE_URLS[2])
@example("~.-_'!*", BASE_URLS[1])
@example("\r\nHost: evil.test", BASE_URLS[1])
def test_an_id_reaches_its_own_segment_of_the_url_or_is_rejected(run_id: str, base_url: str) -> None:
    try:
        path = f"/runs/{segment(run_id)}/cancel"
    except NotSentError:
        assert not run_id.strip(".").strip() or any("\ud800" <= character <= "\udfff" for character in run_id)
        return
    prepared = requests.Request("POST", base_url + path).prepare().url
    assert prepared is not None
    for url in (prepared, parse_url(prepared).url):
        parts = urlsplit(url)
        assert (parts.query, parts.fragment, parts.netloc) == ("", "", urlsplit(base_url).netloc)
        sent = url.removeprefix(f"{base_url}/runs/").removesuffix("/cancel")
        assert url == f"{base_url}/runs/{sent}/cancel"
        assert "/" not in sent
        assert "\\" not in sent
        assert unquote(sent) == run_id
