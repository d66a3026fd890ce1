"""Fetch the key of a connection that was changed while a task works with it."""

from __future__ import annotations

import logging
from functools import partial

import pytest

from airflow_provider_trigger.api.errors import AuthenticationError

OLD, NEW = "tr_prod_old_marker_of_the_test", "tr_prod_new_marker_of_the_test"
OTHER = "tr_stg_marker_of_the_test"
ELSEWHERE = "has changed; this task does not use the new one"


@pytest.fixture
def hook(connect_as, wire, answer, clock):
    """A hook that has read its connection, while the server accepts the new key only."""

    def script(request):
        if request.headers["Authorization"] != f"Bearer {NEW}":
            return answer(401, {"error": "Invalid API key"})
        return answer(200, {"id": "run_1", "status": "QUEUED"})

    wire.script = script
    made = connect_as(password=OLD)
    assert made.settings.secret_key == OLD
    return made


def keys_sent(wire) -> list[str]:
    return [sent.headers["Authorization"].removeprefix("Bearer ") for sent in wire.sent]


def test_a_hook_continues_with_the_key_that_its_connection_has_now(hook, connect_as, wire, caplog) -> None:
    caplog.set_level(logging.INFO)
    connect_as(password=NEW)
    assert hook.get_run("run_1").status == "QUEUED"
    assert keys_sent(wire) == [OLD, OLD, NEW]
    assert "Connection 'trigger_dev_default' has another secret key now" in caplog.text
    hook.get_run("run_1")  # with another client
    assert keys_sent(wire)[3:] == [NEW]
    assert not [key for key in (OLD, NEW) if key in caplog.text]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"host": "https://elsewhere.test"}, ELSEWHERE),
        ({"extra": {"branch": "other"}}, ELSEWHERE),
        ({"password": ""}, "could not be fetched again (InvalidConnectionError)"),
    ],
)
def test_a_key_for_another_environment_is_not_used(hook, connect_as, wire, caplog, changed, said) -> None:
    connect_as(**{"password": NEW} | changed)
    with pytest.raises(AuthenticationError, match="Invalid API key"):
        hook.get_run("run_1")
    assert set(keys_sent(wire)) == {OLD}
    assert f"onnection 'trigger_dev_default' {said}" in caplog.text


def test_a_connection_that_is_gone_leaves_the_error_as_it_is(hook, monkeypatch, caplog) -> None:
    monkeypatch.setattr(type(hook), "get_connection", lambda *_: (_ for _ in ()).throw(RuntimeError(OLD)))
    with pytest.raises(AuthenticationError, match="Invalid API key"):
        hook.get_run("run_1")
    assert "could not be fetched again (RuntimeError)" in caplog.text
    assert OLD not in caplog.text


def test_a_connection_that_was_given_is_not_fetched(hook, connect_as, make_connection, wire) -> None:
    connect_as(password=NEW)
    fields = {"conn_id": "trigger_dev_default", "host": "https://trigger.test"}
    given = type(hook)(connection=make_connection(password=OLD, **fields))
    with pytest.raises(AuthenticationError):
        given.get_run("run_1")
    assert set(keys_sent(wire)) == {OLD}


@pytest.mark.parametrize("unknown", [(404, {"error": "Run not found"}), (500, {"error": "no"})])
def test_a_key_of_another_environment_does_not_hide_what_the_one_before_has_shown(
    connect_as, wire, answer, clock, caplog, unknown
) -> None:
    """Its 404, or 500 for a token, is not the truth, and soon the connection is fetched again."""
    accepted = [OLD]

    def script(request):
        key = request.headers["Authorization"].removeprefix("Bearer ")
        known = answer(200, {"id": "run_1", "status": "WAITING"})
        return {OTHER: answer(*unknown), accepted[0]: known}.get(key) or answer(401, {"error": "revoked"})

    wire.script = script
    hook = connect_as(password=OLD)
    check = partial(hook.get_run if unknown[0] == 404 else hook.get_waitpoint_token, "run_1")
    assert check().status == "WAITING"
    accepted[0] = NEW
    connect_as(password=OTHER)
    for _ in range(2):  # the second one fetches nothing
        with pytest.raises(AuthenticationError, match="revoked"):
            check()
    connect_as(password=NEW)
    clock.sleep(10)
    assert check().status == "WAITING"
    assert keys_sent(wire).count(OTHER) == 1
    assert "of another environment" in caplog.text
