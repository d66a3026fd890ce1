from __future__ import annotations

import contextlib
import gzip
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from typing import Any
from urllib.parse import quote

import pytest
import requests
import urllib3
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_provider_trigger import defaults
from airflow_provider_trigger.api import body as body_module
from airflow_provider_trigger.api import errors
from airflow_provider_trigger.api.client import KEEP_ALIVE, TriggerDevClient
from airflow_provider_trigger.api.deadline import Deadline
from airflow_provider_trigger.api.endpoints.bulk_actions import cancel_runs_in_bulk
from airflow_provider_trigger.api.endpoints.runs import cancel_run, list_newest_runs, retrieve_run
from airflow_provider_trigger.api.exchange import Send
from airflow_provider_trigger.api.http import Call, Response
from airflow_provider_trigger.api.rate_limit import RateLimit
from airflow_provider_trigger.api.settings import ServerSettings

RUN = {"id": "run_1", "status": "QUEUED"}
KEY = "tr_prod_marker/of+the=test"
CHECK = Send(retrieve_run("run_1").request, timeout=7.0)


def new_client(base_url: str, **settings: Any) -> TriggerDevClient:
    """Return a client whose requests leave the process."""
    arguments: dict[str, Any] = {"secret_key": KEY, "user_agent": "unit-tests/1", "retry_for": 0.0}
    given = {"base_url": base_url} | arguments | settings
    own = {name: given.pop(name) for name in ("max_connections", "rate_limit") if name in given}
    return TriggerDevClient(ServerSettings(**given), **own)


# What is sent


def test_cancels_and_checks_are_sent_to_their_paths(connect, answer) -> None:
    client, wire = connect(answer(body=RUN))
    client.call(cancel_run("run_1"))
    assert client.call(retrieve_run("run_1")).status == "QUEUED"
    assert wire.targets == ["POST /api/v2/runs/run_1/cancel", "GET /api/v3/runs/run_1"]
    assert wire.sent[0].body is None


def test_a_query_is_sent(connect, answer) -> None:
    client, wire = connect(answer(body={"data": [RUN]}))
    client.call(list_newest_runs())
    assert wire.targets == ["GET /api/v1/runs?page%5Bsize%5D=10"]


def test_a_body_is_sent_as_json(connect, answer) -> None:
    client, wire = connect(answer(202, {"id": "bulk_1"}))
    assert client.call(cancel_runs_in_bulk(["run_1"], name="n")) == "bulk_1"
    assert json.loads(wire.sent[0].body) == {"action": "cancel", "runIds": ["run_1"], "name": "n"}
    assert wire.sent[0].headers["Content-Type"] == "application/json"


def test_a_prefix_of_the_base_url_is_kept(connect, answer) -> None:
    client, wire = connect(answer(body=RUN), base_url="http://trigger.test:3030/a/prefix")
    client.call(retrieve_run("run_1"))
    assert wire.sent[0].url == "http://trigger.test:3030/a/prefix/api/v3/runs/run_1"


def test_each_request_carries_key_version_and_user_agent(connect, answer) -> None:
    client, wire = connect(answer(body=RUN), user_agent="airflow-provider-trigger/9 apache-airflow/9.9")
    client.call(retrieve_run("run_1"))
    headers = wire.sent[0].headers
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert headers["x-trigger-api-version"] == "2025-07-16"
    assert headers["User-Agent"] == "airflow-provider-trigger/9 apache-airflow/9.9"
    assert headers["Accept"] == "application/json"
    assert "x-trigger-branch" not in headers


def test_the_preview_branch_is_sent(connect, answer) -> None:
    client, wire = connect(answer(body=RUN), branch="feature/x")
    client.call(retrieve_run("run_1"))
    assert wire.sent[0].headers["x-trigger-branch"] == "feature/x"


def test_a_netrc_entry_for_the_host_does_not_replace_the_key(
    connect, answer, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine trigger.test login someone password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    client, wire = connect(answer(body=RUN))
    client.call(retrieve_run("run_1"))
    assert wire.sent[0].headers["Authorization"] == f"Bearer {KEY}"


def test_a_cookie_is_not_sent_back(connect, answer) -> None:
    client, wire = connect(answer(body=RUN, headers={"set-cookie": "session=1"}))
    client.call(retrieve_run("run_1"))
    client.call(retrieve_run("run_1"))
    assert "Cookie" not in wire.sent[1].headers


# How it is sent


@pytest.mark.parametrize(("timeout", "connecting"), [(25.0, 10.0), (10.0, 10.0), (3.0, 3.0)])
def test_each_request_has_two_timeouts(connect, answer, timeout: float, connecting: float) -> None:
    client, wire = connect(answer(body=RUN), timeout=timeout)
    client.call(retrieve_run("run_1"))
    assert wire.options[0]["timeout"] == (connecting, timeout)


def test_a_deadline_is_passed_on(connect, answer, clock) -> None:
    client, wire = connect(answer(body=RUN))
    client.call(retrieve_run("run_1"), deadline=Deadline.after(12, now=clock.now))
    assert wire.options[0]["timeout"] == (4, 4)
    with pytest.raises(errors.NotSentError):
        client.call(retrieve_run("run_1"), deadline=Deadline(clock.now))
    assert len(wire.sent) == 1


@pytest.mark.parametrize("location", ["https://evil.test/", "\x80", "http://[::1", "//", "x" * 99_999])
def test_a_redirect_is_neither_followed_nor_resolved(connect, answer, location: str) -> None:
    client, wire = connect(answer(302, b"x" * 9999, {"location": location}))
    with pytest.raises(errors.RedirectError) as raised:
        client.call(cancel_run("run_1"))
    assert location[:200] in str(raised.value)
    assert len(str(raised.value)) < 500
    assert len(wire.sent) == 1


@pytest.fixture
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.mark.usefixtures("_bare_environment")
@pytest.mark.parametrize("verify", [True, False, "/etc/ssl/ca.pem"])
def test_certificates_are_checked_as_configured(connect, answer, verify: bool | str) -> None:
    client, wire = connect(answer(body=RUN), verify=verify)
    client.call(retrieve_run("run_1"))
    assert wire.options[0]["verify"] == verify
    assert not wire.options[0]["proxies"].get("https")
    assert wire.options[0]["cert"] is None


@pytest.mark.usefixtures("_bare_environment")
@pytest.mark.parametrize(
    ("given", "used"), [(True, "/etc/ssl/company.pem"), (False, False), ("/mine.pem", "/mine.pem")]
)
def test_a_ca_file_named_in_the_environment_counts_where_none_is_given(
    connect, answer, monkeypatch: pytest.MonkeyPatch, given: bool | str, used: bool | str
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/etc/ssl/company.pem")
    client, wire = connect(answer(body=RUN), verify=given)
    client.call(retrieve_run("run_1"))
    assert wire.options[0]["verify"] == used


@pytest.mark.usefixtures("_bare_environment")
@pytest.mark.parametrize(
    ("proxy", "used"), [(None, "http://environment.test:3128"), ("http://mine.test:1", "http://mine.test:1")]
)
def test_a_proxy_of_the_environment_counts_unless_one_is_given(
    connect, answer, monkeypatch: pytest.MonkeyPatch, proxy: str | None, used: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://environment.test:3128")
    client, wire = connect(answer(body=RUN), proxy=proxy)
    client.call(retrieve_run("run_1"))
    assert wire.options[0]["proxies"]["https"] == used


def test_a_given_proxy_is_used_for_http_too(connect, answer) -> None:
    client, wire = connect(answer(body=RUN), proxy="http://mine.test:1", base_url="http://trigger.test")
    client.call(retrieve_run("run_1"))
    assert wire.options[0]["proxies"]["http"] == "http://mine.test:1"


@pytest.mark.usefixtures("_bare_environment")
def test_the_environment_is_read_once(connect, answer, monkeypatch: pytest.MonkeyPatch) -> None:
    client, wire = connect(answer(body=RUN))
    monkeypatch.setenv("HTTPS_PROXY", "http://late.test:3128")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/late.pem")
    client.call(retrieve_run("run_1"))
    assert "https" not in wire.options[0]["proxies"]
    assert wire.options[0]["verify"] is True


@pytest.mark.parametrize("url", ["https://trigger.test/", "http://trigger.test/"])
def test_as_many_connections_are_kept_open_as_configured(url: str) -> None:
    for settings, size in (({}, defaults.MAX_CONCURRENCY), ({"max_connections": 7}, 7)):
        adapter: Any = new_client("https://trigger.test", **settings)._session.get_adapter(url)
        assert (adapter._pool_maxsize, adapter._pool_connections, adapter.max_retries.total) == (size, 1, 0)


def test_the_defaults_are_the_packages() -> None:
    settings = ServerSettings(base_url="https://trigger.test", secret_key=KEY, user_agent="unit-tests/1")
    client = TriggerDevClient(settings)
    exchange = client.exchange
    assert (exchange.timeout, exchange.retry_for) == (defaults.REQUEST_TIMEOUT, defaults.RETRY_FOR)


def test_clients_can_share_a_rate_limit(connect, answer, clock) -> None:
    limits = {"x-ratelimit-limit": "100", "x-ratelimit-remaining": "5"}
    limits["x-ratelimit-reset"] = str(round(clock.time() * 1000) + 8000)
    shared = RateLimit()
    first, _ = connect(answer(body=RUN, headers=limits), rate_limit=shared)
    second, _ = connect(answer(body=RUN), rate_limit=shared)
    third, _ = connect(answer(body=RUN))
    first.call(retrieve_run("run_1"))
    third.call(retrieve_run("run_1"))
    assert clock.slept == []
    second.call(retrieve_run("run_1"))
    assert sum(clock.slept) == pytest.approx(8.05)


# How steps are driven


def test_waits_are_slept(connect, answer, clock) -> None:
    busy = answer(503, {"error": "busy"}, {"retry-after": "25"})
    client, wire = connect(busy, requests.ConnectionError(), answer(body=RUN), retry_for=60)
    assert client.call(retrieve_run("run_1")).status == "QUEUED"
    assert len(wire.sent) == 3
    assert clock.slept[0] == 25
    assert 0.5 <= clock.slept[1] <= 1


def test_a_call_can_be_ended_before_each_request(connect, answer, clock) -> None:
    client, wire = connect(answer(503), answer(503), answer(200, RUN))
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if slept.count(0) == 3:
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        client.call(retrieve_run("run_1"), sleep=sleep)
    assert len(wire.sent) == 2
    assert slept[0] == slept[2] == slept[4] == 0
    assert all(slept[1::2])
    assert clock.slept == []


def test_the_last_error_is_raised(connect, answer, clock) -> None:
    client, wire = connect(answer(503, {"error": "busy"}, {"retry-after": "25"}), retry_for=60)
    with pytest.raises(errors.ServerError, match="busy"):
        client.call(cancel_run("run_1"))
    assert len(wire.sent) == 3
    assert clock.slept == [25, 25]


def test_a_request_that_raises_a_bug_is_in_flight_no_more(connect, answer, clock) -> None:
    limits = {"x-ratelimit-limit": "100", "x-ratelimit-remaining": "6"}
    limits["x-ratelimit-reset"] = str(round(clock.time() * 1000) + 8000)
    client, _ = connect(answer(body=RUN, headers=limits), LookupError("a bug"), answer(body=RUN))
    client.call(retrieve_run("run_1"))
    with pytest.raises(LookupError, match="a bug"):
        client.call(retrieve_run("run_1"))
    client.call(retrieve_run("run_1"))
    assert clock.slept == []


def test_one_client_serves_many_threads(connect, answer) -> None:
    client, wire = connect(answer(body=RUN))
    threads = [threading.Thread(target=client.call, args=(retrieve_run("run_1"),)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wire.sent) == 20


# What comes back


def test_a_response_is_returned_as_it_came(connect, answer) -> None:
    client, _ = connect(answer(418, b"teapot", {"X-Request-Id": "req_7", "DATE": "today"}))
    expected = Response(status=418, headers={"x-request-id": "req_7", "date": "today"}, body=b"teapot")
    assert client.send(CHECK) == expected


@pytest.mark.parametrize(
    ("raised", "kind", "reason", "retryable"),
    [
        (requests.ReadTimeout(), errors.AnswerTimeoutError, "no answer within 7 s", True),
        (requests.ConnectTimeout(), errors.TransportError, "no connection within 7 s", True),
        (requests.ConnectionError(), errors.TransportError, "ConnectionError", True),
        (urllib3.exceptions.ProtocolError(), errors.TransportError, "the connection was lost", True),
        (OSError("/gone.pem"), errors.TLSError, "/gone.pem", False),
        (requests.exceptions.InvalidURL(f"https://u:{KEY}@x"), errors.TransportError, "the URL", False),
    ],
)
def test_an_error_that_came_instead_is_returned_and_not_raised(
    connect, raised: Exception, kind: type[errors.TransportError], reason: str, retryable: bool
) -> None:
    client, _ = connect(raised)
    error = client.send(CHECK)
    assert type(error) is kind
    assert str(error).startswith(f"GET /api/v3/runs/run_1 to trigger.test: {reason}")
    assert error.reason.startswith(reason)
    assert error.retryable is retryable
    assert (error.__cause__, error.__context__, error.__traceback__) == (None, None, None)


def test_only_errors_of_the_connection_are_returned(connect) -> None:
    client, _ = connect(LookupError("a bug"))
    with pytest.raises(LookupError, match="a bug"):
        client.send(CHECK)


@pytest.mark.parametrize("status", [200, 302, 404])
def test_an_answer_that_is_too_large_is_not_read_to_its_end(
    connect, answer, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr(body_module, "MAX_BODY_BYTES", 1024 * 1024)
    client, wire = connect(answer(status, b" " * (3 * 1024 * 1024), {"location": "https://evil.test/"}))
    with pytest.raises(errors.UnexpectedAnswerError) as raised:
        client.call(retrieve_run("run_1"))
    assert str(raised.value) == "GET /api/v3/runs/run_1 answered more than 1 MB"
    assert not raised.value.retryable
    assert len(wire.sent) == 1
    assert wire.raw[0].tell() < 2 * 1024 * 1024


@pytest.mark.parametrize(("excess", "is_read"), [(0, True), (1, False)])
def test_the_limit_of_a_body_is_its_largest_size(
    connect, answer, monkeypatch: pytest.MonkeyPatch, excess: int, is_read: bool
) -> None:
    monkeypatch.setattr(body_module, "MAX_BODY_BYTES", 100_000)
    client, _ = connect(answer(body=b" " * (100_000 + excess)))
    assert isinstance(client.send(CHECK), Response) is is_read


@pytest.mark.parametrize("encodings", [1, 2])
def test_a_small_answer_that_decompresses_to_a_large_one_takes_no_memory(
    connect, answer, make_bomb, using_at_most, monkeypatch: pytest.MonkeyPatch, encodings: int
) -> None:
    monkeypatch.setattr(body_module, "MAX_BODY_BYTES", 100_000)
    client, _ = connect(answer(200, *make_bomb(encodings)), retry_for=0.0)
    with using_at_most(8 * 1024 * 1024), pytest.raises(errors.UnexpectedAnswerError):
        client.call(retrieve_run("run_1"))


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


FRAMINGS = {
    "length": b"Content-Length: 1000",
    "chunks": b"Transfer-Encoding: chunked",
    "the end": b"Connection: close",
}
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
TRICKLES = {
    **{framing: (OK + header + b"\r\n\r\n", b" ") for framing, header in FRAMINGS.items()},
    "chunks": (CHUNKED, b"1\r\n \r\n"),
    "a header": (OK + b"x-a: ", b"a"),
    "100 Continue": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "a chunk's extension": (CHUNKED + b"1;", b"a"),
    "trailers": (CHUNKED + b"1\r\n{\r\n0\r\n", b"x-a: b\r\n"),
}


@pytest.mark.parametrize("what", TRICKLES)
def test_an_answer_that_trickles_times_out_whatever_it_sends(listener, what: str) -> None:
    begin, piece = TRICKLES[what]

    def trickle(connection: socket.socket) -> None:
        connection.sendall(begin)
        for _ in range(1000):
            connection.sendall(piece)
            time.sleep(0.01)

    begun = time.monotonic()
    with (
        new_client(listener(trickle), timeout=0.1) as client,
        pytest.raises(errors.TransportError, match=r"no answer within 0\.1 s"),
    ):
        client.call(retrieve_run("run_1"))
    assert time.monotonic() - begun < 5  # 10 s, if it was read to its end


@pytest.mark.parametrize(
    ("spoken", "reason"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{", "the connection was lost"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{", "the connection was lost"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{", "the connection was lost"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n{{{{", "cannot be decompr"),
        (b"", "Remote end closed connection|ConnectionError|Connection reset"),
        (b"not HTTP\r\n\r\n", "ConnectionError|BadStatusLine"),
    ],
)
def test_an_answer_that_ends_badly_is_none(listener, spoken: bytes, reason: str) -> None:
    url = listener(lambda connection: connection.sendall(spoken))
    with new_client(url) as client, pytest.raises(errors.TransportError, match=reason) as raised:
        client.call(retrieve_run("run_1"))
    assert raised.value.retryable


def test_an_answer_that_stops_midway_times_out(listener) -> None:
    stopped = threading.Event()

    def stop(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
        stopped.wait(10)

    with (
        new_client(listener(stop), timeout=0.1) as client,
        pytest.raises(errors.TransportError, match=r"no answer within 0\.1 s"),
    ):
        client.call(retrieve_run("run_1"))
    stopped.set()


@pytest.mark.parametrize("size", [0, 100_000])
@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("is_compressed", [False, True])
def test_an_answer_is_read_whole_however_it_is_framed(
    listener, size: int, framing: str, is_compressed: bool
) -> None:
    body = json.dumps(RUN | {"output": "x" * size}).encode()
    sent = gzip.compress(body) if is_compressed else body
    half = len(sent) // 2
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (sent[:half], sent[half:], b""))
    header = FRAMINGS[framing].replace(b"1000", str(len(sent)).encode())

    def speak(connection: socket.socket) -> None:
        encoding = b"Content-Encoding: gzip\r\n" if is_compressed else b""
        connection.sendall(b"HTTP/1.1 200 OK\r\n" + encoding + header + b"\r\n\r\n")
        connection.sendall(chunks if framing == "chunks" else sent)

    with new_client(listener(speak)) as client:
        assert client.call(retrieve_run("run_1")).attributes == RUN | {"output": "x" * size}


@pytest.mark.parametrize(
    "base_url", ["https://api..trigger.test", f"https://{'a' * 64}.test", "https://*.test", "https://h:70000"]
)
def test_a_host_that_cannot_be_one_is_an_error_that_is_not_repeated(
    base_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", None)  # nothing gets as far as a name server
    with (
        new_client(base_url, retry_for=60.0) as client,
        pytest.raises(errors.TransportError) as raised,
    ):
        client.call(cancel_run("run_1"))
    assert not raised.value.retryable


@pytest.mark.parametrize("proxy", ["ftp://u:hunter2@p.test:1", "socks5://u:hunter2@p.test:1", "nonsense://"])
def test_a_proxy_that_cannot_be_one_is_an_error_that_is_not_repeated(proxy: str) -> None:
    with (
        new_client("https://trigger.test", proxy=proxy, retry_for=60.0) as client,
        pytest.raises(errors.TransportError, match="the URL or the proxy's URL is not valid") as raised,
    ):
        client.call(cancel_run("run_1"))
    assert "hunter2" not in str(raised.value)
    assert not raised.value.retryable


def test_a_handshake_that_hangs_is_no_connection(listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_trigger.api.client.CONNECT_TIMEOUT", 0.1)
    ended = threading.Event()
    url = listener(lambda _: ended.wait(20)).replace("http:", "https:")
    with (
        new_client(url, timeout=5.0, retry_for=0.0) as client,
        pytest.raises(errors.TransportError, match="no connection within 5 s") as raised,
    ):
        client.call(cancel_run("run_1"))
    ended.set()
    assert (raised.value.retryable, raised.value.was_sent) == (True, False)


def test_a_ca_file_that_holds_no_certificate_is_an_error_that_is_not_repeated(listener, tmp_path) -> None:
    (tmp_path / "text.pem").write_text("no certificate")
    url = listener(lambda _: None).replace("http:", "https:")
    with (
        new_client(url, verify=str(tmp_path / "text.pem"), retry_for=60.0) as client,
        pytest.raises(errors.TLSError, match="certificate is not accepted") as raised,
    ):
        client.call(cancel_run("run_1"))
    assert not raised.value.retryable


def test_a_ca_file_that_is_gone_is_an_error_that_is_not_repeated() -> None:
    with (
        new_client("https://trigger.test", verify="/gone.pem", retry_for=60.0) as client,
        pytest.raises(errors.TLSError, match=r"/gone\.pem") as raised,
    ):
        client.call(cancel_run("run_1"))
    assert not raised.value.retryable


def test_a_closed_client_closes_its_connections(connect, answer) -> None:
    client, wire = connect(answer(body=RUN))
    closed = []
    wire.close = lambda: closed.append(True)
    with client as entered:
        assert entered is client
        assert not closed
    assert closed


@pytest.mark.parametrize(("seconds", "closes"), [(KEEP_ALIVE - 1, 0), (KEEP_ALIVE + 1, 1)])
def test_connections_that_were_not_used_for_a_while_are_closed_before_the_next_request(
    connect, answer, clock, seconds: float, closes: int
) -> None:
    client, wire = connect(answer(body=RUN))
    closed: list[int] = []
    wire.close = lambda: closed.append(len(wire.sent))
    for _ in range(2):
        clock.sleep(seconds)
        client.call(retrieve_run("run_1"))
        client.call(retrieve_run("run_1"))
    assert closed == [0, 2][: 2 * closes]


# The secret key


@pytest.mark.parametrize(
    "spoken",
    [
        f"HTTP/1.1 401 {KEY}\r\nContent-Length: 0\r\n\r\n",
        f"HTTP/1.1 200 OK\r\nX-A: b\r\nno header: {KEY}\r\nContent-Length: 0\r\n\r\n",
        f"{KEY}\r\n\r\n",
    ],
)
def test_at_level_debug_what_a_server_echoes_leads_to_no_key(
    listener, caplog: pytest.LogCaptureFixture, spoken: str
) -> None:
    caplog.set_level(logging.DEBUG)
    url = listener(lambda connection: connection.sendall(spoken.encode()))
    with new_client(url, retry_for=0.0) as client, pytest.raises(errors.TriggerDevError):
        client.call(retrieve_run("run_1"))
    assert [record for record in caplog.records if record.name.startswith("urllib3.")]
    for record in caplog.records:
        assert KEY not in f"{record.getMessage()} {record.args} {record.exc_text} {record.exc_info}"


def test_neither_client_nor_session_shows_the_key(connect, answer) -> None:
    client, _ = connect(answer(body=RUN))
    assert repr(client) == "<TriggerDevClient https://trigger.test>"
    for thing in (client, client._session, client.exchange):
        assert KEY not in repr(vars(thing))


def caught(client: TriggerDevClient) -> errors.TriggerDevError:
    with pytest.raises(errors.TriggerDevError) as raised:
        client.call(retrieve_run("run_1"))
    return raised.value


def test_a_connection_that_is_refused_leads_to_no_key(key_in) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    with new_client(url) as client:
        error = caught(client)
    assert "Connection refused" in str(error)
    assert key_in(error) == []


def test_http_client_prints_no_key(listener, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(HTTPConnection, "debuglevel", 1)

    def speak(connection: socket.socket) -> None:
        connection.sendall(f"HTTP/1.1 500 No\r\nX-Echo: {KEY}\r\nContent-Length: 0\r\n\r\n".encode())

    with new_client(listener(speak)) as client:
        assert isinstance(caught(client), errors.ServerError)
    assert KEY not in capsys.readouterr().out


def test_a_timeout_leads_to_no_key(listener, key_in) -> None:
    with new_client(listener(lambda _: time.sleep(0.3)), timeout=0.05) as client:
        error = caught(client)
    assert "no answer within" in str(error)
    assert key_in(error) == []


def test_a_connection_that_is_lost_leads_to_no_key(listener, key_in) -> None:
    with new_client(listener(lambda _: None)) as client:
        assert key_in(caught(client)) == []


@pytest.mark.parametrize(
    ("status", "body", "headers", "kind"),
    [
        (200, f'{{"id": "{KEY}'.encode(), {"content-type": KEY}, errors.UnexpectedAnswerError),
        (200, {"id": KEY, "status": "QUEUED"}, {}, errors.UnexpectedAnswerError),
        (200, b" " * 999_999, {"x-echo": KEY}, errors.OversizeError),
        (401, {"error": f"no such key: {KEY}"}, {"x-request-id": KEY}, errors.AuthenticationError),
        (302, b"", {"location": f"https://login.test/?key={quote(KEY)}"}, errors.RedirectError),
        (503, KEY.encode(), {"retry-after": KEY, "x-echo": KEY}, errors.ServerError),
    ],
)
def test_an_answer_that_echoes_the_key_leads_to_no_key(
    connect,
    answer,
    key_in,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    body,
    headers: dict[str, str],
    kind: type[errors.TriggerDevError],
) -> None:
    monkeypatch.setattr(body_module, "MAX_BODY_BYTES", 100_000)
    client, _ = connect(answer(status, body, headers), retry_for=0)
    error = caught(client)
    assert type(error) is kind
    assert key_in(error) == []


def test_the_search_for_the_key_finds_it(key_in) -> None:
    """In an error's text, its attributes, its causes, and the frames that it came through."""
    plain, attribute, cause, context = (ValueError() for _ in range(4))
    attribute.key = [quote(KEY, safe="")]  # type: ignore[attr-defined]  # that is the test
    cause.__cause__, context.__context__ = ValueError(KEY), ValueError({"key": KEY})
    with pytest.raises(json.JSONDecodeError) as raised:
        json.loads(KEY)
    for error in (ValueError(KEY), attribute, cause, context, raised.value):
        assert key_in(error)
    assert key_in(plain) == []


def shown_by(client: TriggerDevClient, call: Call[Any], key: str, key_in: Any) -> list[str]:
    """Return the texts that a call's result, or its error, leads to and that show the key."""
    try:
        result = client.call(call)
    except errors.TriggerDevError as error:
        found: list[str] = key_in(error, key)
        return found
    return [text for text in (repr(result),) if key in text]


SPELLINGS: list[Callable[[str], str]] = [
    str,
    lambda key: quote(key, safe=""),
    lambda key: json.dumps(key)[1:-1].replace("/", "\\/"),
    lambda key: "".join(f"\\u{ord(character):04x}" for character in key),
]
# Begun so that no word of the answer itself can be one.
PRINTABLE = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=9, max_size=40).map(
    lambda text: f"tr_{text}"
)
PLACES: list[Callable[[str], tuple[bytes, dict[str, str]]]] = [
    lambda key: (f'{{"error": "no such key: {key}"}}'.encode(), {}),
    lambda key: (f'{{"id": "{key}", "status": "{key}"}}'.encode(), {}),
    lambda key: (f'{{"id": "run_1", "status": "{key}", "taskIdentifier": "{key}"}}'.encode(), {}),
    lambda key: (f"<html>{key}".encode(), {"content-type": f"text/{key}"}),
    lambda key: (b"", {"location": f"https://elsewhere.test/?key={key}", "x-request-id": key}),
    lambda key: (b"", {"x-should-retry": key, "date": key, "x-ratelimit-reset": key, "retry-after": key}),
]


@given(
    PRINTABLE,
    st.sampled_from(SPELLINGS),
    st.sampled_from(PLACES),
    st.sampled_from([200, 302, 400, 401, 404, 409, 429, 500]),
)
@example(KEY, SPELLINGS[1], PLACES[4], 302)
@example('tr_"quoted"\\/key', SPELLINGS[2], PLACES[0], 401)
def test_a_key_that_the_server_echoes_is_shown_nowhere(
    connect,
    answer,
    key_in,
    key: str,
    spell: Callable[[str], str],
    place: Callable[[str], tuple[bytes, dict[str, str]]],
    status: int,
) -> None:
    body, headers = place(spell(key))
    client, _ = connect(answer(status, body, headers), secret_key=key, retry_for=0)
    for call in (cancel_run("run_1"), retrieve_run("run_1")):
        assert shown_by(client, call, key, key_in) == []


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-be", "utf-32", "utf-32-le"])
@pytest.mark.parametrize("status", [200, 403])
def test_a_key_that_is_echoed_in_another_encoding_is_shown_nowhere(
    connect, answer, key_in, encoding: str, status: int
) -> None:
    body = json.dumps({"id": "run_1", "status": KEY, "error": f"Rejected: Bearer {KEY}"}).encode(encoding)
    client, _ = connect(answer(status, body), retry_for=0)
    assert shown_by(client, retrieve_run("run_1"), KEY, key_in) == []


@given(
    st.integers(100, 599),
    st.dictionaries(
        st.sampled_from(["date", "location", "retry-after", "x-ratelimit-reset", "x-should-retry"]),
        st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF), max_size=20),
    ),
    st.binary(max_size=60)
    | st.sampled_from([b"[]", b"{}", b'{"id": "run_1", "status": "X"}', b'{"data": 1}']),
    st.sampled_from([cancel_run("run_1"), retrieve_run("run_1")]),
)
def test_whatever_comes_back_becomes_a_result_or_one_of_our_errors(
    connect, answer, status: int, headers: dict[str, str], body: bytes, call: Call[Any]
) -> None:
    client, _ = connect(answer(status, body, headers), retry_for=0)
    text = "a result"
    try:
        client.call(call)
    except errors.TriggerDevError as error:
        text = str(error)
    assert 0 < len(text) < 1000


def test_a_client_that_is_closed_sends_nothing_more(connect, answer, clock) -> None:
    def close(_: Any) -> Any:
        client.close()
        return answer(500, {"error": "no database"})

    client, wire = connect(close)
    with pytest.raises(errors.NotSentError, match=r"^the client was closed$"):
        client.call(retrieve_run("run_1"))
    assert len(wire.sent) == 1
    with pytest.raises(errors.NotSentError, match=r"^the client was closed$"):
        client.call(retrieve_run("run_2"))
    assert len(wire.sent) == 1
