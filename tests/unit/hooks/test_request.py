"""The hook sends any request of the API, as it sends its own."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests

QUEUES = "/api/v1/queues"


def test_any_request_is_sent_and_its_json_is_returned(connect_as, wire, answer) -> None:
    wire.script = lambda _: answer(200, [1, None])
    hook = connect_as(extra={"branch": "main"})
    params: Any = {"type": "custom", "page": 2, "all": True}
    found = hook.request("POST", f"{QUEUES}/a%2Fb/pause", {"action": "pause"}, params=params)
    assert found == [1, None]
    sent = wire.sent[0]
    assert (sent.method, json.loads(sent.body)) == ("POST", {"action": "pause"})
    assert sent.url == "https://trigger.test/api/v1/queues/a%2Fb/pause?type=custom&page=2&all=true"
    assert sent.headers["Authorization"].startswith("Bearer tr_")
    assert sent.headers["x-trigger-branch"] == "main"


@pytest.mark.parametrize(
    ("method", "repeatable", "tries"),
    [("GET", None, 2), ("POST", None, 1), ("PUT", True, 2), ("GET", False, 1)],
)
def test_what_is_repeated(connect_as, wire, answer, method: str, repeatable: bool | None, tries: int) -> None:
    answers = iter([requests.ConnectionError("reset"), answer(200, {})])
    wire.script = lambda _: next(answers)
    hook = connect_as()
    if tries == 2:
        assert hook.request(method, QUEUES, repeatable=repeatable) == {}
    else:
        with pytest.raises(Exception, match=f"{method} {QUEUES}"):
            hook.request(method, QUEUES, repeatable=repeatable)
    assert len(wire.sent) == tries


def test_null_is_an_answer_and_a_page_is_an_error(connect_as, wire, answer) -> None:
    hook = connect_as(extra={"retry_for": 0})
    wire.script = lambda _: answer(200, b"null")
    assert hook.request("GET", QUEUES) is None
    wire.script = lambda _: answer(200, b"<html>")
    with pytest.raises(Exception, match=r"Connection 'trigger_dev_default' .* without valid JSON") as raised:
        hook.request("GET", QUEUES)
    assert raised.typename == "UnexpectedAnswerError"
    wire.script = lambda _: answer(403, {"error": "no"})
    with pytest.raises(Exception, match="the key may lack the right for it"):
        hook.request("GET", QUEUES)


@pytest.mark.parametrize(
    "path",
    [
        "https://evil.test/api/v1/queues",
        "//evil.test/api/v1",
        "/api/v1/../admin",
        "/api/v1/%2e%2E/admin",
        "/api//v1",
        "/api/v1/runs?a=1",
        "/api/v1/runs#a",
        "/api/v1/a b",
        "/api/v1/é",
        "/admin",
        "/api/",
        "api/v1/runs",
        7,
    ],
)
def test_another_place_is_refused_before_anything_is_sent(connect_as, wire, path: Any) -> None:
    with pytest.raises(ValueError, match=r"request: path must be a path such as '/api/v1/queues'"):
        connect_as().request("GET", path)
    assert wire.sent == []


def test_an_invalid_method_or_body_is_refused_before_anything_is_sent(connect_as, wire) -> None:
    with pytest.raises(ValueError, match="method must be one of GET, POST, PUT, PATCH, DELETE, not 'TRACE'"):
        connect_as().request("TRACE", QUEUES)
    with pytest.raises(ValueError, match=r"request: json\['a'\] must be JSON: "):
        connect_as().request("PUT", QUEUES, {"a": b"1"})
    assert wire.sent == []
