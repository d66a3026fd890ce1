from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook
from airflow_provider_trigger.testing import TriggerDevServer


@pytest.fixture
def secure_server(certificate):
    with TriggerDevServer(ssl_certfile=certificate.file, ssl_keyfile=certificate.key) as server:
        yield server


def tried(conn_id="trigger_dev_default"):
    return TriggerDevHook(conn_id).test_connection()


def test_a_connection_that_works_is_told_in_one_request(server, connect):
    connect()
    assert tried() == (True, f"Connected to {server.url}; the secret key is accepted")
    (request,) = server.requests
    assert (request.method, request.path.partition("?")[0]) == ("GET", "/api/v1/runs")


@pytest.mark.parametrize("key", ["tr_prod_wrong", "anything-else"])
def test_a_rejected_key_is_told(key, server, connect):
    connect(key=key)
    works, message = tried()
    assert not works
    assert "key was rejected" in message
    assert server.url in message


def test_a_preview_key_without_its_branch_is_told(server, connect):
    preview = server.add_environment("preview", branch="feature")
    connect(key=preview.secret_key)
    works, message = tried()
    assert not works
    assert "branch" in message


def test_a_preview_key_with_its_branch_works(server, connect):
    preview = server.add_environment("preview", branch="feature")
    connect(key=preview.secret_key, branch="feature")
    assert tried()[0]


def test_a_preview_key_with_the_wrong_branch_is_rejected(server, connect):
    preview = server.add_environment("preview", branch="feature")
    connect(key=preview.secret_key, branch="another")
    works, message = tried()
    assert not works
    assert "rejected" in message


def test_a_port_where_nobody_listens_is_told(connect):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        connect(host=url)
        works, message = tried()
    assert not works
    assert f"{url} could not be reached" in message


def test_a_name_that_nobody_has_is_told(connect):
    connect(host="https://trigger.invalid")
    works, message = tried()
    assert not works
    assert "https://trigger.invalid could not be reached" in message


def test_a_server_that_never_answers_is_told(server, connect):
    connect(timeout=0.5)
    server.never_answer_next(None)
    works, message = tried()
    assert not works
    assert "could not be reached" in message
    assert len(server.requests) == 1


def test_a_certificate_that_nobody_signed_is_told(secure_server, connect):
    connect(host=secure_server.url)
    works, message = tried()
    assert not works
    assert "TLS" in message
    assert "'verify'" in message


def test_a_certificate_of_another_host_is_told(secure_server, certificate, connect):
    connect(host=f"https://localhost:{secure_server.port}", verify=certificate.file)
    works, message = tried()
    assert not works
    assert "TLS" in message


@pytest.mark.parametrize("verify", ["the CA file", False, "false"])
def test_verify_says_what_to_trust(verify, secure_server, certificate, connect):
    connect(host=secure_server.url, verify=certificate.file if verify == "the CA file" else verify)
    assert tried()[0]


def test_runs_are_canceled_over_tls_too(secure_server, certificate, connect, cancel):
    connect(host=secure_server.url, verify=certificate.file)
    assert cancel(secure_server.add_run()).outcomes == ["canceled"]


def test_http_spoken_to_a_server_of_https_is_told(secure_server, connect):
    connect(host=secure_server.url.replace("https", "http"))
    assert not tried()[0]


def test_https_spoken_to_a_server_of_http_is_told(server, connect):
    connect(host=server.url.replace("http", "https"))
    works, message = tried()
    assert not works
    assert "TLS" in message


OTHERS = {
    "a page": lambda server: server.garbage_next(None),
    "a page that says 404": lambda server: server.garbage_next(None, status=404),
    "JSON of another product": lambda server: server.garbage_next(
        None, '{"status": "ok"}', "application/json"
    ),
    "a list": lambda server: server.garbage_next(None, "[]", "application/json"),
    "a 404 of another product": lambda server: server.fail_next(None, 404, body={"detail": "Not Found"}),
    "nothing": lambda server: server.garbage_next(None, "", "application/json"),
    "a login page elsewhere": lambda server: server.redirect_next(None),
}


@pytest.mark.parametrize("answer", OTHERS)
def test_what_is_no_trigger_dev_server_is_told(answer, server, connect):
    connect()
    OTHERS[answer](server)
    works, message = tried()
    assert not works
    assert f"{server.url} is no Trigger.dev server" in message


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"key": " "}, "'password'"),
        ({"host": "http://user:pass@127.0.0.1"}, "'host'"),
        ({"host": "ftp://127.0.0.1"}, "'host'"),
        ({"timeout": "soon"}, "'timeout'"),
        ({"verify": "/no/such/file"}, "'verify'"),
    ],
)
def test_a_malformed_field_is_named(fields, named, connect):
    connect(**fields)
    works, message = tried()
    assert not works
    assert "'trigger_dev_default'" in message
    assert named in message


@pytest.mark.parametrize("status", [403, 429, 500, 503])
def test_an_answer_that_says_no_is_repeated_with_its_status(status, server, connect):
    connect()
    server.fail_next(None, status)
    works, message = tried()
    assert not works
    assert "Asked to fail" in message
    assert len(server.requests) == 1


def test_it_never_asks_who_it_is(server, connect):
    # That call's answer holds the key.
    connect()
    tried()
    server.fail_next(None, 500)
    tried()
    assert not any("whoami" in request.path for request in server.requests)


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
        from airflow.providers_manager import ProvidersManager
    hook = ProvidersManager().hooks["trigger_dev"]
    assert (hook.hook_name, hook.connection_type) == ("Trigger.dev", "trigger_dev")


def test_airflow_tests_the_connection_where_that_is_allowed(server, connect, dags_folder):
    conn_id = connect()
    said = airflow("connections", "test", conn_id, AIRFLOW__CORE__TEST_CONNECTION="Enabled")
    assert "Connection success!" in said
    assert [request.path.partition("?")[0] for request in server.requests] == ["/api/v1/runs"]
    assert server.secret_key not in said
