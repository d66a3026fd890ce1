"""The local server over real sockets: its life, its environments, and its command line."""

from __future__ import annotations

import json
import re
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from waiting import LONG, limited, until

from airflow_provider_trigger.testing import TriggerDevServer
from airflow_provider_trigger.testing.app import App


def test_latency(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[tuple[float, int | None]] = []

    with TriggerDevServer(latency=LONG) as server:

        async def sleep(seconds: float) -> None:
            slept.append((seconds, server.requests[-1].status))

        monkeypatch.setattr(f"{App.__module__}.asyncio", SimpleNamespace(sleep=sleep))
        assert requests.get(f"{server.url}/api/v1/runs", timeout=5).status_code == 401
        assert slept == [(LONG, None)], "it comes before the answer"
        server.latency = 0
        assert requests.get(f"{server.url}/api/v1/runs", timeout=5).status_code == 401
        assert len(slept) == 1


def test_no_limit() -> None:
    with TriggerDevServer(rate_limit=None) as server:
        headers = {"Authorization": f"Bearer {server.secret_key}"}
        answer = requests.get(f"{server.url}/api/v1/runs", headers=headers, timeout=5)
        assert "x-ratelimit-limit" not in answer.headers
        with pytest.raises(RuntimeError, match="without a rate limit"):
            server.take_tokens(1)


def test_stops_at_once_whatever_is_held_open() -> None:
    server = TriggerDevServer()
    server.start()
    idle = requests.Session()
    idle.get(server.url + "/nothing", timeout=5)
    server.hang_next()
    server.delay_next(seconds=LONG)
    with ThreadPoolExecutor(2) as pool:
        held = [pool.submit(requests.get, server.url + "/api/v1/runs", timeout=30) for _ in range(2)]
        until(lambda: len(server.requests) == 3, "both requests are there", limit=20)
        with limited(20):
            server.stop()
        assert {type(answer.exception(timeout=5)) for answer in held} == {requests.ConnectionError}
    server.stop()
    assert not [thread for thread in threading.enumerate() if thread.name == "trigger-dev-server"]


def test_comes_back_where_it_was(server: TriggerDevServer, send: Callable[..., requests.Response]) -> None:
    run = server.add_run()
    with pytest.raises(RuntimeError, match="already running"):
        server.start()
    url = server.url
    server.stop()
    with pytest.raises(requests.ConnectionError):
        send("GET", f"/api/v3/runs/{run.id}")
    server.start()
    assert (server.url, send("GET", f"/api/v3/runs/{run.id}").json()["id"]) == (url, run.id)
    with pytest.raises(OSError, match="in use"):
        TriggerDevServer(port=server.port).start()


def test_a_new_key_opens_what_the_old_one_did(server: TriggerDevServer, send: Callable[..., Any]) -> None:
    run, token, old = server.add_run(), server.create_token()[0], server.secret_key
    address, others = token.url, server.add_environment("dev").secret_key
    assert server.rotate_key("dev") not in (others, server.secret_key)
    assert server.rotate_key() == server.secret_key != old
    assert send("GET", f"/api/v3/runs/{run.id}").status_code == 200
    headers = {"Authorization": f"Bearer {old}"}
    assert requests.get(f"{server.url}/api/v3/runs/{run.id}", headers=headers, timeout=5).status_code == 401
    answers = [requests.post(url, json={}, timeout=5).status_code for url in (address, token.url)]
    assert answers == [401, 200]


def test_https(certificate: Any, tmp_path: Path) -> None:
    files = {"ssl_certfile": certificate.file, "ssl_keyfile": certificate.key}
    with TriggerDevServer(**files) as server:
        url = f"https://127.0.0.1:{server.port}/api/v1/runs"
        assert server.url == url.removesuffix("/api/v1/runs")
        assert requests.get(url, verify=certificate.file, timeout=5).status_code == 401
        server.disconnect_next()
        with pytest.raises(requests.ConnectionError):
            requests.get(url, verify=certificate.file, timeout=5)
    with pytest.raises((ssl.SSLError, OSError)):
        TriggerDevServer(**files | {"ssl_certfile": str(tmp_path / "none.pem")}).start()


def test_ipv6() -> None:
    server = TriggerDevServer(host="::1")
    try:
        server.start()
    except OSError:
        pytest.skip("this machine has no IPv6")
    try:
        assert requests.get(server.url + "/api/v1/runs", timeout=5).status_code == 401
        server.disconnect_next()
        with pytest.raises(requests.ConnectionError):
            requests.get(server.url + "/api/v1/runs", timeout=5)
    finally:
        server.stop()


def test_it_names_the_extra_that_is_missing() -> None:
    code = "import sys; sys.modules['uvicorn'] = None; import airflow_provider_trigger.testing"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert process.returncode == 1
    assert "pip install 'airflow-provider-trigger[testing]'" in process.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_command_line(number: signal.Signals) -> None:
    command = [sys.executable, "-m", "airflow_provider_trigger.testing", "--port", "0"]
    command += ["--secret-key", "tr_prod_mine", "--rate-limit", "0", "--runs", "EXECUTING:2", "queued"]
    command += ["--query-lag", "3600", "--list-lag", "3600"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = list(iter(process.stdout.readline, "Stop it with Ctrl+C.\n"))
        text = "".join(lines)
        ids = re.findall(r"^  (\w+) +(run_\w+)$", text, re.MULTILINE)
        exported = re.search(r"export AIRFLOW_CONN_TRIGGER_DEV_DEFAULT='(.*)'", text)
        assert exported is not None
        connection = json.loads(exported.group(1))
        headers = {"Authorization": f"Bearer {connection['password']}"}
        for status, run_id in ids:
            answer = requests.get(f"{connection['host']}/api/v3/runs/{run_id}", headers=headers, timeout=5)
            assert answer.json()["status"] == status
            assert "x-ratelimit-limit" not in answer.headers
        listed = requests.get(f"{connection['host']}/api/v1/runs", headers=headers, timeout=5)
        query = {"query": "SELECT run_id FROM runs"}
        found = requests.post(f"{connection['host']}/api/v1/query", json=query, headers=headers, timeout=5)
        assert (listed.json()["data"], found.json()["results"]) == ([], [])
        process.send_signal(number)
        assert process.communicate(timeout=5) == ("", "")
    assert ([status for status, _ in ids], connection["password"]) == (
        ["EXECUTING", "EXECUTING", "QUEUED"],
        "tr_prod_mine",
    )
    assert process.returncode == 0


def test_the_command_line_has_the_tasks_of_a_file_and_prints_their_runs(tmp_path: Path) -> None:
    file = tmp_path / "my_tasks.py"
    file.write_text("tasks = {'resize-image': lambda payload: [payload['n']], 'broken': {'error': 'boom'}}")
    command = [sys.executable, "-m", "airflow_provider_trigger.testing", "--port", "0", "--tasks", str(file)]
    with subprocess.Popen([*command, "--speed", "50"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        text = "".join(iter(process.stdout.readline, "Stop it with Ctrl+C.\n"))
        assert "Its tasks: resize-image, broken. All others return their payload." in text
        exported = re.search(r"export AIRFLOW_CONN_TRIGGER_DEV_DEFAULT='(.*)'", text)
        assert exported is not None
        connection = json.loads(exported.group(1))
        headers = {"Authorization": f"Bearer {connection['password']}"}
        ids = {}
        limit = threading.Timer(20, process.kill)  # so that no line is waited for in vain
        limit.start()
        for task in ("resize-image", "broken", "other"):
            url = f"{connection['host']}/api/v1/tasks/{task}/trigger"
            answer = requests.post(url, json={"payload": {"n": 5}}, headers=headers, timeout=5)
            ids[task] = answer.json()["id"]
        printed = [process.stdout.readline() for _ in range(6)]
        limit.cancel()
        page = requests.get(f"{connection['host']}/runs/{ids['resize-image']}", timeout=5)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=5)[0] == ""
    for task, run_id in ids.items():
        status = "FAILED   " if task == "broken" else "COMPLETED"
        started, ended = (line for line in printed if line.startswith(run_id))
        assert started == f"{run_id}  started    {task}\n"
        assert re.fullmatch(rf"{run_id}  {status}  {task}  \d+\.\d s(  boom)?\n", ended), ended
    assert (page.status_code, "[\n  5\n]" in page.text) == (200, True)
