"""The realtime API of the local server, where the contract tests have no recording."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from fake_clock import Clock
from in_process import routed
from waiting import LONG

from airflow_provider_trigger.api.http import Response
from airflow_provider_trigger.testing import TriggerDevServer
from airflow_provider_trigger.testing.engine.batches import BatchItem
from airflow_provider_trigger.testing.routes import realtime


def get(server: TriggerDevServer, path: str = "runs/run_1") -> Response:
    answer = routed(server, "GET", f"/realtime/v1/{path}")
    return Response(status=answer.status_code, headers=dict(answer.headers), body=bytes(answer.body))


def poll(server: TriggerDevServer, path: str, started: Response) -> list[Any]:
    """Continue a feed; return its messages."""
    handle, offset = (started.headers[f"electric-{name}"] for name in ("shape-id", "chunk-last-offset"))
    query = f"handle={handle}&offset={offset}&live=true"
    held = routed(server, "GET", f"/realtime/v1/{path}{'&' if '?' in path else '?'}{query}")
    sent: list[Any] = []

    async def receive() -> Any:
        await asyncio.sleep(LONG)

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(held({"type": "http"}, receive, send))
    messages: list[Any] = json.loads(sent[1]["body"])
    assert messages.pop() == {"headers": {"control": "up-to-date"}}
    return messages


@pytest.mark.parametrize("kind", ["runs/{run}", "runs?tags=a,b", "batches/{batch}"])
def test_a_feed_shows_what_changes_until_its_poll_ends(
    server: TriggerDevServer, clock: Clock, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(realtime, "_HOLD", 0.05)
    item = BatchItem(task_identifier="resize", options={"tags": ["a", "b"]}, payload={"n": 1})
    server.on_task("resize", after=None)
    batch = server.batches.create([item], environment=server.environment)
    clock.now += 60
    [run] = server.runs.values()
    server.add_run("EXECUTING", tags=["a"])
    path = kind.format(run=run.id, batch=batch.id)
    started = get(server, path)
    [shown, _] = started.json()
    assert (shown["value"]["friendlyId"], shown["value"]["payload"]) == (run.id, '{"n":1}')
    clock.now += 1
    assert poll(server, path, started) == []
    run.status = "COMPLETED"
    clock.now += 1
    [change] = poll(server, path, started)
    assert change["headers"] == {"operation": "update"}
    assert (change["value"]["status"], change["value"]["output"]) == (
        "COMPLETED_SUCCESSFULLY",
        '{"done":true}',
    )
