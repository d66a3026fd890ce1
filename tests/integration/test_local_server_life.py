"""The local server over real sockets: its life, its keys, its speed, and its command line."""

from __future__ import annotations

import json
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from waiting import LONG, limited, until

from airflow_provider_trigger.testing import TriggerDevServer, __main__


def test_latency_and_no_limit() -> None:
    with TriggerDevServer(latency=0.3, rate_limit=None) as server:
        headers, begun = {"Authorization": f"Bearer {server.secret_key}"}, time.monotonic()
        answer = requests.get(f"{server.url}/api/v1/runs", headers=headers, timeout=30)
        assert time.monotonic() - begun >= 0.3
        assert (answer.status_code, "x-ratelimit-limit" in answer.headers) == (200, False)
        with pytest.raises(RuntimeError, match="without a rate limit"):
            server.take_tokens(1)


def test_stops_at_once_whatever_is_held_open() -> None:
    server = TriggerDevServer()
    server.start()
    idle = requests.Session()
    idle.get(server.url + "/nothing", timeout=30)
    server.hang_next()
    server.delay_next(seconds=LONG)
    with ThreadPoolExecutor(2) as pool:
        held = [pool.submit(requests.get, server.url + "/api/v1/runs", timeout=30) for _ in range(2)]
        until(lambda: len(server.requests) == 3, "both requests are there", limit=20)
        with limited(20):
            server.stop()
        assert {type(answer.exception(timeout=30)) for answer in held} == {requests.ConnectionError}
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


def test_https(certificate: Any, tmp_path: Path) -> None:
    files = {"ssl_certfile": certificate.file, "ssl_keyfile": certificate.key}
    with TriggerDevServer(**files) as server:
        url = f"https://127.0.0.1:{server.port}/api/v1/runs"
        assert server.url == url.removesuffix("/api/v1/runs")
        assert requests.get(url, verify=certificate.file, timeout=30).status_code == 401
        server.disconnect_next()
        with pytest.raises(requests.ConnectionError):
            requests.get(url, verify=certificate.file, timeout=30)
    with pytest.raises((ssl.SSLError, OSError)):
        TriggerDevServer(**files | {"ssl_certfile": str(tmp_path / "none.pem")}).start()


def test_ipv6() -> None:
    server = TriggerDevServer(host="::1")
    try:
        server.start()
    except OSError:
        pytest.skip("this machine has no IPv6")
    try:
        assert requests.get(server.url + "/api/v1/runs", timeout=30).status_code == 401
        server.disconnect_next()
        with pytest.raises(requests.ConnectionError):
            requests.get(server.url + "/api/v1/runs", timeout=30)
    finally:
        server.stop()


def test_it_names_the_extra_that_is_missing() -> None:
    code = "import sys; sys.modules['uvicorn'] = None; import airflow_provider_trigger.testing"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert process.returncode == 1
    assert "pip install 'airflow-provider-trigger[testing]'" in process.stderr


@contextmanager
def command_line(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str, str, dict[str, str]]]:
    """Run it; yield the process, what it has printed, the address, and the headers with its key."""
    command = [sys.executable, "-m", "airflow_provider_trigger.testing", "--port", "0", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        limit = threading.Timer(60, process.kill)  # so that no line is waited for in vain
        limit.start()
        text = "".join(iter(process.stdout.readline, "Stop it with Ctrl+C.\n"))
        exported = re.search(r"export AIRFLOW_CONN_TRIGGER_DEV_DEFAULT='(.*)'", text)
        assert exported is not None
        connection = json.loads(exported.group(1))
        yield process, text, connection["host"], {"Authorization": f"Bearer {connection['password']}"}
        limit.cancel()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_command_line(number: signal.Signals) -> None:
    options = ["--secret-key", "tr_prod_mine", "--rate-limit", "0", "--runs", "EXECUTING:2", "queued"]
    options += ["--query-lag", "3600", "--list-lag", "3600"]
    with command_line(*options) as (process, text, url, headers):
        ids = re.findall(r"^  (\w+) +(run_\w+)$", text, re.MULTILINE)
        assert [status for status, _ in ids] == ["EXECUTING", "EXECUTING", "QUEUED"]
        assert headers == {"Authorization": "Bearer tr_prod_mine"}
        for status, run_id in ids:
            answer = requests.get(f"{url}/api/v3/runs/{run_id}", headers=headers, timeout=30)
            assert answer.json()["status"] == status
            assert "x-ratelimit-limit" not in answer.headers
        listed = requests.get(f"{url}/api/v1/runs", headers=headers, timeout=30)
        query = {"query": "SELECT run_id FROM runs"}
        found = requests.post(f"{url}/api/v1/query", json=query, headers=headers, timeout=30)
        assert (listed.json()["data"], found.json()["results"]) == ([], [])
        process.send_signal(number)
        assert process.communicate(timeout=30) == ("", "")
        assert process.returncode == 0


def test_the_command_line_has_the_tasks_of_a_file_and_prints_their_runs(tmp_path: Path) -> None:
    file = tmp_path / "my_tasks.py"
    file.write_text("tasks = {'resize-image': lambda payload: [payload['n']], 'broken': {'error': 'boom'}}")
    with command_line("--tasks", str(file), "--speed", "50") as (process, text, url, headers):
        assert "Its tasks: resize-image, broken. All others return their payload." in text
        ids = {}
        for task in ("resize-image", "broken", "other"):
            trigger = f"{url}/api/v1/tasks/{task}/trigger"
            answer = requests.post(trigger, json={"payload": {"n": 5}}, headers=headers, timeout=30)
            ids[task] = answer.json()["id"]
        assert process.stdout is not None
        printed = [process.stdout.readline() for _ in range(6)]
        page = requests.get(f"{url}/runs/{ids['resize-image']}", timeout=30)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=30)[0] == ""
    for task, run_id in ids.items():
        status = "FAILED   " if task == "broken" else "COMPLETED"
        started, ended = (line for line in printed if line.startswith(run_id))
        assert started == f"{run_id}  started    {task}\n"
        assert re.fullmatch(rf"{run_id}  {status}  {task}  \d+\.\d s(  boom)?\n", ended), ended
    assert (page.status_code, "[\n  5\n]" in page.text) == (200, True)


def test_a_port_in_use_and_an_address_elsewhere_are_rejected(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = str(busy.getsockname()[1])
        in_use = f"port {port} is in use; choose another one with --port, or --port 0 for any free one"
        # The other one is of a network for documentation (RFC 5737), so no machine's.
        elsewhere = "cannot listen on 192.0.2.1, port 8030: "
        for arguments, text in ((("--port", port), in_use), (("--host", "192.0.2.1"), elsewhere)):
            with pytest.raises(SystemExit):
                __main__.main(arguments)
            assert f": error: {text}" in capsys.readouterr().err
