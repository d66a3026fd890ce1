"""Batches of the local server, over real sockets."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from waiting import until

from airflow_provider_trigger.testing import TriggerDevServer

TRIGGER = "/api/v2/tasks/batch"
Send = Callable[..., requests.Response]


@pytest.fixture
def server() -> Iterator[TriggerDevServer]:
    with TriggerDevServer() as server:
        yield server


@pytest.fixture
def send(server: TriggerDevServer) -> Send:
    """Send a request with the server's key."""

    def request(method: str, path: str = TRIGGER, **arguments: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {server.secret_key}", "x-trigger-api-version": "2025-07-16"}
        return requests.request(method, f"{server.url}{path}", headers=headers, **{"timeout": 5} | arguments)

    return request


def body(count: int, **options: Any) -> dict[str, Any]:
    return {"items": [{"task": "resize", "payload": n, "options": options} for n in range(count)]}


def test_a_batch_from_its_trigger_to_its_end(server: TriggerDevServer, send: Send) -> None:
    server.on_task("resize", output=lambda payload: payload * 2, after=0.05)
    tokens = server.take_tokens(0)
    created = send("POST", json=body(20))
    assert (created.status_code, created.json()["runCount"]) == (202, 20)
    assert server.take_tokens(0) == tokens - 1
    path = f"/api/v2/batches/{created.json()['id']}"
    run_ids = send("GET", path).json()["runs"]
    until(lambda: send("GET", path).json()["status"] == "COMPLETED", "the batch is completed")
    assert [server.runs[run_id].output for run_id in run_ids] == [n * 2 for n in range(20)]


def test_the_runs_of_a_large_batch_come_by_themselves(server: TriggerDevServer, send: Send) -> None:
    server.on_task("resize", start_after=None)
    begun, passed = time.time(), 0.0
    server.clock = lambda: begun + passed
    batch_id = send("POST", json=body(60)).json()["id"]
    passed = 0.5
    shown = send("GET", f"/api/v2/batches/{batch_id}").json()
    assert 10 <= len(shown["runs"]) < shown["runCount"] == 60
    passed = 2.0
    assert len(server.runs) == 60
    assert send("GET", f"/api/v2/batches/{batch_id}").json()["runs"] == list(server.runs)


@pytest.mark.parametrize("fault", ["fail_next", "hang_next"])
def test_a_request_that_takes_effect_and_gets_no_answer(
    server: TriggerDevServer, send: Send, fault: str
) -> None:
    getattr(server, fault)(path=TRIGGER, after_handling=True)
    keyed = body(1, idempotencyKey="k")
    if fault == "hang_next":
        with pytest.raises(requests.Timeout):
            send("POST", json=keyed, timeout=0.3)
        until(lambda: server.runs, "it has taken effect")
    else:
        assert send("POST", json=keyed).status_code == 500
    batch_id = send("POST", json=keyed).json()["id"]
    (run,) = server.runs.values()
    assert run.batch_id != batch_id
    assert send("GET", f"/api/v2/batches/{batch_id}").json()["runs"] == [run.id]
    assert len(server.batches) == 2


def test_an_older_server_has_none(server: TriggerDevServer, send: Send) -> None:
    server.batch = False
    assert send("POST", json=body(1)).status_code == 404
