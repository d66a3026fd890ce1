"""The calls for runs of the local server, where the contract tests have no recording."""

from __future__ import annotations

import json

import pytest
from fake_clock import Clock
from starlette.requests import Request

from airflow_provider_trigger.testing import TriggerDevServer
from airflow_provider_trigger.testing.engine.states import ALIVE, FINAL
from airflow_provider_trigger.testing.routes.router import Router


@pytest.mark.parametrize("status", [*ALIVE, *FINAL, None])
def test_only_a_canceled_run_has_a_result(clock: Clock, status: str | None) -> None:
    server = TriggerDevServer(clock=clock.time)
    if status is not None:
        server.add_run(status, run_id="run_1")
    headers = [(b"authorization", f"Bearer {server.secret_key}".encode())]
    scope = {"type": "http", "method": "GET", "headers": headers, "query_string": b""}
    answer = Router(server).answer(Request(scope), "/api/v1/runs/run_1/result", body=b"")
    assert answer.status_code == (200 if status == "CANCELED" else 404)
    assert ("error" in json.loads(bytes(answer.body))) is True
    assert "x-should-retry" not in answer.headers
