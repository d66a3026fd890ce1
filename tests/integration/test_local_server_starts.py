"""The local server over real sockets: tasks that are triggered, and what becomes of their runs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
import requests

from airflow_provider_trigger.testing import TriggerDevServer

Send = Callable[..., requests.Response]


@pytest.fixture
def send(server: TriggerDevServer) -> Send:
    """Send a request with the server's key and return the answer."""
    headers = {"Authorization": f"Bearer {server.secret_key}", "x-trigger-api-version": "2025-07-16"}

    def request(method: str, path: str, body: Any = None) -> requests.Response:
        return requests.request(method, f"{server.url}/api/{path}", json=body, headers=headers, timeout=5)

    return request


@pytest.fixture
def trigger(send: Send) -> Callable[..., dict[str, Any]]:
    """Trigger a task and return the answer's body."""

    def post(task: str = "resize", **body: Any) -> dict[str, Any]:
        answer = send("POST", f"v1/tasks/{quote(task, safe='')}/trigger", body)
        assert answer.status_code == 200, answer.text
        shown: dict[str, Any] = answer.json()
        return shown

    return post


@pytest.fixture
def finish(send: Send) -> Callable[[str], dict[str, Any]]:
    """Wait until a run has ended and return what it shows."""

    def poll(run_id: str) -> dict[str, Any]:
        deadline = time.monotonic() + 5
        while True:
            shown: dict[str, Any] = send("GET", f"v3/runs/{run_id}").json()
            if "finishedAt" in shown:
                return shown
            assert time.monotonic() < deadline, shown
            time.sleep(0.02)

    return poll


def test_a_task_is_triggered_and_completes(server: TriggerDevServer, trigger: Any, finish: Any) -> None:
    server.on_task("images/resize", output=lambda payload: [payload["width"]], after=0.05)
    options = {"tags": ["b", "a"], "metadata": {"m": 1}, "queue": {"name": "q"}, "machine": "micro"}
    made = trigger("images/resize", payload={"width": 5}, options=options)
    run = server.runs[made["id"]]
    assert (run.task_identifier, run.payload, run.options) == ("images/resize", {"width": 5}, options)
    shown = finish(run.id)
    assert (shown["status"], shown["output"], shown["tags"], shown["metadata"]) == (
        "COMPLETED",
        [5],
        ["a", "b"],
        {"m": 1},
    )


def test_a_task_fails_twice_and_then_succeeds(server: TriggerDevServer, trigger: Any, finish: Any) -> None:
    server.on_task("resize", failures=2, retry_after=0.02, after=0.02, output="done")
    shown = finish(trigger()["id"])
    assert (shown["status"], shown["attemptCount"], shown["output"]) == ("COMPLETED", 3, "done")
    assert "error" not in shown


def test_many_at_once_with_one_key_are_one_run(server: TriggerDevServer, trigger: Any) -> None:
    def post(number: int) -> dict[str, Any]:
        body: dict[str, Any] = trigger(payload=number, options={"idempotencyKey": "k"})
        return body

    with ThreadPoolExecutor(10) as pool:
        made = list(pool.map(post, range(10)))
    assert len({body["id"] for body in made}) == len(server.runs) == 1
    assert sorted(body["isCached"] for body in made) == [False] + [True] * 9


@pytest.mark.parametrize("key", ["a b", " a", "a/b?c#d&e+f%", "a\nb", "ключ", "x" * 2048])
def test_a_key_is_reset(send: Send, trigger: Any, key: str) -> None:
    first = trigger(options={"idempotencyKey": key})
    path, body = f"v1/idempotencyKeys/{quote(key, safe='')}/reset", {"taskIdentifier": "resize"}
    answers = [send("POST", path, body) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 404]
    assert answers[0].json() == {"id": key}
    assert trigger(options={"idempotencyKey": key})["id"] != first["id"]


@pytest.mark.parametrize(
    ("output", "kind", "text"),
    [
        ("x" * 200_000, "text/plain", "x" * 200_000),
        (["x" * 200_000], "application/super+json", json.dumps({"json": ["x" * 200_000]})),
    ],
)
def test_a_large_output_is_behind_a_url(
    server: TriggerDevServer, send: Send, trigger: Any, finish: Any, output: Any, kind: str, text: str
) -> None:
    server.on_task("resize", output=output)
    shown = finish(trigger()["id"])
    assert "output" not in shown
    url = shown["outputPresignedUrl"]
    assert url.startswith(f"{server.url}/packets/")
    answer = requests.get(url, timeout=5)
    assert (answer.status_code, answer.text.replace(" ", "")) == (200, text.replace(" ", ""))
    assert answer.headers["content-type"].startswith(kind)
    assert "x-ratelimit-limit" not in answer.headers
    assert send("GET", f"v3/runs/{shown['id']}").json()["outputPresignedUrl"] != url


def test_a_url_admits_no_key_and_nothing_but_reading(
    server: TriggerDevServer, trigger: Any, finish: Any
) -> None:
    server.on_task("resize", output=1, output_by_url=True)
    url = finish(trigger()["id"])["outputPresignedUrl"]
    with_key = requests.get(url, headers={"Authorization": f"Bearer {server.secret_key}"}, timeout=5)
    assert (with_key.status_code, "InvalidArgument" in with_key.text) == (400, True)
    without_query = f"{server.url}{urlsplit(url).path}"
    for answer in (requests.get(without_query, timeout=5), requests.post(url, timeout=5)):
        assert (answer.status_code, "AccessDenied" in answer.text) == (403, True)


def test_without_an_object_store(server: TriggerDevServer, send: Send, trigger: Any, finish: Any) -> None:
    server.object_store = False
    server.on_task("resize", output="x" * 200_000)
    shown = finish(trigger()["id"])
    assert not {"output", "outputPresignedUrl"} & shown.keys()
    answer = send("POST", "v1/tasks/resize/trigger", {"payload": "p" * 600_000})
    assert (answer.status_code, answer.json()["error"]) == (
        500,
        "Failed to upload large payload to object store",
    )


def test_replay_and_reschedule(server: TriggerDevServer, send: Send, trigger: Any, finish: Any) -> None:
    delayed = trigger(payload=1, options={"delay": "1h", "idempotencyKey": "k"})["id"]
    again = send("POST", f"v1/runs/{delayed}/replay").json()["id"]
    assert finish(again)["payload"] == 1
    assert send("POST", f"v1/runs/{delayed}/reschedule", {"delay": "1s"}).json()["status"] == "DELAYED"
    server.runs[delayed].cancel()
    assert send("POST", f"v1/runs/{delayed}/reschedule", {"delay": "1s"}).status_code == 400


def test_the_list_lags_behind(server: TriggerDevServer, send: Send, trigger: Any) -> None:
    server.list_lag = 30
    trigger(options={"tags": ["t"]})
    assert send("GET", "v1/runs?filter[tag]=t").json()["data"] == []
    server.list_lag = 0
    assert len(send("GET", "v1/runs?filter[tag]=t").json()["data"]) == 1
