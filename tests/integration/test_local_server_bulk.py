"""Bulk actions of the local server, over real sockets."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from waiting import until

from airflow_provider_trigger.testing import TriggerDevServer

BULK = "/api/v1/bulk-actions"
Send = Callable[..., requests.Response]


@pytest.fixture
def server() -> Iterator[TriggerDevServer]:
    with TriggerDevServer(bulk_duration=0.1) as server:
        yield server


@pytest.fixture
def send(server: TriggerDevServer) -> Send:
    """Send a request with the key of an environment."""

    def request(method: str, path: str = BULK, key: str | None = None, **arguments: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {key or server.secret_key}"}
        return requests.request(method, f"{server.url}{path}", headers=headers, timeout=5, **arguments)

    return request


def wait_for(send: Send, bulk_id: str) -> dict[str, Any]:
    def done() -> dict[str, Any] | None:
        shown: dict[str, Any] = send("GET", f"{BULK}/{bulk_id}").json()
        return None if shown["status"] == "PENDING" else shown

    found: dict[str, Any] = until(done, "the bulk action is done")
    return found


def test_a_bulk_cancel(server: TriggerDevServer, send: Send) -> None:
    runs = [server.add_run(status) for status in ("QUEUED", "EXECUTING", "COMPLETED")]
    foreign = server.add_run("QUEUED", environment="dev")
    ids = [run.id for run in (*runs, runs[0], foreign)]
    created = send("POST", json={"action": "cancel", "runIds": [*ids, "run_unknown"], "name": "nightly"})
    assert created.status_code == 202
    shown = wait_for(send, created.json()["id"])
    assert (shown["name"], shown["type"], shown["status"]) == ("nightly", "CANCEL", "COMPLETED")
    assert shown["counts"] == {"total": 3, "success": 2, "failure": 1}
    assert [run.status for run in (*runs, foreign)] == ["CANCELED", "CANCELED", "COMPLETED", "QUEUED"]
    assert created.headers["x-ratelimit-remaining"] == "749"


def test_a_run_triggered_a_moment_ago_is_missed(server: TriggerDevServer, send: Send) -> None:
    server.bulk_lag = 60
    run = server.add_run(tags=["x"])
    shown = wait_for(send, send("POST", json={"action": "cancel", "runIds": [run.id]}).json()["id"])
    assert (shown["status"], shown["counts"]["total"]) == ("COMPLETED", 0)
    assert run.status == "EXECUTING"


def test_an_abort(server: TriggerDevServer, send: Send) -> None:
    server.bulk_duration = 60
    run = server.add_run()
    bulk_id = send("POST", json={"action": "cancel", "runIds": [run.id]}).json()["id"]
    assert server.bulk.abort(server.bulk[bulk_id])
    shown = send("GET", f"{BULK}/{bulk_id}").json()
    assert (shown["status"], "completedAt" in shown) == ("ABORTED", False)


def test_a_server_whose_bulk_worker_is_off(server: TriggerDevServer, send: Send) -> None:
    server.bulk_duration = None
    run = server.add_run()
    bulk_id = send("POST", json={"action": "cancel", "runIds": [run.id]}).json()["id"]
    time.sleep(0.15)
    shown = send("GET", f"{BULK}/{bulk_id}").json()
    assert (shown["status"], shown["counts"]) == ("PENDING", {"total": 1, "success": 0, "failure": 0})
    assert run.status == "EXECUTING"


def test_a_slow_bulk_action_makes_progress(server: TriggerDevServer, send: Send) -> None:
    server.bulk_rate = 20
    begun, passed = time.time(), 0.0
    server.clock = lambda: begun + passed
    runs = [server.add_run() for _ in range(10)]
    created = send("POST", json={"action": "cancel", "runIds": [run.id for run in runs]})
    path, seen = f"{BULK}/{created.json()['id']}", set()
    while (shown := send("GET", path).json())["status"] == "PENDING":
        seen.add(shown["counts"]["success"])
        passed += 0.05
    assert shown["counts"] == {"total": 10, "success": 10, "failure": 0}
    assert len(seen - {0, 10}) > 1
    assert {run.status for run in runs} == {"CANCELED"}


def test_another_environments_bulk_actions_are_unknown(server: TriggerDevServer, send: Send) -> None:
    key = server.add_environment("dev").secret_key
    bulk_id = send("POST", json={"action": "cancel", "runIds": ["run_a"]}).json()["id"]
    assert send("GET", f"{BULK}/{bulk_id}", key).status_code == 404
    assert send("GET", f"{BULK}/{bulk_id}").status_code == 200


def test_an_older_server_has_none(server: TriggerDevServer, send: Send) -> None:
    server.bulk_actions = False
    for method, path in (("POST", BULK), ("GET", BULK), ("GET", f"{BULK}/x")):
        answer = send(method, path, json={"action": "cancel", "runIds": ["run_a"]})
        assert (answer.status_code, answer.headers["content-type"]) == (404, "text/html; charset=utf-8")


def test_methods(send: Send) -> None:
    assert send("GET").status_code == 400
    assert send("POST", f"{BULK}/x").status_code == 405


def test_faults_meet_bulk_actions_too(server: TriggerDevServer, send: Send) -> None:
    run = server.add_run("QUEUED")
    server.fail_next(status=503, path=BULK, after_handling=True)
    assert send("POST", json={"action": "cancel", "runIds": [run.id]}).status_code == 503
    (action,) = server.bulk.values()
    assert action.members == (run,)
