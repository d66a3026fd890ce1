from __future__ import annotations

import contextlib
import gzip
import json
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from airflow_provider_trigger.api import errors, transport
from airflow_provider_trigger.api.client import TriggerDevClient
from airflow_provider_trigger.api.http import ServerSettings
from airflow_provider_trigger.api.runs import (
    cancel_run,
    list_newest_runs,
    reschedule_run,
    retrieve_run,
)
from airflow_provider_trigger.run.output import fetch_output

RUN = {"id": "run_1", "status": "QUEUED"}
KEY = "tr_prod_marker/of+the=test"
SIGNED = "https://store.test:9000/packets/a%20b/1.json?X-Amz-Credential=t%2F20261125&X-Amz-Signature=0bb7"


def new_client(base_url: str, **settings: Any) -> TriggerDevClient:
    """Return a client whose requests leave the process."""
    arguments: dict[str, Any] = {"secret_key": KEY, "user_agent": "unit-tests/1", "retry_for": 0.0}
    given = {"base_url": base_url} | arguments | settings
    return TriggerDevClient(ServerSettings(**given))


# What is sent


def test_a_request_is_sent_with_its_path_query_body_and_headers(connect, answer) -> None:
    prefix = "http://trigger.test:3030/a/prefix"
    client, wire = connect(
        answer(body=RUN | {"data": [], "pagination": {}}), base_url=prefix, branch="feature/x"
    )
    client.call(list_newest_runs())
    client.call(reschedule_run("run_1", delay="1h"))
    client.call(cancel_run("run_1"))
    listed, rescheduled, canceled = wire.sent
    assert (listed.method, listed.url) == ("GET", f"{prefix}/api/v1/runs?page%5Bsize%5D=10")
    assert rescheduled.url == f"{prefix}/api/v1/runs/run_1/reschedule"
    assert (json.loads(rescheduled.body), rescheduled.headers["Content-Type"]) == (
        {"delay": "1h"},
        "application/json",
    )
    assert (canceled.method, canceled.body) == ("POST", None)
    assert canceled.headers == {
        "Accept": "application/json",
        "Accept-Encoding": "gzip",
        "Authorization": f"Bearer {KEY}",
        "Content-Length": "0",
        "User-Agent": "unit-tests/1",
        "x-trigger-api-version": "2025-07-16",
        "x-trigger-branch": "feature/x",
    }
    client, wire = connect(answer(body=RUN), branch="")
    client.call(cancel_run("run_1"))
    assert "x-trigger-branch" not in wire.sent[0].headers


# How it is sent


@pytest.mark.parametrize("location", ["https://evil.test/", "http://[::1", "x" * 99_999])
def test_a_redirect_is_not_resolved(connect, answer, location: str) -> None:
    client, wire = connect(answer(302, b"x" * 9999, {"location": location}))
    with pytest.raises(errors.RedirectError) as raised:
        client.call(cancel_run("run_1"))
    assert location[:200] in str(raised.value)
    assert len(wire.sent) == 1


# What comes back


@pytest.mark.parametrize("status", [200, 302, 404])
def test_an_answer_that_is_too_large_is_not_read_to_its_end(
    connect, answer, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr(transport, "MAX_BODY_BYTES", 1024 * 1024)
    client, wire = connect(answer(status, b" " * (3 * 1024 * 1024), {"location": "https://evil.test/"}))
    with pytest.raises(errors.UnexpectedAnswerError, match="run_1 answered more than 1 MB"):
        client.call(retrieve_run("run_1"))
    assert len(wire.sent) == 1
    assert wire.raw[0].tell() < 2 * 1024 * 1024


def test_a_small_answer_that_decompresses_to_a_large_one_takes_little_memory(
    connect, answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "MAX_BODY_BYTES", 100_000)
    bomb = gzip.compress(bytes(128 * 1024 * 1024))
    client, _ = connect(answer(200, bomb, {"content-encoding": "gzip"}), retry_for=0.0)
    tracemalloc.start()
    try:
        with pytest.raises(errors.UnexpectedAnswerError):
            client.call(retrieve_run("run_1"))
        assert tracemalloc.get_traced_memory()[1] < 64 * 1024 * 1024
    finally:
        tracemalloc.stop()


# Real sockets


@pytest.fixture
def listener() -> Iterator[Callable[[Callable[[socket.socket], None]], str]]:
    """A server that reads a request and then sends what a test gives, byte by byte."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve(speak: Callable[[socket.socket], None]) -> str:
            def answer_all() -> None:
                with contextlib.suppress(OSError):
                    while True:
                        connection = listening.accept()[0]
                        with connection, contextlib.suppress(OSError):
                            connection.recv(65536)
                            speak(connection)

            threading.Thread(target=answer_all, daemon=True).start()
            return f"http://127.0.0.1:{listening.getsockname()[1]}"

        yield serve
        listening.shutdown(socket.SHUT_RDWR)


OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
TRICKLES = {
    "chunks": (CHUNKED, b"1\r\n \r\n"),
    "nothing more": (OK + b"Content-Length: 1000\r\n\r\n{", b""),
}


@pytest.mark.parametrize("what", TRICKLES)
def test_an_answer_that_trickles_times_out_whatever_it_sends(listener, what: str) -> None:
    begin, piece = TRICKLES[what]

    def trickle(connection: socket.socket) -> None:
        connection.sendall(begin)
        for _ in range(1000):
            connection.sendall(piece)
            time.sleep(0.1)

    begun = time.monotonic()
    with (
        new_client(listener(trickle), timeout=0.1) as client,
        pytest.raises(errors.TransportError, match=r"no answer within 0\.1 s"),
    ):
        client.call(retrieve_run("run_1"))
    assert time.monotonic() - begun < 50  # 100 s, if it was read to its end


@pytest.mark.parametrize(
    ("spoken", "reason"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{", "the connection was lost"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n{{{{", "DecodeError"),
        (b"", "Remote end closed connection|ConnectionError|Connection reset"),
    ],
)
def test_an_answer_that_ends_badly_is_none(listener, spoken: bytes, reason: str) -> None:
    url = listener(lambda connection: connection.sendall(spoken))
    with new_client(url) as client, pytest.raises(errors.TransportError, match=reason) as raised:
        client.call(retrieve_run("run_1"))
    assert raised.value.retryable


def test_a_handshake_that_hangs_is_no_connection(listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_trigger.api.transport.CONNECT_TIMEOUT", 0.1)
    ended = threading.Event()
    url = listener(lambda _: ended.wait(20)).replace("http:", "https:")
    with (
        new_client(url, timeout=5.0, retry_for=0.0) as client,
        pytest.raises(errors.TransportError, match=r"no connection within 0\.1 s") as raised,
    ):
        client.call(cancel_run("run_1"))
    ended.set()
    assert (raised.value.retryable, raised.value.was_sent) == (True, False)


def test_a_closed_client_closes_its_connections_and_sends_nothing_more(connect, answer, clock) -> None:
    def close(_: Any) -> Any:
        client.close()
        return answer(500, {"error": "no database"})

    client, wire = connect(close)
    closed = []
    wire.close = lambda: closed.append(True)
    with client as entered:
        assert entered is client
        for error in (errors.ServerError, errors.NotSentError):
            with pytest.raises(error, match=r"no database$|^the client was closed$"):
                client.call(retrieve_run("run_1"))
            assert len(wire.sent) == 1
        closed.clear()
    assert closed


# Another server, such as an object store


def test_a_signed_url_is_sent_as_it_is_without_key_branch_and_version(connect, answer) -> None:
    client, wire = connect(answer(body={"json": 1}), answer(body=RUN), branch="feature/x", user_agent="me/1")
    assert client.call(fetch_output(SIGNED)) == 1
    client.call(retrieve_run("run_1"))
    sent, own = wire.sent
    assert (sent.method, sent.url, sent.body) == ("GET", SIGNED, None)
    assert sent.headers == {"User-Agent": "me/1", "Accept-Encoding": "gzip"}
    assert own.headers["Authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    ("verify", "tried"), [("/ca.pem", ["/all.pem", "/ca.pem"]), (True, ["/all.pem"]), (False, [False])]
)
def test_a_store_elsewhere_is_checked_against_the_cas_of_all_and_then_the_private_one(
    connect, answer, verify, tried, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/all.pem")
    unknown = requests.exceptions.SSLError("certificate verify failed")
    for url, verified in ((SIGNED, tried), ("https://trigger.test/packets/1.json", tried[-1:])):
        client, wire = connect(unknown, verify=verify)
        with pytest.raises(errors.TLSError):
            client.call(fetch_output(url))
        assert [options["verify"] for options in wire.options] == verified
        client, wire = connect(*[unknown] * (len(verified) - 1), answer(body={"json": 1}), verify=verify)
        assert client.call(fetch_output(url)) == 1


# The secret key


def test_what_python_prints_of_connections_does_not_show_the_key(listener, monkeypatch, capfd) -> None:
    monkeypatch.setattr("http.client.HTTPConnection.debuglevel", 1)
    url = listener(lambda connection: connection.sendall(OK + b"Content-Length: 2\r\n\r\n{}"))
    with new_client(url) as client, pytest.raises(errors.UnexpectedAnswerError):
        client.call(retrieve_run("run_1"))
    assert KEY not in capfd.readouterr().out


def test_the_key_is_hidden_in_results_and_in_errors(connect, answer) -> None:
    client, _ = connect(answer(body=RUN | {"output": f"Bearer {KEY}"}), answer(404, {"error": "Not found"}))
    assert client.call(retrieve_run("run_1")).output == "Bearer ***"
    with pytest.raises(errors.NotFoundError, match=r"^GET /api/v3/runs/\*\*\* answered 404: Not found$"):
        client.call(retrieve_run(KEY))
