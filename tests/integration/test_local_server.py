"""The local server over real sockets: what the test sees of it, and its faults."""

from __future__ import annotations

import asyncio
import http.client
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from waiting import LONG, until

from airflow_provider_trigger.testing import ServerRun, TriggerDevServer
from airflow_provider_trigger.testing.faults.connections import ConnectionFaults

MODERN = {"x-trigger-api-version": "2025-07-16"}


@pytest.fixture
def run(server: TriggerDevServer) -> ServerRun:
    return server.add_run(payload={"n": 1})


@pytest.fixture
def retrieve(server: TriggerDevServer, run: ServerRun) -> Callable[..., requests.Response]:
    """Retrieve the run."""

    def get(**arguments: Any) -> requests.Response:
        arguments.setdefault("timeout", 5)
        return requests.get(
            f"{server.url}/api/v3/runs/{run.id}",
            headers={"Authorization": f"Bearer {server.secret_key}", **MODERN},
            allow_redirects=False,
            **arguments,
        )

    return get


@pytest.fixture
def cancel(server: TriggerDevServer, run: ServerRun) -> Callable[..., requests.Response]:
    """Cancel the run."""

    def post(timeout: float = 5) -> requests.Response:
        headers = {"Authorization": f"Bearer {server.secret_key}"}
        return requests.post(f"{server.url}/api/v2/runs/{run.id}/cancel", headers=headers, timeout=timeout)

    return post


def test_the_test_sees_what_the_server_does(
    server: TriggerDevServer, run: ServerRun, retrieve: Any, cancel: Any
) -> None:
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


def test_fail_next(server: TriggerDevServer, run: ServerRun, retrieve: Any, cancel: Any) -> None:
    server.fail_next(2, 503, path="/cancel", headers={"Retry-After": "1"})
    assert retrieve().status_code == 200
    answers = [cancel() for _ in range(2)]
    assert [(answer.status_code, answer.headers["Retry-After"]) for answer in answers] == [(503, "1")] * 2
    assert (run.status, answers[0].json()) == ("EXECUTING", {"error": "Simulated error 503"})
    assert cancel().status_code == 200


def test_fail_next_with_a_body_and_after_the_fact(
    server: TriggerDevServer, run: ServerRun, cancel: Any
) -> None:
    server.fail_next(status=409, body={"error": "already completed"}, method="POST", after_handling=True)
    server.fail_next(status=502, body="Bad Gateway")
    assert (cancel().json(), run.status) == ({"error": "already completed"}, "CANCELED")
    answer = cancel()
    assert (answer.text, answer.headers["content-type"]) == ("Bad Gateway", "text/plain; charset=utf-8")


def test_faults_without_end(server: TriggerDevServer, retrieve: Any) -> None:
    server.fail_next(times=None)
    assert {retrieve().status_code for _ in range(5)} == {500}
    server.clear_faults()
    assert retrieve().status_code == 200


@pytest.mark.parametrize("taken", [True, False])
def test_disconnect_next(server: TriggerDevServer, run: ServerRun, cancel: Any, taken: bool) -> None:
    server.disconnect_next(after_handling=taken)
    with pytest.raises(requests.ConnectionError):
        cancel()
    assert run.status == ("CANCELED" if taken else "EXECUTING")
    assert server.requests[0].status is None


@pytest.mark.parametrize("taken", [True, False])
def test_hang_next(server: TriggerDevServer, run: ServerRun, cancel: Any, taken: bool) -> None:
    server.hang_next(after_handling=taken)
    with pytest.raises(requests.ReadTimeout):
        cancel(timeout=0.2)
    until(lambda: len(server.requests) == 1, "the request is there")
    until(lambda: run.status == ("CANCELED" if taken else "EXECUTING"), "it has had its effect, or none")


@pytest.mark.parametrize("taken", [True, False])
def test_delay_next(
    server: TriggerDevServer, run: ServerRun, cancel: Any, taken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    delays, over = list[float](), threading.Event()

    async def sleep(seconds: float) -> None:
        delays.append(seconds)
        while not over.is_set():
            await asyncio.sleep(0.01)

    with monkeypatch.context() as patch, ThreadPoolExecutor(1) as pool:
        patch.setattr(f"{ConnectionFaults.__module__}.asyncio", SimpleNamespace(sleep=sleep))
        server.delay_next(1, 0.3, after_handling=taken)
        server.fail_next()
        answer = pool.submit(cancel, timeout=LONG)
        try:
            until(lambda: delays or answer.done(), "the answer is delayed", limit=20)
            assert not answer.done()
            assert server.requests[0].status is None
        finally:
            over.set()
        assert answer.result().status_code == 500
    assert delays == [0.3]
    server.delay_next(1, LONG, after_handling=taken)
    with pytest.raises(requests.ReadTimeout):
        cancel(timeout=0.2)
    until(lambda: len(server.requests) == 2, "the second request is there")
    until(lambda: run.status == ("CANCELED" if taken else "EXECUTING"), "it has had its effect, or none")


def test_truncate_next(server: TriggerDevServer, retrieve: Any) -> None:
    server.truncate_next()
    with pytest.raises(requests.exceptions.ChunkedEncodingError, match="IncompleteRead"):
        retrieve()
    assert retrieve().status_code == 200


def test_malformed_next(server: TriggerDevServer, retrieve: Any) -> None:
    server.malformed_next()
    server.malformed_next(1, b"\xff{", "application/json", after_handling=True)
    page, broken = retrieve(), retrieve()
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert (broken.content, broken.headers["content-type"]) == (b"\xff{", "application/json")


def test_rate_limit_next(server: TriggerDevServer, retrieve: Any) -> None:
    server.clock = lambda: 1_800_000_000.25
    server.rate_limit_next(reset_after=3)
    answer = retrieve()
    body = answer.json()
    assert answer.headers["content-type"] == "application/problem+json; charset=utf-8"
    assert answer.headers["x-ratelimit-reset"] == "1800000003250"
    assert (body["reset"], body["remaining"], body["limit"]) == (1_800_000_003_250, -1, 750)
    assert answer.headers["x-ratelimit-remaining"] == "0"
    assert retrieve().status_code == 200


def test_redirect_next(server: TriggerDevServer, retrieve: Any) -> None:
    server.redirect_next(1, "http://example.com/elsewhere", status=307)
    answer = retrieve()
    assert (answer.status_code, answer.headers["location"]) == (307, "http://example.com/elsewhere")


def test_stale_next(server: TriggerDevServer, retrieve: Any, cancel: Any) -> None:
    server.stale_next(2)
    assert retrieve().json()["status"] == "EXECUTING"
    cancel()
    assert [retrieve().json()["status"] for _ in range(3)] == ["EXECUTING", "EXECUTING", "CANCELED"]


def test_a_maintenance_page(server: TriggerDevServer, run: ServerRun, cancel: Any) -> None:
    server.malformed_next()
    answer = cancel()
    assert (answer.status_code, "maintenance" in answer.text, run.status) == (200, True, "EXECUTING")


def test_one_401_from_a_gateway(server: TriggerDevServer, run: ServerRun, cancel: Any) -> None:
    server.fail_next(status=401)
    assert [cancel().status_code for _ in range(2)] == [401, 200]


def test_the_list_is_down_while_cancel_and_retrieve_work(
    server: TriggerDevServer, retrieve: Any, cancel: Any
) -> None:
    server.fail_next(None, 500, path="/api/v1/runs")
    headers = {"Authorization": f"Bearer {server.secret_key}"}
    listed = requests.get(f"{server.url}/api/v1/runs?page[size]=1", headers=headers, timeout=5)
    assert (listed.status_code, cancel().status_code, retrieve().status_code) == (500, 200, 200)


def test_a_suspended_run_resumes(server: TriggerDevServer, run: ServerRun, retrieve: Any) -> None:
    run.status = "WAITING"
    before = retrieve().json()
    run.schedule([(0, "EXECUTING")])
    after = retrieve().json()
    assert (before["status"], after["status"]) == ("WAITING", "EXECUTING")
    assert (before["attemptCount"], after["attemptCount"]) == (1, 1)
    assert before["startedAt"] == after["startedAt"]


@pytest.mark.parametrize(("environment", "status"), [("prod", "CANCELED"), ("dev", "EXPIRED")])
def test_an_expired_run_is_canceled_in_a_deployed_environment(
    server: TriggerDevServer, environment: str, status: str
) -> None:
    run = server.add_run("EXPIRED", environment=environment)
    headers = {"Authorization": f"Bearer {run.environment.secret_key}", **MODERN}
    answer = requests.post(f"{server.url}/api/v2/runs/{run.id}/cancel", headers=headers, timeout=5)
    shown = requests.get(f"{server.url}/api/v3/runs/{run.id}", headers=headers, timeout=5).json()
    assert (answer.json(), shown["status"]) == ({"id": run.id}, status)
    assert shown["finishedAt"] == shown["expiredAt"]


def test_echo_key_next(server: TriggerDevServer, retrieve: Any) -> None:
    server.echo_key_next(1, 401)
    answer = retrieve()
    assert (answer.status_code, server.secret_key in answer.json()["error"]) == (401, True)


def test_oversize_next(server: TriggerDevServer, retrieve: Any) -> None:
    server.oversize_next(2, 1_000_000)
    assert len(retrieve().json()["id"]) > 900_000
    with retrieve(stream=True) as answer:
        assert answer.raw.read(5) == b'{"id"'
    assert retrieve().status_code == 200
