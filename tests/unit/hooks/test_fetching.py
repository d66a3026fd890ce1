"""Fetch the key of a connection that was changed while a task works with it."""

from __future__ import annotations

import logging
from unittest.mock import Mock

import pytest

OLD, NEW = "tr_prod_old_marker_of_the_test", "tr_prod_new_marker_of_the_test"
ELSEWHERE = "has changed; this task does not use the new one"


@pytest.fixture
def accepted(wire, answer, clock) -> list[str]:
    """The key that the server accepts."""
    accepted = [NEW]

    def script(request):
        if request.headers["Authorization"] != f"Bearer {accepted[0]}":
            return answer(401, {"error": "Invalid API key"})
        return answer(200, {"id": "run_1", "status": "QUEUED"})

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
    hook.get_run("run_1")  # with another client
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
