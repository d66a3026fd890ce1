from __future__ import annotations

import http.server
import json
import os
import socket
import subprocess
import sys
import threading
from functools import partial
from urllib.parse import unquote

import pytest
from waiting import until

from airflow_provider_trigger._compat import AirflowFailException
from airflow_provider_trigger.api.errors import (
    AuthenticationError,
    NotTriggerDevError,
    TLSError,
    TransportError,
)
from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook


def press_test_button():
    return TriggerDevHook().test_connection()


def test_a_connection_that_works_needs_one_request(server, connect):
    connect()
    assert press_test_button() == (True, f"Connected to {server.url}; the secret key is accepted")
    (request,) = server.requests
    assert (request.method, unquote(request.path)) == ("GET", "/api/v1/runs?page[size]=10")


def test_a_rejected_key_names_the_password(server, connect):
    connect(key="anything-else")
    works, message = press_test_button()
    assert not works
    assert f"{server.url} rejected the secret key: " in message
    assert message.endswith("; check the password of this connection")
    assert "anything-else" not in message


def test_a_call_with_a_rejected_key_names_the_password(server, connect):
    connect(key="tr_prod_wrong")
    with pytest.raises(AuthenticationError) as raised:
        TriggerDevHook().cancel_runs(["run_a"])
    assert str(raised.value).startswith(f"Connection 'trigger_dev_default' to {server.url}: ")
    assert str(raised.value).endswith("; check the password of the connection")


def test_a_preview_key_without_its_branch_names_the_branch(server, connect):
    preview = server.add_environment("preview", branch="feature")
    connect(key=preview.secret_key)
    works, message = press_test_button()
    assert not works
    action = "a preview key (tr_preview_…) needs a branch: set 'branch' in the extra of this connection"
    assert message.endswith(f"; {action}")
    with pytest.raises(AuthenticationError, match="needs a branch: set 'branch' in the extra"):
        TriggerDevHook().get_run("run_a")


def test_a_preview_key_works_with_its_branch_only(server, connect):
    preview = server.add_environment("preview", branch="feature")
    connect(key=preview.secret_key, branch="feature")
    assert press_test_button()[0]
    connect(key=preview.secret_key, branch="another")
    works, message = press_test_button()
    assert (works, "rejected" in message) == (False, True)


SERVER_DOWN = "; check host, port and 'proxy' of this connection, and whether the server runs"


@pytest.fixture
def free_port():
    """A port where nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        yield free.getsockname()[1]


def test_a_port_where_nothing_listens_cannot_be_reached(free_port, connect):
    url = f"http://127.0.0.1:{free_port}"
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
    assert press_test_button() == (
        False,
        f"{server.url} could not be reached: no answer within 0.5 s{SERVER_DOWN}. "
        "A status check failed, too: no answer within 0.5 s",
    )
    until(lambda: len(server.requests) >= 2, "both requests are there")
    assert len(server.requests) == 2


def test_a_list_of_runs_that_takes_too_long_is_only_a_note(server, connect):
    connect(timeout=3)
    server.hang_next(None, path="/api/v1/runs")
    works, message = press_test_button()
    assert works
    assert message.startswith(f"Connected to {server.url}; the secret key is accepted. The list of runs, ")
    assert message.endswith(" failed: no answer within 3 s")


def test_a_call_to_a_server_that_is_down_names_connection_and_server_once(free_port, connect):
    connect(host=f"http://127.0.0.1:{free_port}", retry_for=0)
    with pytest.raises(TransportError) as raised:
        TriggerDevHook().get_run("run_a")
    assert str(raised.value) == (
        f"Connection 'trigger_dev_default': GET /api/v3/runs/run_a to 127.0.0.1:{free_port}: Connection "
        "refused; check host, port and 'proxy' of the connection, and whether the server runs"
    )


def test_a_certificate_of_another_host_is_rejected(secure_server, certificate, connect):
    connect(host=f"https://localhost:{secure_server.port}", verify=certificate.file)
    works, message = press_test_button()
    assert not works
    assert "TLS" in message


def test_http_spoken_to_a_server_of_https_fails(secure_server, connect):
    connect(host=secure_server.url.replace("https", "http"))
    assert not press_test_button()[0]


def test_https_spoken_to_a_server_of_http_is_named(server, connect, cancel):
    connect(host=server.url.replace("http", "https"))
    works, message = press_test_button()
    assert not works
    assert "the server speaks http, not https, on this port" in message
    assert "write http:// in the host of this connection" in message
    assert "CA" not in message
    execution = cancel("run_a")
    assert "the server speaks http, not https, on this port" in str(execution.error)
    with pytest.raises(TLSError, match=r"'trigger_dev_default': .* the server speaks http, not https"):
        TriggerDevHook().get_run("run_a")


OTHERS = {
    "a page": lambda server: server.malformed_next(None),
    "JSON of another product": lambda server: server.malformed_next(
        None, '{"status": "ok"}', "application/json"
    ),
    "a 404 of another product": lambda server: server.fail_next(None, 404, body={"detail": "Not Found"}),
    "a login page elsewhere": lambda server: server.redirect_next(None),
    "a page that says 501": lambda server: server.malformed_next(None, status=501),
}


@pytest.mark.parametrize("answer", OTHERS)
def test_another_product_is_recognized(answer, server, connect):
    connect()
    OTHERS[answer](server)
    works, message = press_test_button()
    assert not works
    assert f"{server.url} is not a Trigger.dev server" in message
    assert message.endswith("; check the host of this connection")


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


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"key": " "}, "'password'"),
        ({"host": "http://user:pass@127.0.0.1"}, "'host'"),
        ({"host": "ftp://127.0.0.1"}, "'host'"),
        ({"timeout": "soon"}, "'timeout'"),
        ({"verify": "/no/such/file"}, "'verify'"),
        ({"key": '"tr_prod_MARKER"'}, "quotation marks"),
        ({"host": "https://trigger.invalid/api/v1"}, "without /api/v1"),
        ({"host": "tr_prod_MARKER"}, "'host'"),
    ],
)
def test_an_invalid_field_is_named(fields, named, connect):
    connect(**fields)
    works, message = press_test_button()
    assert not works
    assert "'trigger_dev_default'" in message
    assert named in message
    assert "marker" not in message.lower()


@pytest.mark.parametrize("status", [403, 429, 503])
def test_an_error_status_is_shown_with_the_message_of_the_server(status, server, connect):
    connect()
    server.fail_next(None, status)
    works, message = press_test_button()
    assert not works
    assert "Simulated error" in message
    assert f"answered {status}" in message
    assert len(server.requests) == (1 if status == 429 else 2)


@pytest.mark.parametrize("status", [403, 503])
def test_canceling_works_while_the_list_of_runs_is_down(status, server, connect, cancel):
    connect()
    server.fail_next(None, status, path="/api/v1/runs")
    works, message = press_test_button()
    assert works
    assert message.startswith(f"Connected to {server.url}; the secret key is accepted. The list of runs, ")
    assert f"answered {status}" in message
    paths = [request.path.partition("?")[0] for request in server.requests]
    assert paths == ["/api/v1/runs", "/api/v3/runs/run_of_the_connection_test"]
    assert cancel(server.add_run()).outcomes == ["canceled"]


def test_a_wrong_key_is_found_while_the_list_of_runs_is_down(server, connect):
    connect(key="tr_prod_wrong")
    server.fail_next(None, 503, path="/api/v1/runs")
    works, message = press_test_button()
    assert not works
    assert "rejected the secret key" in message


def test_the_test_never_requests_its_own_identity(server, connect):
    # The answer of that call contains the key.
    connect()
    press_test_button()
    server.fail_next(None, 500)
    press_test_button()
    assert not any("whoami" in request.path for request in server.requests)


def test_a_task_without_its_connection_is_not_retried(make_operator, make_context):
    operator = make_operator("run_a", trigger_dev_conn_id="no_such_connection")
    with pytest.raises(AirflowFailException, match="Connection 'no_such_connection' was not found"):
        operator.execute(make_context())


def airflow(*arguments, **environment):
    done = subprocess.run(
        [sys.executable, "-m", "airflow", *arguments],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        check=False,
    )
    return done.stdout + done.stderr


def test_airflow_shows_the_provider_and_its_connection_type():
    assert "airflow-provider-trigger" in airflow("providers", "list", "--output", "json")
    try:
        from airflow.sdk.providers_manager_runtime import ProvidersManagerTaskRuntime as ProvidersManager
    except ImportError:  # before 3.2
        from airflow.providers_manager import ProvidersManager  # type: ignore[assignment]
    hook = ProvidersManager().hooks["trigger_dev"]
    assert hook
    assert (hook.hook_name, hook.connection_type) == ("Trigger.dev", "trigger_dev")


def test_airflow_tests_the_connection_where_that_is_allowed(server, connect, dags_folder):
    conn_id = connect()
    said = airflow("connections", "test", conn_id, AIRFLOW__CORE__TEST_CONNECTION="Enabled")
    assert "Connection success!" in said
    assert [request.path.partition("?")[0] for request in server.requests] == ["/api/v1/runs"]
    assert server.secret_key not in said


def test_another_secrets_backend_is_used_although_the_variable_is_not_valid(server, tmp_path):
    fields = {"conn_type": "trigger_dev", "host": server.url, "password": server.secret_key}
    connections = tmp_path / "connections.json"
    connections.write_text(json.dumps({"mine": fields}))
    backend = "airflow.secrets.local_filesystem.LocalFilesystemBackend"
    program = (
        "from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook\n"
        "print(TriggerDevHook('mine').test_connection())"
    )
    environment = os.environ | {
        "AIRFLOW_CONN_MINE": '{"conn_type": "trigger_dev", "password": "tr_prod_MARKER"',
        "AIRFLOW__SECRETS__BACKEND": backend,
        "AIRFLOW__SECRETS__BACKEND_KWARGS": json.dumps({"connections_file_path": str(connections)}),
    }
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    assert f"(True, 'Connected to {server.url}; the secret key is accepted')" in done.stdout
    assert "MARKER" not in done.stdout + done.stderr
