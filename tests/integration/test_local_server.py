"""The local server over real sockets: what the test sees of it, and its faults."""

from __future__ import annotations

import http.client
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
import requests
from waiting import LONG, until

from airflow_provider_trigger.testing import TriggerDevServer


@pytest.fixture
def run(server):
    return server.add_run(payload={"n": 1})


@pytest.fixture
def retrieve(send, run):
    return lambda: send("GET", f"/api/v3/runs/{run.id}")


@pytest.fixture
def cancel(send, run):
    return lambda timeout=30: send("POST", f"/api/v2/runs/{run.id}/cancel", timeout=timeout)


def test_the_test_sees_what_the_server_does(server, run, retrieve, cancel):
    assert retrieve().json()["status"] == "EXECUTING"
    assert cancel().json() == {"id": run.id}
    assert server.runs[run.id] is run
    assert run.status == "CANCELED"
    until(lambda: run.terminated, "the worker acknowledges the cancel")
    assert "finishedAt" in retrieve().json()
    first, second, _ = server.requests
    assert (first.method, first.path, first.status) == ("GET", f"/api/v3/runs/{run.id}", 200)
    assert (second.method, second.body, second.headers["authorization"]) == (
        "POST",
        b"",
        f"Bearer {server.secret_key}",
    )
    assert first.time < second.time
    assert server.secret_key not in repr(server.requests)


def test_paths_are_recorded_as_sent(server):
    connection = http.client.HTTPConnection(server.host, server.port, timeout=30)
    for target in ("/api/v2/runs/run_a%2Fb/cancel?x=%20", "/api/v3/runs/%FF"):
        connection.request("POST", target, headers={"Authorization": f"Bearer {server.secret_key}"})
        connection.getresponse().read()
    connection.close()
    assert [(record.path, record.status) for record in server.requests] == [
        ("/api/v2/runs/run_a%2Fb/cancel?x=%20", 404),
        ("/api/v3/runs/%FF", 400),
    ]


def test_fail_next(server, run, retrieve, cancel):
    server.fail_next(2, 503, path="/cancel", headers={"Retry-After": "1"})
    server.fail_next(status=409, body={"error": "already completed"}, method="POST", after_handling=True)
    assert retrieve().status_code == 200
    answers = [cancel() for _ in range(2)]
    assert [(answer.status_code, answer.headers["Retry-After"]) for answer in answers] == [(503, "1")] * 2
    assert (run.status, answers[0].json()) == ("EXECUTING", {"error": "Simulated error 503"})
    assert (cancel().json(), run.status) == ({"error": "already completed"}, "CANCELED")
    assert cancel().status_code == 200


# A fault, and the status, type and a part of the body that come back.
ANSWERS: list[tuple[Callable[[TriggerDevServer], None], int, str, str]] = [
    (lambda server: server.fail_next(status=502, body="Bad Gateway"), 502, "text/plain", "Bad Gateway"),
    (lambda server: server.malformed_next(), 200, "text/html", "maintenance"),
    (lambda server: server.malformed_next(1, b"\xff{", "application/json"), 200, "application/json", "{"),
    (lambda server: server.echo_key_next(1, 401), 401, "application/json", "tr_prod_"),
    (lambda server: server.oversize_next(1, 1_000_000), 200, "application/json", "a" * 900_000),
]


@pytest.mark.parametrize(("fault", "status", "kind", "part"), ANSWERS)
def test_what_comes_in_place_of_an_answer(server, retrieve, fault, status, kind, part):
    fault(server)
    answer = retrieve()
    assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (status, kind)
    assert part in answer.text
    assert retrieve().json()["status"] == "EXECUTING"


# Faults that come before or after the request has had its effect, and what the client gets then.
CUT_OFF: list[tuple[str, dict[str, Any], type[Exception]]] = [
    ("disconnect_next", {}, requests.ConnectionError),
    ("hang_next", {}, requests.ReadTimeout),
    ("delay_next", {"seconds": LONG}, requests.ReadTimeout),
]


@pytest.mark.parametrize("taken", [True, False])
@pytest.mark.parametrize(("fault", "arguments", "error"), CUT_OFF, ids=[name for name, *_ in CUT_OFF])
def test_what_cuts_an_answer_off(server, run, cancel, fault, arguments, error, taken):
    getattr(server, fault)(after_handling=taken, **arguments)
    with pytest.raises(error):
        cancel(timeout=0.5)
    until(lambda: run.status == ("CANCELED" if taken else "EXECUTING"), "it has had its effect, or none")
    assert [request.status for request in server.requests] == [None]


def test_more_than_three_queries_at_once_are_rejected(server, send):
    server.delay_next(3, LONG, path="/api/v1/query")
    headers = {"Authorization": f"Bearer {server.secret_key}"}
    with ExitStack() as stack:
        for _ in range(3):
            connection = http.client.HTTPConnection(server.host, server.port)
            stack.callback(connection.close)
            connection.request("POST", "/api/v1/query", body="{}", headers=headers)
        until(lambda: len(server.requests) == 3, "three queries are in progress")
        answer = send("POST", "/api/v1/query", json={})
    assert (answer.status_code, "query concurrency of 3" in answer.text) == (429, True)
    # The bucket is not empty, and does not hold up anything else.
    assert int(answer.headers["x-ratelimit-remaining"]) > 0


def test_triggers_at_once_with_one_key_are_one_run(server, send):
    def trigger(number):
        body = {"payload": number, "options": {"idempotencyKey": "k"}}
        return send("POST", "/api/v1/tasks/resize/trigger", json=body).json()

    with ThreadPoolExecutor(10) as pool:
        made = list(pool.map(trigger, range(10)))
    assert len({body["id"] for body in made}) == len(server.runs) == 1
    assert sorted(body["isCached"] for body in made) == [False] + [True] * 9
