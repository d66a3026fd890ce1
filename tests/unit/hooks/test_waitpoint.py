"""The hook's methods on waitpoint tokens."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hub import Hub
from in_process import Network
from token_server import KEY, TOKENS, UNKNOWN, secret_of

from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook

pytestmark = pytest.mark.usefixtures("wired")


def test_it_creates_a_token_with_what_it_is_given_and_hides_its_address(waitpoints, wire) -> None:
    options: dict[str, Any] = {"tags": "a", "idempotency_key": "order-17"}
    first = TriggerDevHook().create_waitpoint_token(timeout="5m", **options)
    again = TriggerDevHook().create_waitpoint_token(**options)
    [token] = waitpoints.tokens.values()
    sent = {"timeout": "300s", "tags": ["a"], "idempotencyKey": "order-17"}
    assert json.loads(wire.sent[0].body) == sent
    assert first.url == f"https://trigger.test{token.path}"
    assert [one.is_cached for one in (first, again)] == [False, True]
    assert first.id == again.id == token.id
    assert secret_of(token) not in repr(first)


def test_it_returns_a_token_with_its_data_and_an_unknown_one_is_an_error(tokens, clock: Hub) -> None:
    hook = TriggerDevHook()
    found = hook.get_waitpoint_token(tokens["already_completed"].id)
    assert (found.status, found.output, found.is_completed) == ("COMPLETED", {"by": "somebody"}, True)
    token = tokens["timed_out"]
    for form in (token.id, token.path, {"id": token.id, "url": token.path}):
        assert hook.get_waitpoint_token(form).has_timed_out
    begun = clock.now
    with pytest.raises(Exception, match="Connection 'trigger_dev_default'") as raised:
        hook.get_waitpoint_token(UNKNOWN)
    assert raised.typename == "UnknownTokenError"
    assert str(raised.value).endswith("; check that the token is of the key's environment")
    assert clock.now - begun < 20


def test_data_that_cannot_be_read_are_an_error(tokens, wired: Network, answer) -> None:
    token_id = tokens["completed"].id
    shown = {"id": token_id, "status": "COMPLETED", "output": "x.json", "outputType": "application/store"}
    wired.fault("GET", answer(200, shown))
    with pytest.raises(Exception, match=f"waitpoint token {token_id}: .* of the type 'application/store'"):
        TriggerDevHook().get_waitpoint_token(token_id)


def test_it_completes_a_token_and_returns_what_became_of_it(tokens) -> None:
    hook, results = TriggerDevHook(), {}
    for name, token in tokens.items():
        results[name] = hook.complete_waitpoint_token({"id": token.id, "url": token.path}, data=[1])
    results["not_found"] = hook.complete_waitpoint_token(UNKNOWN)
    assert {name: result.outcome for name, result in results.items()} == {one: one for one in results}
    assert (tokens["completed"].output, tokens["already_completed"].output) == ([1], {"by": "somebody"})


def test_a_failure_is_returned_and_a_rejected_key_is_raised(tokens, wired: Network, answer) -> None:
    token = tokens["completed"]
    wired.fault("/complete", answer(403, {"error": "no"}))
    assert TriggerDevHook().complete_waitpoint_token(token.path).to_dict() == {
        "token_id": token.id,
        "outcome": "failed",
        "status": None,
        "error": f"POST {TOKENS}/{token.id}/complete answered 403: no: the key may lack the right "
        "write:waitpoints; check the permissions of the key in the password of connection "
        "'trigger_dev_default'",
    }
    wired.fault("", answer(401, {"error": f"Invalid API key {KEY}"}), times=1000)
    with pytest.raises(Exception, match="check the password of the connection") as raised:
        TriggerDevHook().complete_waitpoint_token(token.id)
    assert raised.typename == "AuthenticationError"


@pytest.mark.parametrize(
    ("method", "arguments", "text"),
    [
        ("create", {"timeout": 0}, "create_waitpoint_token: timeout must be a dur"),
        ("create", {"idempotency_key": ""}, "create_waitpoint_token: idempotency_"),
        ("get", {"token_id": [""]}, "'' from token_id is not a valid token id"),
        ("get", {"token_id": "/x/callback/0a1b"}, "'/x/callback/…' from token_id is not"),
        ("complete", {"token_id": "waitpoint_1", "data": 2**53 + 1}, "complete_waitpoint_token: data "),
        ("complete", {"token_id": []}, "token_id must contain exactly one token id, not 0"),
        ("complete", {"token_id": "/x/callback/0a1b"}, "'/x/callback/…' from token_id is not"),
    ],
)
def test_what_is_wrong_is_not_sent(method: str, arguments: dict[str, Any], text: str, wired: Network) -> None:
    with pytest.raises(ValueError, match=text):
        getattr(TriggerDevHook(), f"{method}_waitpoint_token")(**arguments)
    assert wired.requests == []
