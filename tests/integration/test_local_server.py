"""The local server over real sockets: what the test sees of it, and its faults."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable
from typing import Any

import pytest
import requests

from airflow_provider_trigger.testing import Run, TriggerDevServer

MODERN = {"x-trigger-api-version": "2025-07-16"}


@pytest.fixture
def run(server: TriggerDevServer) -> Run:
    return server.add_run(payload={"n": 1})


@pytest.fixture
def look(server: TriggerDevServer, run: Run) -> Callable[..., requests.Response]:
    """Retrieve the run."""

    def retrieve(**arguments: Any) -> requests.Response:
        arguments.setdefault("timeout", 5)
        return requests.get(
            f"{server.url}/api/v3/runs/{run.id}",
            headers={"Authorization": f"Bearer {server.secret_key}", **MODERN},
            allow_redirects=False,
            **arguments,
        )

    return retrieve


@pytest.fixture
def cancel(server: TriggerDevServer, run: Run) -> Callable[..., requests.Response]:
    """Cancel the run."""

    def post(timeout: float = 5) -> requests.Response:
        headers = {"Authorization": f"Bearer {server.secret_key}"}
        return requests.post(f"{server.url}/api/v2/runs/{run.id}/cancel", headers=headers, timeout=timeout)

    return post


def test_the_test_sees_what_the_server_does(
    server: TriggerDevServer, run: Run, look: Any, cancel: Any
) -> None:
    assert look().json()["status"] == "EXECUTING"
    assert cancel().json() == {"id": run.id}
    assert server.runs[run.id] is run
    assert run.status == "CANCELED"
    deadline = time.monotonic() + 5
    while not run.terminated and time.monotonic() < deadline:
        time.sleep(0.01)
    assert "finishedAt" in look().json()
    first, second, _ = server.requests
    assert (first.method, first.path, first.status) == ("GET", f"/api/v3/runs/{run.id}", 200)
    assert (second.method, second.body, second.headers["authorization"]) == (
        "POST",
        b"",
        f"Bearer {server.secret_key}",
    )
    assert first.time < second.time
    assert server.secret_key not in repr(server.requests)


def test_paths_are_recorded_as_sent(server: TriggerDevServer) -> None:
    connection = http.client.HTTPConnection(server.host, server.port, timeout=5)
    for target in ("/api/v2/runs/run_a%2Fb/cancel?x=%20", "/api/v3/runs/%FF"):
        connection.request("POST", target, headers={"Authorization": f"Bearer {server.secret_key}"})
        connection.getresponse().read()
    connection.close()
    assert [(record.path, record.status) for record in server.requests] == [
        ("/api/v2/runs/run_a%2Fb/cancel?x=%20", 404),
        ("/api/v3/runs/%FF", 400),
    ]


def test_fail_next(server: TriggerDevServer, run: Run, look: Any, cancel: Any) -> None:
    server.fail_next(2, 503, path="/cancel", headers={"Retry-After": "1"})
    assert look().status_code == 200
    answers = [cancel() for _ in range(2)]
    assert [(answer.status_code, answer.headers["Retry-After"]) for answer in answers] == [(503, "1")] * 2
    assert (run.status, answers[0].json()) == ("EXECUTING", {"error": "Asked to fail with 503"})
    assert cancel().status_code == 200


def test_fail_next_with_a_body_and_after_the_fact(server: TriggerDevServer, run: Run, cancel: Any) -> None:
    server.fail_next(status=409, body={"error": "already completed"}, method="POST", after_handling=True)
    server.fail_next(status=502, body="Bad Gateway")
    assert (cancel().json(), run.status) == ({"error": "already completed"}, "CANCELED")
    answer = cancel()
    assert (answer.text, answer.headers["content-type"]) == ("Bad Gateway", "text/plain; charset=utf-8")


def test_faults_without_end(server: TriggerDevServer, look: Any) -> None:
    server.fail_next(times=None)
    assert {look().status_code for _ in range(5)} == {500}
    server.clear_faults()
    assert look().status_code == 200


@pytest.mark.parametrize("taken", [True, False])
def test_hang_up_next(server: TriggerDevServer, run: Run, cancel: Any, taken: bool) -> None:
    server.hang_up_next(after_handling=taken)
    with pytest.raises(requests.ConnectionError):
        cancel()
    assert run.status == ("CANCELED" if taken else "EXECUTING")
    assert server.requests[0].status is None


@pytest.mark.parametrize("taken", [True, False])
def test_never_answer_next(server: TriggerDevServer, run: Run, cancel: Any, taken: bool) -> None:
    server.never_answer_next(after_handling=taken)
    with pytest.raises(requests.ReadTimeout):
        cancel(timeout=0.2)
    assert run.status == ("CANCELED" if taken else "EXECUTING")


@pytest.mark.parametrize("taken", [True, False])
def test_delay_next(server: TriggerDevServer, run: Run, cancel: Any, taken: bool) -> None:
    server.delay_next(1, 0.3, after_handling=taken)
    server.fail_next()
    started = time.monotonic()
    assert cancel().status_code == 500
    assert time.monotonic() - started >= 0.3
    server.delay_next(1, 0.3, after_handling=taken)
    with pytest.raises(requests.ReadTimeout):
        cancel(timeout=0.1)
    assert run.status == ("CANCELED" if taken else "EXECUTING")


def test_cut_short_next(server: TriggerDevServer, look: Any) -> None:
    server.cut_short_next()
    with pytest.raises(requests.exceptions.ChunkedEncodingError, match="IncompleteRead"):
        look()
    assert look().status_code == 200


def test_garbage_next(server: TriggerDevServer, look: Any) -> None:
    server.garbage_next()
    server.garbage_next(1, b"\xff{", "application/json", after_handling=True)
    page, broken = look(), look()
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert (broken.content, broken.headers["content-type"]) == (b"\xff{", "application/json")


def test_rate_limit_next(server: TriggerDevServer, look: Any) -> None:
    server.rate_limit_next(reset_after=3)
    answer = look()
    body = answer.json()
    assert answer.headers["content-type"] == "application/problem+json; charset=utf-8"
    assert abs(int(answer.headers["x-ratelimit-reset"]) / 1000 - time.time() - 3) < 0.5
    assert (body["reset"], body["remaining"], body["limit"]) == (
        int(answer.headers["x-ratelimit-reset"]),
        -1,
        750,
    )
    assert answer.headers["x-ratelimit-remaining"] == "0"
    assert look().status_code == 200


def test_redirect_next(server: TriggerDevServer, look: Any) -> None:
    server.redirect_next(1, "http://example.com/elsewhere", status=307)
    answer = look()
    assert (answer.status_code, answer.headers["location"]) == (307, "http://example.com/elsewhere")


def test_stale_next(server: TriggerDevServer, look: Any, cancel: Any) -> None:
    server.stale_next(2)
    assert look().json()["status"] == "EXECUTING"
    cancel()
    assert [look().json()["status"] for _ in range(3)] == ["EXECUTING", "EXECUTING", "CANCELED"]


def test_echo_key_next(server: TriggerDevServer, look: Any) -> None:
    server.echo_key_next(1, 401)
    answer = look()
    assert (answer.status_code, server.secret_key in answer.json()["error"]) == (401, True)


def test_huge_next(server: TriggerDevServer, look: Any) -> None:
    server.huge_next(2, 1_000_000)
    assert len(look().json()["id"]) > 900_000
    with look(stream=True) as answer:
        assert answer.raw.read(5) == b'{"id"'
    assert look().status_code == 200
