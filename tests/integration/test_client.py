"""What only a socket shows of a client: answers that trickle or end badly, and a handshake that hangs."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from airflow_provider_trigger.api import errors
from airflow_provider_trigger.api.client import TriggerDevClient
from airflow_provider_trigger.api.http import ServerSettings
from airflow_provider_trigger.api.runs import cancel_run, retrieve_run

KEY = "tr_prod_marker/of+the=test"


def new_client(base_url: str, **settings: Any) -> TriggerDevClient:
    """Return a client whose requests leave the process."""
    arguments: dict[str, Any] = {"secret_key": KEY, "user_agent": "unit-tests/1", "retry_for": 0.0}
    given = {"base_url": base_url} | arguments | settings
    return TriggerDevClient(ServerSettings(**given))


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
TRICKLES = {"chunks": (CHUNKED, b"1\r\n \r\n"), "nothing more": (OK + b"Content-Length: 1000\r\n\r\n{", b"")}


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


def test_what_python_prints_of_connections_does_not_show_the_key(listener, monkeypatch, capfd) -> None:
    monkeypatch.setattr("http.client.HTTPConnection.debuglevel", 1)
    url = listener(lambda connection: connection.sendall(OK + b"Content-Length: 2\r\n\r\n{}"))
    with new_client(url) as client, pytest.raises(errors.UnexpectedAnswerError):
        client.call(retrieve_run("run_1"))
    assert KEY not in capfd.readouterr().out
