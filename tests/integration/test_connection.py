from __future__ import annotations

import http.server
import json
import os
import socket
import subprocess
import sys
import threading
from functools import partial

import pytest
from waiting import until

from airflow_provider_trigger.api.errors import NotTriggerDevError
from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook


def press_test_button():
    return TriggerDevHook().test_connection()


SERVER_DOWN = "; check host, port and 'proxy' of this connection, and whether the server runs"


def test_a_port_where_nothing_listens_cannot_be_reached(connect):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        connect(host=url)
        assert press_test_button() == (False, f"{url} could not be reached: Connection refused{SERVER_DOWN}")


def test_a_host_that_does_not_exist_cannot_be_reached(connect):
    connect(host="https://trigger.invalid")
    works, message = press_test_button()
    assert not works
    assert message.startswith("https://trigger.invalid could not be reached: ")
    assert message.endswith(SERVER_DOWN)
    assert message.count("trigger.invalid") == 1


def test_a_server_that_never_answers_cannot_be_reached(server, connect):
    connect(timeout=0.5)
    server.hang_next(None)
    reason = "no answer within 0.5 s"
    assert press_test_button() == (False, f"{server.url} could not be reached: {reason}{SERVER_DOWN}")
    until(lambda: server.requests, "the request is there")
    assert len(server.requests) == 1


def test_a_certificate_of_another_host_is_rejected(secure_server, certificate, connect):
    connect(host=f"https://localhost:{secure_server.port}", verify=certificate.file)
    works, message = press_test_button()
    assert (works, "TLS" in message) == (False, True)


def test_http_and_https_that_are_mistaken_for_each_other_are_an_error(server, secure_server, connect, cancel):
    connect(host=secure_server.url.replace("https", "http"))
    assert not press_test_button()[0]
    connect(host=server.url.replace("http", "https"))
    works, message = press_test_button()
    assert not works
    assert "the server speaks http, not https, on this port" in message
    assert "write http:// in the host of this connection" in message
    assert "CA" not in message
    assert "the server speaks http, not https, on this port" in str(cancel("run_a").error)


def test_a_file_server_is_no_trigger_dev_server_and_has_no_run(connect, tmp_path):
    """Python's own server answers each POST with 501 and a page."""
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        try:
            connect(host=f"http://127.0.0.1:{other.server_port}")
            with pytest.raises(NotTriggerDevError, match=r"501: .*not a Trigger\.dev server") as raised:
                TriggerDevHook().trigger_task("resize", options={"idempotency_key": "one"})
        finally:
            other.shutdown()
    assert "may exist" not in str(raised.value)
    assert "permission" not in str(raised.value)
    assert str(raised.value).endswith("; check the host of the connection")


def test_airflow_shows_the_provider_and_its_connection_type():
    from airflow.providers_manager import ProvidersManager

    try:
        from airflow.sdk.providers_manager_runtime import ProvidersManagerTaskRuntime
    except ImportError:  # before 3.2
        ProvidersManagerTaskRuntime = ProvidersManager  # type: ignore[assignment,misc]
    assert "airflow-provider-trigger" in ProvidersManager().providers
    hook = ProvidersManagerTaskRuntime().hooks["trigger_dev"]
    assert hook
    assert (hook.hook_name, hook.connection_type) == ("Trigger.dev", "trigger_dev")


def test_another_secrets_backend_is_used_although_the_variable_is_not_valid(server, tmp_path):
    fields = {"conn_type": "trigger_dev", "host": server.url, "password": server.secret_key}
    connections = tmp_path / "connections.json"
    connections.write_text(json.dumps({"mine": fields}))
    backend = "airflow.secrets.local_filesystem.LocalFilesystemBackend"
    program = (
        "from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook\n"
        "print(TriggerDevHook('mine').test_connection())"
    )
    environment = {
        "AIRFLOW_CONN_MINE": '{"conn_type": "trigger_dev", "password": "tr_prod_MARKER"',
        "AIRFLOW__SECRETS__BACKEND": backend,
        "AIRFLOW__SECRETS__BACKEND_KWARGS": json.dumps({"connections_file_path": str(connections)}),
    }
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | environment,
        check=True,
        capture_output=True,
        text=True,
    )
    said = done.stdout + done.stderr
    assert f"(True, 'Connected to {server.url}; the secret key is accepted')" in said
    assert "MARKER" not in said
