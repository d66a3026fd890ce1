"""The secret key: hidden in answers and errors, and fetched again where it was changed meanwhile."""

from __future__ import annotations

import logging
from typing import Any
from unittest.mock import Mock
from urllib.parse import quote

import pytest
import requests

OLD, NEW = "tr_prod_old_marker_of_the_test", "tr_prod_new_marker_of_the_test"
KEY = "tr_prod_marker/of+the=test"
TEXTS = {
    f"a {KEY} b {KEY} c": "a *** b *** c",
    quote(KEY): "***",
    f"?key={quote(KEY, safe='')}&x": "?key=***&x",
    f'{{"error": "no {KEY}"}}': '{"error": "no ***"}',
}
ELSEWHERE = "has changed; this task does not use the new one"


@pytest.mark.parametrize("text", TEXTS)
def test_the_key_is_hidden_in_answers_and_errors(connect_as, wire, answer, assert_hides, text: str) -> None:
    hook = connect_as(password=KEY, extra={"retry_for": 0})
    wire.script = lambda _: answer(200, {"id": "run_1", "status": "QUEUED", "output": text})
    assert hook.get_run("run_1").output == TEXTS[text]
    wire.script = lambda _: answer(500, {"error": text}, {"x-request-id": text})
    with pytest.raises(Exception, match="answered 500") as raised:
        hook.get_run(KEY)
    error: Any = raised.value
    assert (error.path, error.detail, error.request_id) == ("/api/v3/runs/***", TEXTS[text], TEXTS[text])
    assert_hides(error, KEY, quote(KEY), quote(KEY, safe=""))


def test_nothing_that_an_error_carries_leads_to_the_key(connect_as, wire, answer, assert_hides) -> None:
    hook = connect_as(password=KEY, extra={"retry_for": 0})
    bad_key, page = answer(401, {"error": f"bad {KEY}"}), answer(200, b"<html>")
    for failure in (bad_key, requests.ConnectionError("refused"), page):
        wire.script = lambda _, failure=failure: failure
        with pytest.raises(Exception, match="GET /api/v3/runs/run_1") as raised:
            hook.get_run("run_1")
        assert_hides(raised.value, KEY)


@pytest.mark.parametrize(("key", "shown"), [("run_abc", "run_abc"), ("run_abcd", "***")])
def test_a_key_shorter_than_real_ones_is_not_hidden(connect_as, wire, answer, key: str, shown: str) -> None:
    wire.script = lambda _: answer(200, {"id": "run_1", "status": "QUEUED", "output": key})
    assert connect_as(password=key).get_run("run_1").output == shown


# A key that was changed


@pytest.fixture
def accepted(wire, answer, clock) -> list[str]:
    """The key that the server accepts."""
    accepted = [NEW]

    def script(request):
        if request.headers["Authorization"] != f"Bearer {accepted[0]}":
            return answer(401, {"error": "Invalid API key"})
        return answer(200, {"id": "run_1", "status": "QUEUED", "output": f"{OLD} {NEW}"})

    wire.script = script
    return accepted


@pytest.fixture
def hook(accepted, connect_as):
    """A hook that has read its connection, whose key is rejected."""
    made = connect_as(password=OLD)
    assert made.settings.secret_key == OLD
    return made


def keys_sent(wire) -> list[str]:
    return [sent.headers["Authorization"].removeprefix("Bearer ") for sent in wire.sent]


def test_a_hook_continues_with_the_key_that_its_connection_has_now(hook, connect_as, wire, caplog) -> None:
    caplog.set_level(logging.DEBUG)
    connect_as(password=NEW)
    assert hook.get_run("run_1").status == "QUEUED"
    assert keys_sent(wire) == [OLD, OLD, NEW]
    assert hook.get_run("run_1").output == "*** ***"  # with another client
    assert keys_sent(wire)[3:] == [NEW]
    assert not [key for key in (OLD, NEW) if key in caplog.text]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"host": "https://elsewhere.test"}, ELSEWHERE),
        ({"extra": {"branch": "other"}}, ELSEWHERE),
        ({"password": ""}, ""),
        (None, ""),
    ],
)
def test_without_another_key_for_the_same_environment_the_error_stays(
    hook, connect_as, wire, world, caplog, monkeypatch, changed, said
) -> None:
    connect_as(**{"password": NEW} | (changed or {}))
    if changed is None:
        monkeypatch.setattr(type(hook), "get_connection", Mock(side_effect=RuntimeError(OLD)))
    with pytest.raises(Exception, match="Invalid API key"):
        hook.get_run("run_1")
    assert set(keys_sent(wire)) == {OLD}
    logged = caplog.text + str(world.log.leveled)
    assert said in logged
    assert OLD not in logged


def test_a_connection_that_was_given_is_not_fetched(hook, connect_as, make_connection, wire) -> None:
    connect_as(password=NEW)
    fields = {"conn_id": "trigger_dev_default", "host": "https://trigger.test"}
    given = type(hook)(connection=make_connection(password=OLD, **fields))
    with pytest.raises(Exception, match="Invalid API key"):
        given.get_run("run_1")
    assert set(keys_sent(wire)) == {OLD}
