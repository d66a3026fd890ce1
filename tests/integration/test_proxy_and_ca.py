"""A real proxy between the client and the server, and a server with an unknown certificate."""

from __future__ import annotations

import base64
import contextlib
import logging
import re
import select
import socket
import socketserver
import threading
import traceback
from urllib.parse import quote, urlsplit

import pytest

from airflow_provider_trigger._compat import AirflowException, AirflowFailException
from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook

USER, PASSWORD = "someone", "pass@MARKER/word"
CREDENTIALS = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
FORMS = (PASSWORD, quote(PASSWORD, safe=""), "MARKER", CREDENTIALS)
pytestmark = pytest.mark.usefixtures("no_environment")


class Proxy(socketserver.ThreadingTCPServer):
    """Forward ``http://`` and tunnel ``https://``; ``passed`` lists what, one line a connection."""

    daemon_threads = True

    def __init__(self, *, credentials=None):
        super().__init__(("127.0.0.1", 0), Handler)
        self.credentials = credentials
        self.passed = []
        self.rejected = 0
        # All bytes that came in, for what the proxy could read of them.
        self.seen = bytearray()

    @property
    def address(self):
        return f"127.0.0.1:{self.server_address[1]}"

    @property
    def url(self):
        user = f"{USER}:{quote(PASSWORD, safe='')}@" if self.credentials else ""
        return f"http://{user}{self.address}"

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


class Handler(socketserver.BaseRequestHandler):
    server: Proxy

    def handle(self):
        head = b""
        while b"\r\n\r\n" not in head:
            if not (chunk := self.request.recv(65536)):
                return
            head += chunk
        self.server.seen += head
        wanted = self.server.credentials
        if wanted and f"proxy-authorization: basic {wanted}".lower() not in head.decode("latin-1").lower():
            self.server.rejected += 1
            self.request.sendall(
                b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=x\r\n"
                b"Content-Length: 0\r\nConnection: close\r\n\r\n"
            )
            return
        method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
        self.server.passed.append(f"{method} {target}")
        if method == "CONNECT":
            host, _, port = target.rpartition(":")
            self._relay(host, int(port), b"", b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            url = urlsplit(target)
            head = head.replace(target.encode(), target.partition(url.netloc)[2].encode(), 1)
            head = re.sub(rb"(?mi)^(proxy-[\w-]+|connection):.*\r\n", b"", head)
            head = head.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
            self._relay(url.hostname, url.port or 80, head, b"")

    def _relay(self, host, port, head, answer):
        with contextlib.suppress(OSError), socket.create_connection((host, port), 5) as upstream:
            upstream.sendall(head)
            self.request.sendall(answer)
            ends = {self.request: upstream, upstream: self.request}
            while True:
                for end in select.select(list(ends), [], [], 10)[0]:
                    if not (chunk := end.recv(65536)):
                        return
                    if end is self.request:
                        self.server.seen += chunk
                    ends[end].sendall(chunk)


@pytest.fixture
def proxy():
    with Proxy() as proxy:
        yield proxy


@pytest.fixture
def strict_proxy():
    with Proxy(credentials=CREDENTIALS) as proxy:
        yield proxy


def test_the_connections_proxy_is_used(server, proxy, connect, cancel):
    connect(proxy=proxy.url)
    run = server.add_run()
    assert cancel(run).outcomes == ["canceled"]
    paths = [f"POST {server.url}/api/v2/runs/{run.id}/cancel", f"GET {server.url}/api/v3/runs/{run.id}"]
    assert proxy.passed == paths


@pytest.mark.parametrize("name", ["http_proxy", "HTTPS_PROXY", "ALL_PROXY"])
def test_the_environments_proxy_is_used_if_the_connection_has_none(
    name, server, secure_server, certificate, proxy, connect, cancel, monkeypatch
):
    monkeypatch.setenv(name, proxy.url)
    target = secure_server if name == "HTTPS_PROXY" else server
    connect(host=target.url, verify=certificate.file)
    assert cancel(target.add_run()).outcomes == ["canceled"]
    assert proxy.passed


def test_no_proxy_of_the_environment_bypasses_its_proxy(server, proxy, connect, cancel, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    monkeypatch.setenv("NO_PROXY", "example.com,127.0.0.1")
    connect()
    assert cancel(server.add_run()).outcomes == ["canceled"]
    assert proxy.passed == []


def test_the_connections_proxy_comes_first(server, proxy, strict_proxy, connect, cancel, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", strict_proxy.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    connect(proxy=proxy.url)
    assert cancel(server.add_run()).outcomes == ["canceled"]
    assert (len(proxy.passed), strict_proxy.passed) == (2, [])


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_requires_a_password_gets_it_and_the_server_does_not(
    scheme, server, secure_server, strict_proxy, certificate, connect, cancel
):
    target = server if scheme == "http" else secure_server
    connect(host=target.url, proxy=strict_proxy.url, verify=certificate.file)
    assert cancel(target.add_run()).outcomes == ["canceled"]
    assert strict_proxy.passed
    assert strict_proxy.rejected == 0
    if scheme == "https":  # which is a tunnel
        assert len(strict_proxy.seen) > 1000
        assert target.secret_key.encode() not in strict_proxy.seen
    assert not any("proxy-authorization" in request.headers for request in target.requests)


# What becomes of a proxy with a password, as a change of its URL and of the password that it requires.
PASSWORDS = {
    "wrong": (lambda url, proxy: url, "another"),
    "down": (lambda url, proxy: url.replace(proxy.address, "127.0.0.1:9"), CREDENTIALS),
    "malformed": (lambda url, proxy: url.replace(proxy.address, "127.0.0.1:port"), CREDENTIALS),
}


@pytest.mark.parametrize("kind", PASSWORDS)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_proxys_password_is_shown_nowhere(
    scheme, kind, server, secure_server, strict_proxy, certificate, connect, cancel, said, caplog
):
    caplog.set_level(logging.DEBUG)
    target = server if scheme == "http" else secure_server
    change, required = PASSWORDS[kind]
    url = change(strict_proxy.url, strict_proxy)
    strict_proxy.credentials = required
    connect(host=target.url, verify=certificate.file, proxy=url, retry_for=0.3)
    result = cancel(target.add_run())
    hook = TriggerDevHook()
    shown = [str(result.results), str(hook.test_connection()), said.text, repr(vars(hook))]
    shown += [str(vars(record)) for record in caplog.records]
    assert result.error
    shown += [repr(result.error), *traceback.format_exception(result.error)]
    if kind != "malformed":
        with hook.get_client() as client:
            shown += [repr(hook.settings), repr(client)]
    assert [text for text in shown if any(form in text for form in FORMS)] == []


def test_a_proxy_that_rejects_it_is_named(secure_server, strict_proxy, certificate, connect, cancel):
    proxy = f"http://{strict_proxy.address}"
    connect(host=secure_server.url, verify=certificate.file, proxy=proxy, retry_for=0.3)
    result = cancel(secure_server.add_run())
    assert type(result.error) is AirflowException
    assert "the proxy rejected the connection, or cannot be reached" in str(result.error)
    assert secure_server.requests == []


def test_a_proxy_that_rejects_http_answers_and_is_not_tried_again(server, strict_proxy, connect, cancel):
    connect(proxy=f"http://{strict_proxy.address}")
    result = cancel(server.add_run())
    assert type(result.error) is AirflowFailException
    assert "answered 407" in str(result.error)
    assert strict_proxy.rejected == 2


@pytest.mark.parametrize("through_proxy", [True, False])
@pytest.mark.parametrize("verify", ["the CA file", False])
def test_verify_says_what_to_trust(
    verify, through_proxy, secure_server, proxy, certificate, connect, cancel, monkeypatch
):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/etc/hostname")
    extra = {"proxy": proxy.url} if through_proxy else {}
    connect(host=secure_server.url, verify=certificate.file if verify else False, **extra)
    assert cancel(secure_server.add_run()).outcomes == ["canceled"]
    assert bool(proxy.passed) is through_proxy


@pytest.mark.parametrize("through_proxy", [True, False])
def test_an_unknown_certificate_is_named_and_final(through_proxy, secure_server, proxy, connect, cancel):
    connect(host=secure_server.url, retry_for=30, **({"proxy": proxy.url} if through_proxy else {}))
    result = cancel(secure_server.add_run())
    assert type(result.error) is AirflowFailException
    assert "the server's certificate is not accepted: self-signed certificate" in str(result.error)
    # One for the cancel, one for the status check.
    assert len(proxy.passed) == (2 if through_proxy else 0)
    assert secure_server.requests == []


def test_without_a_ca_file_the_environments_is_used(secure_server, certificate, connect, cancel, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", certificate.file)
    connect(host=secure_server.url)
    assert cancel(secure_server.add_run()).outcomes == ["canceled"]
