"""The query and the realtime snapshot of the local server, over real sockets."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
import requests
from waiting import until

from airflow_provider_trigger.api.endpoints.query import query_runs
from airflow_provider_trigger.api.endpoints.realtime import snapshot_run
from airflow_provider_trigger.api.http import Request
from airflow_provider_trigger.testing import TriggerDevServer

QUERY = query_runs(["run_1"]).request
SNAPSHOT = snapshot_run("run_1").request


@pytest.fixture
def server() -> Iterator[TriggerDevServer]:
    with TriggerDevServer() as server:
        server.add_run(run_id="run_1")
        yield server


def send(server: TriggerDevServer, request: Request) -> requests.Response:
    headers = {"Authorization": f"Bearer {server.secret_key}"} | request.body_headers()
    url = request.address(server.url)
    return requests.request(request.method, url, data=request.body(), headers=headers, timeout=10)


@contextmanager
def unanswered(server: TriggerDevServer) -> Iterator[None]:
    """Send a query, and do not wait for its answer."""
    connection = http.client.HTTPConnection(server.host, server.port)
    headers = {"Authorization": f"Bearer {server.secret_key}"}
    connection.request(QUERY.method, QUERY.path, body=QUERY.body(), headers=headers)
    try:
        yield
    finally:
        connection.close()


def test_a_query_costs_one_token_and_a_snapshot_none(server: TriggerDevServer) -> None:
    tokens = server.take_tokens(0)
    assert send(server, QUERY).json()["results"][0]["status"] == "Executing"
    assert server.take_tokens(0) == tokens - 1
    answer = send(server, SNAPSHOT)
    assert answer.json()[0]["value"]["status"] == "EXECUTING"
    assert "x-ratelimit-remaining" not in answer.headers
    assert server.take_tokens(0) == tokens - 1


def test_more_than_three_queries_at_once_are_rejected(server: TriggerDevServer) -> None:
    server.delay_next(3, 60, path="/api/v1/query")
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(unanswered(server))
        until(lambda: len(server.requests) == 3, "three queries are in progress")
        answer = send(server, QUERY)
        assert answer.status_code == 429
        assert "query concurrency of 3" in answer.json()["error"]
        # The bucket is not empty, and does not hold up anything else.
        assert int(answer.headers["x-ratelimit-remaining"]) > 0
        assert send(server, SNAPSHOT).status_code == 200


def test_queries_one_after_another_are_not_at_once(server: TriggerDevServer) -> None:
    assert {send(server, QUERY).status_code for _ in range(5)} == {200}


def test_its_database_can_be_down(server: TriggerDevServer) -> None:
    down = {"error": "connect ECONNREFUSED 127.0.0.1:58123"}
    server.fail_next(None, 400, body=down, path="/api/v1/query")
    assert (send(server, QUERY).status_code, send(server, QUERY).json()) == (400, down)
    server.clear_faults()
    assert send(server, QUERY).status_code == 200
