"""Queues that are paused, and changes of what a run shows, by a clock that the test sets."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fake_clock import Clock
from in_process import routed

from airflow_provider_trigger.testing import TriggerDevServer


def answer(server: TriggerDevServer, method: str, target: str, body: Any = None, **more: Any) -> Any:
    response = routed(server, method, target, body, **more)
    return response.status_code, json.loads(response.body)


def pause(server: TriggerDevServer, action: str, name: str = "resize", kind: str = "task") -> None:
    body = {"type": kind, "action": action}
    status, shown = answer(server, "POST", f"/api/v1/queues/{name}/pause", body)
    assert (status, shown["paused"]) == (200, action == "pause")


def test_a_paused_queue_takes_runs_and_starts_them_once_it_is_resumed(server, clock: Clock) -> None:
    server.on_task("resize", after=10)
    executing, _ = server.trigger("resize")
    clock.now += 1
    pause(server, "pause")
    waiting, _ = server.trigger("resize")
    expired, _ = server.trigger("resize", options={"ttl": "5s"})
    elsewhere, _ = server.trigger("resize", options={"queue": {"name": "exports"}})
    in_dev, _ = server.trigger("resize", environment="dev")
    clock.now += 100
    assert [run.status for run in (waiting, expired)] == ["QUEUED", "EXPIRED"]
    assert {run.status for run in (executing, elsewhere, in_dev)} == {"COMPLETED"}
    _, shown = answer(server, "GET", "/api/v1/queues/resize?type=task")
    assert (shown["queued"], shown["running"]) == (1, 0)
    pause(server, "resume")
    clock.now += 1
    assert (waiting.status, expired.status) == ("EXECUTING", "EXPIRED")
    _, shown = answer(server, "GET", "/api/v1/queues/resize?type=task")
    assert (shown["queued"], shown["running"]) == (0, 1)


def test_a_resumed_queue_leaves_alone_what_no_worker_takes_and_what_was_canceled(server, clock) -> None:
    parked, _ = server.trigger("parked")
    pause(server, "pause", "parked")
    canceled, _ = server.trigger("parked")
    canceled.cancel()
    pause(server, "resume", "parked")
    clock.now += 100
    assert (parked.status, canceled.status) == ("QUEUED", "CANCELED")


def test_queues_are_those_of_tasks_and_those_with_a_name_of_an_environment(server) -> None:
    server.add_queue("exports", limit=2)
    server.trigger("ship", environment="dev")
    shown = {name: answer(server, "GET", "/api/v1/queues", env=name)[1]["data"] for name in ("prod", "dev")}
    kinds = {name: {queue["name"]: queue["type"] for queue in queues} for name, queues in shown.items()}
    assert kinds["prod"] == {"exports": "custom", "parked": "task"}
    assert kinds["dev"] == {"parked": "task", "ship": "task"}
    assert answer(server, "GET", f"/api/v1/queues/{shown['prod'][0]['id']}")[1]["concurrencyLimit"] == 2


@pytest.mark.parametrize(
    ("method", "part", "body", "status", "shown"),
    [
        ("PUT", "metadata", {"operations": [{"type": "increment", "key": "n", "value": 2}]}, 200, {"n": 3}),
        (
            "PUT",
            "metadata",
            {"operations": [{"type": "append", "key": "log", "value": 1}]},
            200,
            {"log": [1]},
        ),
        ("PUT", "metadata", {"metadata": []}, 400, {}),
        ("PUT", "metadata", {"metadata": {"a": "x" * 262144}}, 413, {}),
        ("PATCH", "metadata", {"metadata": {}}, 405, {}),
        ("POST", "tags", {"tags": 1}, 400, {}),
        ("POST", "labels", {}, 404, {}),
    ],
)
def test_a_change_of_a_run_is_taken_or_changes_nothing(server, method, part, body, status, shown) -> None:
    run = server.add_run("EXECUTING", metadata={"n": 1}, tags=["a"])
    assert routed(server, method, f"/api/v1/runs/{run.id}/{part}", body).status_code == status
    assert (run.metadata, run.tags) == ({"n": 1} | shown, ("a",))


@pytest.mark.parametrize(("method", "part"), [("PUT", "metadata"), ("GET", "metadata"), ("POST", "tags")])
def test_the_run_of_another_environment_is_not_found(server, method: str, part: str) -> None:
    run = server.add_run("EXECUTING", environment="dev")
    body = {"metadata": {"a": 1}, "tags": ["b"]}
    assert routed(server, method, f"/api/v1/runs/{run.id}/{part}", body).status_code == 404
    assert (run.metadata, run.tags) == (None, ())
