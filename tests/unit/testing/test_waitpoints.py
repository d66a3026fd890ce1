"""Waitpoint tokens by a clock that the test sets, and runs that wait for them; see also the recordings."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest
from fake_clock import Clock
from in_process import routed

from airflow_provider_trigger.testing import UNSET, ServerRun, TriggerDevServer

TOKENS = "/api/v1/waitpoints/tokens"


def shown(server: TriggerDevServer, method: str, target: str, body: Any = None, **options: Any) -> Any:
    answer = routed(server, method, target, body, **options)
    assert answer.status_code == 200
    return json.loads(bytes(answer.body))


def create(server: TriggerDevServer, **options: Any) -> str:
    return str(shown(server, "POST", TOKENS, options)["id"])


def listed(server: TriggerDevServer, query: str = "", **options: Any) -> list[str]:
    return [token["id"] for token in shown(server, "GET", f"{TOKENS}?{query}", **options)["data"]]


# Time


def test_an_idempotency_key_stands_for_its_token_as_long_as_it_says(server, clock: Clock) -> None:
    for_ever = create(server, idempotencyKey="e")
    first = create(server, idempotencyKey="k", idempotencyKeyTTL="1m")
    clock.now += 59
    assert create(server, idempotencyKey="k") == first
    clock.now += 2
    second = create(server, idempotencyKey="k", idempotencyKeyTTL="1m")
    assert second != first
    clock.now += 400 * 86400
    assert create(server, idempotencyKey="e") == for_ever
    assert listed(server, "filter[idempotencyKey]=k") == [second, first]


@pytest.mark.parametrize("by_id", [True, False])
def test_a_test_completes_a_token_by_its_id_or_itself(server, by_id: bool) -> None:
    token = server.tokens[create(server)]
    server.complete_token(token.id if by_id else token, {"approved": True})
    assert token.status == "COMPLETED"


# Addresses


def test_an_address_belongs_to_one_token_and_takes_posts_only(server: TriggerDevServer) -> None:
    one, two = server.create_token()[0], server.create_token()[0]
    for token_id, status in (("waitpoint_unknown", 404), (two.id, 401), (quote(f"{one.id}/x"), 404)):
        path = one.path.replace(one.id, token_id)
        assert routed(server, "POST", path, 1).status_code == status
    assert routed(server, "PUT", one.path, 1).status_code == 405
    assert (one.status, two.status) == ("WAITING", "WAITING")
    assert routed(server, "POST", one.path, {"data": 1}).status_code == 200
    assert (one.status, one.output, two.status) == ("COMPLETED", {"data": 1}, "WAITING")
    assert one.url == server.url + one.path


# Runs that wait for a token


def start(server: TriggerDevServer, token_id: Any, **behavior: Any) -> ServerRun:
    server.on_task("deploy", waits_for_token=True, start_after=1, after=4, **behavior)
    return server.trigger("deploy", payload={"token_id": token_id})[0]


def test_a_run_waits_for_its_token_and_returns_its_data(server: TriggerDevServer, clock: Clock) -> None:
    token = server.create_token(timeout="1h")[0]
    run, seen = start(server, token.id), []
    for second in range(10):
        clock.now += 1
        seen.append(run.status)
        if second == 6:
            server.complete_token(token.id, {"approved": True})
    assert seen == ["EXECUTING"] * 2 + ["WAITING"] * 5 + ["EXECUTING"] + ["COMPLETED"] * 2
    assert (run.output, run.attempt_count, run.terminated) == ({"approved": True}, 1, True)


@pytest.mark.parametrize("data", [{"failed": True}, {"version": 3}, UNSET])
def test_a_function_makes_the_output_of_the_data(server: TriggerDevServer, clock: Clock, data: Any) -> None:
    def deploy(answer: Any) -> Any:
        if answer and answer.get("failed"):
            raise ValueError("the Dag has failed")
        return answer and answer["version"]

    token = server.create_token()[0]
    run = start(server, token.id, output=deploy)
    server.complete_token(token.id, data)
    clock.now += 10
    if data is not UNSET and "failed" in data:
        assert (run.status, run.error["message"]) == ("FAILED", "the Dag has failed")
    else:
        assert (run.status, run.output) == ("COMPLETED", 3 if data is not UNSET else None)


@pytest.mark.parametrize("looked_at", [True, False])
def test_a_run_fails_whose_token_times_out(server: TriggerDevServer, clock: Clock, looked_at: bool) -> None:
    run = start(server, server.create_token(timeout="10s")[0].id)
    for _ in range(20):
        clock.now += 1
        if looked_at:
            assert run.status in ("EXECUTING", "WAITING", "FAILED")
    assert (run.status, run.error["name"]) == ("FAILED", "WaitpointTimeoutError")
    assert (run.finished_at - run.created_at).total_seconds() == 10


@pytest.mark.parametrize("token_id", ["waitpoint_unknown", None, "other"])
def test_a_run_fails_that_has_no_token(server: TriggerDevServer, clock: Clock, token_id: Any) -> None:
    if token_id == "other":
        token_id = server.create_token(environment="stg")[0].id
    run = start(server, token_id)
    clock.now += 10
    assert (run.status, run.error["message"]) == ("FAILED", "Waitpoint not found")
