from __future__ import annotations

import contextlib
import gzip
import json
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest
import requests
import urllib3
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_provider_trigger import __version__
from airflow_provider_trigger.api import client as client_module
from airflow_provider_trigger.api import endpoints, errors, retries
from airflow_provider_trigger.api.budget import Budget
from airflow_provider_trigger.api.client import CONNECT_TIMEOUT, MAX_BODY_BYTES, TriggerDevClient
from airflow_provider_trigger.api.endpoints import Call, Request

RUN = {"id": "run_1", "status": "QUEUED"}
KEY = "tr_prod_marker/of+the=test"


def texts_of(thing: object) -> Iterator[str]:
    """Yield everything that a person could get to see of an object: its texts, and those of what it holds."""
    yield from (str(thing), repr(thing))
    if isinstance(thing, endpoints.Response):
        yield from (thing.body.decode("latin-1"), repr(thing.headers), repr(thing.json_object()))
    elif isinstance(thing, BaseException):
        yield repr(thing.args)
        for value in (*vars(thing).values(), thing.__cause__):
            yield from texts_of(value)


def shown(thing: object) -> str:
    return "\n".join(texts_of(thing))


class Once(Budget):
    """A budget whose sleeps are noted and take no time."""

    def __init__(self) -> None:
        super().__init__()
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


# What is sent


def test_a_cancel_and_a_look_are_sent_to_their_paths(connect: Any, answer: Any) -> None:
    client, wire = connect(answer(body=RUN))
    client.cancel_run("run_1")
    assert client.retrieve_run("run_1").status == "QUEUED"
    assert wire.targets == ["POST /api/v2/runs/run_1/cancel", "GET /api/v3/runs/run_1"]


def test_a_query_is_sent(connect: Any, answer: Any) -> None:
    client, wire = connect(answer(body={"data": []}))
    client.call(endpoints.list_runs(page_size=1))
    assert wire.targets == ["GET /api/v1/runs?page%5Bsize%5D=1"]


def test_each_request_carries_key_version_and_who_we_are(connect: Any, answer: Any) -> None:
    client, wire = connect(answer(body=RUN), user_agent="apache-airflow/9.9")
    client.retrieve_run("run_1")
    headers = wire.sent[0].headers
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert headers["x-trigger-api-version"] == "2025-07-16"
    assert headers["User-Agent"] == f"airflow-provider-trigger/{__version__} apache-airflow/9.9"
    assert headers["Accept"] == "application/json"
    assert "x-trigger-branch" not in headers


def test_the_preview_branch_is_sent(connect: Any, answer: Any) -> None:
    client, wire = connect(answer(body=RUN), branch="feature/x")
    client.retrieve_run("run_1")
    assert wire.sent[0].headers["x-trigger-branch"] == "feature/x"


def test_a_netrc_entry_for_the_host_does_not_replace_the_key(
    connect: Any, answer: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine trigger.test login someone password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    client, wire = connect(answer(body=RUN))
    client.retrieve_run("run_1")
    assert wire.sent[0].headers["Authorization"] == f"Bearer {KEY}"


def test_a_cookie_is_not_sent_back(connect: Any, answer: Any) -> None:
    client, wire = connect(answer(body=RUN, headers={"set-cookie": "session=1"}))
    client.retrieve_run("run_1")
    client.retrieve_run("run_1")
    assert "Cookie" not in wire.sent[1].headers


def test_every_request_has_timeouts_and_follows_no_redirect(connect: Any, answer: Any) -> None:
    client, wire = connect(answer(302, headers={"location": "https://evil.test/"}), timeout=25)
    with pytest.raises(errors.RedirectError, match=r"https://evil\.test/"):
        client.cancel_run("run_1")
    assert len(wire.sent) == 1
    assert wire.options[0]["timeout"] == (CONNECT_TIMEOUT, 25)


@pytest.mark.parametrize("location", ["\x80", "http://[::1", "https://evil.test:port/", "//", "x" * 99_999])
def test_a_redirect_is_not_even_looked_into(connect: Any, answer: Any, location: str) -> None:
    client, wire = connect(answer(302, b"x" * 9999, {"location": location}))
    with pytest.raises(errors.RedirectError) as raised:
        client.retrieve_run("run_1")
    assert location[:200] in str(raised.value)
    assert len(str(raised.value)) < 500
    assert len(wire.sent) == 1


def test_a_request_takes_no_longer_than_there_is_time(connect: Any, answer: Any, clock: Any) -> None:
    client, wire = connect(answer(body=RUN))
    client.retrieve_run("run_1", budget=Budget(seconds=3))
    assert wire.options[0]["timeout"] == (3, 3)


@pytest.mark.parametrize("verify", [True, False, "/etc/ssl/ca.pem"])
def test_certificates_are_checked_as_told(
    connect: Any, answer: Any, verify: bool | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    client, wire = connect(answer(body=RUN), verify=verify)
    client.retrieve_run("run_1")
    assert wire.options[0]["verify"] == verify


def test_a_ca_file_named_in_the_environment_counts(
    connect: Any, answer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/etc/ssl/company.pem")
    client, wire = connect(answer(body=RUN))
    client.retrieve_run("run_1")
    assert wire.options[0]["verify"] == "/etc/ssl/company.pem"


def test_a_proxy_of_the_environment_counts_unless_one_is_given(
    connect: Any, answer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://environment.test:3128")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    for given_proxy, used in (
        (None, "http://environment.test:3128"),
        ("http://mine.test:1", "http://mine.test:1"),
    ):
        client, wire = connect(answer(body=RUN), proxy=given_proxy)
        client.retrieve_run("run_1")
        assert wire.options[0]["proxies"]["https"] == used


# What comes back


def test_a_run_is_read_with_the_servers_clock(connect: Any, answer: Any) -> None:
    client, _ = connect(answer(body=RUN, headers={"Date": "Wed, 25 Nov 2026 09:32:29 GMT"}))
    seen_at = client.retrieve_run("run_1").seen_at
    assert seen_at is not None
    assert seen_at.isoformat() == "2026-11-25T09:32:29+00:00"


def test_an_error_carries_what_was_answered(connect: Any, answer: Any) -> None:
    client, _ = connect(answer(403, {"error": "no"}, {"X-Request-Id": "req_7"}))
    with pytest.raises(errors.PermissionDeniedError, match=r"no \(request req_7\)") as raised:
        client.cancel_run("run_1")
    response = raised.value.response
    assert response is not None
    assert (response.status, response.body, response.headers["x-request-id"]) == (
        403,
        b'{"error": "no"}',
        "req_7",
    )


@pytest.mark.parametrize("status", [200, 302, 404])
def test_an_enormous_answer_is_not_read_to_its_end(
    connect: Any, answer: Any, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr(client_module, "MAX_BODY_BYTES", 1024 * 1024)
    client, wire = connect(answer(status, b" " * (3 * 1024 * 1024), {"location": "https://evil.test/"}))
    with pytest.raises(errors.UnexpectedAnswerError, match="more than 1 MB") as raised:
        client.retrieve_run("run_1")
    assert str(raised.value).startswith("GET /api/v3/runs/run_1")
    assert not raised.value.retryable
    assert len(wire.sent) == 1
    assert wire.raw[0].tell() < 2 * 1024 * 1024


def test_no_run_is_too_large_to_be_read() -> None:
    assert MAX_BODY_BYTES > 2 * 512 * 1024 + 256 * 1024  # payload, output and metadata, as documented


@pytest.fixture
def listener() -> Iterator[Callable[[Callable[[socket.socket], None]], str]]:
    """A server that reads a request and then speaks as it is told, byte by byte."""
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
    "length": (b"Content-Length: 1000", b" "),
    "chunks": (b"Transfer-Encoding: chunked", b"1\r\n \r\n"),
    "the end": (b"Connection: close", b" "),
}


@pytest.mark.parametrize("framing", FRAMINGS)
def test_an_answer_that_trickles_is_given_up_in_time(listener: Any, framing: str) -> None:
    header, piece = FRAMINGS[framing]

    def trickle(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n" + header + b"\r\n\r\n")
        for _ in range(50):
            connection.sendall(piece)
            time.sleep(0.1)

    started_at = time.monotonic()
    with (
        TriggerDevClient(base_url=listener(trickle), secret_key=KEY, timeout=0.5, retry_for=0) as client,
        pytest.raises(errors.TransportError, match=r"no answer within 0\.5 s"),
    ):
        client.retrieve_run("run_1")
    assert time.monotonic() - started_at < 1.5


@pytest.mark.parametrize(
    ("spoken", "told"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{", "the answer was cut short"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{", "the answer was cut short"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{", "the answer was cut short"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n{{{{", "cannot be unpacked"),
    ],
)
def test_an_answer_that_ends_badly_is_told_as_no_answer(listener: Any, spoken: bytes, told: str) -> None:
    url = listener(lambda connection: connection.sendall(spoken))
    with (
        TriggerDevClient(base_url=url, secret_key=KEY, retry_for=0) as client,
        pytest.raises(errors.TransportError, match=told) as raised,
    ):
        client.retrieve_run("run_1")
    assert raised.value.retryable


def test_an_answer_that_stops_midway_is_told_as_no_answer(listener: Any) -> None:
    def stop(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
        time.sleep(1)

    with (
        TriggerDevClient(base_url=listener(stop), secret_key=KEY, timeout=0.3, retry_for=0) as client,
        pytest.raises(errors.TransportError, match=r"no answer within 0\.3 s"),
    ):
        client.retrieve_run("run_1")


@pytest.mark.parametrize("size", [0, 100_000])
@pytest.mark.parametrize("framing", ["length", "chunks", "the end"])
@pytest.mark.parametrize("is_packed", [False, True])
def test_an_answer_is_read_whole_however_it_is_framed(
    listener: Any, size: int, framing: str, is_packed: bool
) -> None:
    body = json.dumps(RUN | {"output": "x" * size}).encode()
    packed = gzip.compress(body) if is_packed else body
    half = len(packed) // 2
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (packed[:half], packed[half:], b""))
    header = FRAMINGS[framing][0].replace(b"1000", str(len(packed)).encode())

    def speak(connection: socket.socket) -> None:
        encoding = b"Content-Encoding: gzip\r\n" if is_packed else b""
        connection.sendall(b"HTTP/1.1 200 OK\r\n" + encoding + header + b"\r\n\r\n")
        connection.sendall(chunks if framing == "chunks" else packed)

    with TriggerDevClient(base_url=listener(speak), secret_key=KEY, retry_for=0) as client:
        assert client.retrieve_run("run_1").attributes == RUN | {"output": "x" * size}


def os_error_within(kind: type[Exception]) -> Exception:
    error = kind("HTTPSConnectionPool(host='trigger.test'): /api/v3/runs/run_1")
    error.__context__ = ConnectionRefusedError(111, "Connection refused")
    return error


def certificate_error() -> Exception:
    inner = ssl.SSLCertVerificationError(1, "certificate verify failed")
    inner.verify_message = "self-signed certificate"
    return requests.exceptions.SSLError(urllib3.exceptions.MaxRetryError(None, "/", reason=inner))


@pytest.mark.parametrize(
    ("raised", "kind", "told", "retryable"),
    [
        (os_error_within(requests.ConnectionError), errors.TransportError, "Connection refused", True),
        (requests.ConnectionError("Connection aborted."), errors.TransportError, "ConnectionError", True),
        (urllib3.exceptions.ProtocolError(), errors.TransportError, "was cut short", True),
        (urllib3.exceptions.DecodeError(), errors.TransportError, "cannot be unpacked", True),
        (
            urllib3.exceptions.ReadTimeoutError(urllib3.HTTPSConnectionPool("h"), "/", ""),
            errors.TransportError,
            "no answer within 7 s",
            True,
        ),
        (urllib3.exceptions.SSLError("bad record"), errors.TransportError, "the TLS conn", True),
        (requests.exceptions.ProxyError(), errors.TransportError, "the proxy did not let it", True),
        (requests.ConnectTimeout(), errors.TransportError, "no connection within 7 s", True),
        (requests.ReadTimeout(), errors.TransportError, "no answer within 7 s", True),
        (requests.exceptions.SSLError("wrong version"), errors.TransportError, "the TLS conn", True),
        (certificate_error(), errors.TLSError, "not accepted: self-signed certificate", False),
        (
            requests.exceptions.SSLError("bad certificate"),
            errors.TLSError,
            "see the connection's 'verify'",
            False,
        ),
        (OSError("no TLS CA certificate bundle: /gone.pem"), errors.TLSError, "/gone.pem", False),
        (requests.exceptions.InvalidURL(f"https://u:{KEY}@x"), errors.TransportError, "InvalidURL", False),
        (urllib3.exceptions.LocationParseError("a..b"), errors.TransportError, "LocationParseError", False),
        (urllib3.exceptions.HTTPError("odd"), errors.TransportError, "HTTPError", True),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_what_is_no_answer_is_told_in_our_words(
    connect: Any, raised: Exception, kind: type[errors.TriggerDevError], told: str, retryable: bool
) -> None:
    client, _ = connect(raised, retry_for=0, timeout=7)
    with pytest.raises(errors.TriggerDevError) as caught:
        client.retrieve_run("run_1")
    assert type(caught.value) is kind
    assert str(caught.value).startswith("GET /api/v3/runs/run_1 to trigger.test: ")
    assert told in str(caught.value)
    assert caught.value.retryable is retryable
    assert KEY not in shown(caught.value)


def test_a_timeout_tells_how_long_was_waited_and_not_what_would_have_been(connect: Any, clock: Any) -> None:
    client, _ = connect(requests.ReadTimeout(), retry_for=0)
    with pytest.raises(errors.TransportError, match=r"no answer within 2\.5 s"):
        client.retrieve_run("run_1", budget=Budget(seconds=2.5))
    client, _ = connect(requests.ConnectTimeout(), retry_for=0)
    with pytest.raises(errors.TransportError, match=r"no connection within 2\.5 s"):
        client.retrieve_run("run_1", budget=Budget(seconds=2.5))


@pytest.mark.parametrize(
    "base_url", ["https://api..trigger.test", f"https://{'a' * 64}.test", "https://*.test", "https://h:70000"]
)
def test_a_host_that_cannot_be_one_is_our_error_and_not_tried_again(
    base_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", None)  # nothing gets as far as a name server
    with (
        TriggerDevClient(base_url=base_url, secret_key=KEY) as client,
        pytest.raises(errors.TransportError) as raised,
    ):
        client.cancel_run("run_1")
    assert not raised.value.retryable


def test_a_ca_file_that_is_gone_is_our_error_and_not_tried_again() -> None:
    with (
        TriggerDevClient(base_url="https://trigger.test", secret_key=KEY, verify="/gone.pem") as client,
        pytest.raises(errors.TLSError, match=r"/gone\.pem") as raised,
    ):
        client.cancel_run("run_1")
    assert not raised.value.retryable


# Trying again


def test_a_server_that_recovers_is_waited_for(connect: Any, answer: Any) -> None:
    client, wire = connect(answer(500, {"error": "no"}), requests.ConnectionError(), answer(body=RUN))
    budget = Once()
    assert client.retrieve_run("run_1", budget=budget).status == "QUEUED"
    assert len(wire.sent) == 3
    assert len(budget.slept) == 2


def test_a_run_that_may_not_have_reached_the_replica_is_asked_for_again(connect: Any, answer: Any) -> None:
    not_found = answer(404, {"error": "Not found"}, {"x-should-retry": "true"})
    client, wire = connect(not_found)
    with pytest.raises(errors.NotFoundError):
        client.retrieve_run("run_1", budget=Once())
    assert len(wire.sent) == retries.TRIES_WHEN_ASKED_TO


def test_a_call_that_must_not_be_sent_twice_is_not(connect: Any, answer: Any) -> None:
    client, wire = connect(answer(503, {"error": "no"}))
    request = Request(method="POST", path="/api/v1/tasks/t/trigger", repeatable=False)
    with pytest.raises(errors.ServerError):
        client.call(Call(request=request, read=endpoints.cancel_run("run_1").read))
    assert len(wire.sent) == 1


def test_a_call_is_given_up_when_its_time_is_over(connect: Any, answer: Any, clock: Any) -> None:
    client, wire = connect(answer(503, {"error": "busy"}, {"retry-after": "25"}), retry_for=60)
    with pytest.raises(errors.ServerError, match="busy"):
        client.cancel_run("run_1")
    assert len(wire.sent) == 3
    assert clock.slept == [25, 25]


def test_a_call_that_was_sent_is_not_told_as_one_that_never_was(
    connect: Any, answer: Any, clock: Any
) -> None:
    budget = Budget(seconds=60)
    client, wire = connect(answer(503, {"error": "busy"}, {"retry-after": "25"}))
    budget.sleep = lambda _: budget.stop() or budget.check()
    with pytest.raises(errors.ServerError, match="busy"):
        client.cancel_run("run_1", budget=budget)
    assert len(wire.sent) == 1


def test_nothing_is_sent_when_the_work_was_stopped(connect: Any, answer: Any) -> None:
    client, wire = connect(answer(body=RUN))
    budget = Budget()
    budget.stop()
    with pytest.raises(errors.NotSentError, match="stopped"):
        client.cancel_run("run_1", budget=budget)
    assert not wire.sent


def limits(remaining: int, clock: Any, *, resets_in: float) -> dict[str, str]:
    return {
        "x-ratelimit-limit": "100",
        "x-ratelimit-remaining": str(remaining),
        "x-ratelimit-reset": str(round((clock.time() + resets_in) * 1000)),
    }


def test_after_a_refusal_the_call_waits_for_the_servers_reset(connect: Any, answer: Any, clock: Any) -> None:
    refusal = answer(429, {"error": "Rate limit exceeded"}, limits(0, clock, resets_in=8))
    client, wire = connect(refusal, answer(body=RUN))
    started_at = clock.now
    assert client.retrieve_run("run_1").status == "QUEUED"
    assert len(wire.sent) == 2
    assert 8 <= clock.now - started_at < 8.5


def test_all_calls_of_a_client_slow_down_before_the_bucket_is_empty(
    connect: Any, answer: Any, clock: Any
) -> None:
    client, wire = connect(
        answer(body=RUN, headers=limits(5, clock, resets_in=8)),
        answer(body=RUN, headers=limits(99, clock, resets_in=18)),
    )
    started_at = clock.now
    client.retrieve_run("run_1")
    assert clock.now == started_at
    client.retrieve_run("run_1")
    assert 8 <= clock.now - started_at < 8.5
    client.retrieve_run("run_1")
    assert clock.now - started_at < 8.5
    assert len(wire.sent) == 3


def test_a_request_that_failed_is_on_its_way_no_more(connect: Any, answer: Any, clock: Any) -> None:
    client, _ = connect(
        answer(body=RUN, headers=limits(6, clock, resets_in=8)), ValueError("a bug"), answer(body=RUN)
    )
    client.retrieve_run("run_1")
    with pytest.raises(ValueError, match="a bug"):
        client.retrieve_run("run_1")
    client.retrieve_run("run_1")
    assert clock.slept == []


@pytest.mark.parametrize(
    ("status", "body", "works"),
    [
        (200, RUN, True),
        (200, b"<html>", False),
        (401, {"error": "Invalid API key"}, True),
        (404, {"error": "Resource not found"}, True),
        (404, b"<html>", False),
        (302, b"", False),
        (408, {"error": "late"}, False),
        (429, {"error": "too many"}, False),
        (503, {"error": "busy"}, False),
    ],
)
def test_the_server_works_if_it_gives_a_true_answer(
    connect: Any, answer: Any, clock: Any, status: int, body: Any, works: bool
) -> None:
    client, _ = connect(answer(status, body), retry_for=0)
    with contextlib.suppress(errors.TriggerDevError):
        client.cancel_run("run_1")
    assert (client.last_answer_at == clock.now) is works


def test_what_holds_it_up_is_told_until_it_is_over(connect: Any, answer: Any, clock: Any) -> None:
    client, _ = connect(
        answer(503, {"error": f"busy {KEY}"}), answer(400, {"error": "no"}), answer(body=RUN), retry_for=0
    )
    assert client.trouble == ""
    told = "POST /api/v2/runs/run_1/cancel answered 503: busy ***"
    for _ in range(2):
        with pytest.raises(errors.TriggerDevError):
            client.cancel_run("run_1")
        # What was refused for good was no trouble, and did not end it.
        assert client.trouble == told
    client.retrieve_run("run_1")
    assert client.trouble == ""


@pytest.mark.parametrize(("resets_in", "told"), [(8, ["Waiting 8 s for the rate limit"]), (1, [])])
def test_a_long_pause_for_the_rate_limit_is_told_once(
    connect: Any, answer: Any, clock: Any, caplog: pytest.LogCaptureFixture, resets_in: float, told: list[str]
) -> None:
    caplog.set_level(logging.INFO)
    client, _ = connect(
        answer(body=RUN, headers=limits(5, clock, resets_in=resets_in)),
        answer(body=RUN, headers=limits(99, clock, resets_in=18)),
    )
    for _ in range(3):
        client.retrieve_run("run_1")
    assert caplog.messages == told


def test_one_client_serves_many_threads(connect: Any, answer: Any) -> None:
    client, wire = connect(answer(body=RUN))
    threads = [threading.Thread(target=client.retrieve_run, args=("run_1",)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wire.sent) == 20


# The secret key


def test_neither_client_nor_session_shows_the_key(connect: Any, answer: Any) -> None:
    client, _ = connect(answer(body=RUN))
    assert repr(client) == "<TriggerDevClient https://trigger.test>"
    assert KEY not in repr(vars(client._session))


def test_a_closed_client_closes_its_connections(connect: Any, answer: Any) -> None:
    client, wire = connect(answer(body=RUN))
    closed = []
    wire.close = lambda: closed.append(True)
    with client:
        assert not closed
    assert closed


SPELLINGS: list[Callable[[str], str]] = [
    str,
    lambda key: quote(key, safe=""),
    quote,
    lambda key: quote(key, safe="").lower().replace(key.lower(), key),
    lambda key: json.dumps(key)[1:-1],
    lambda key: json.dumps(key)[1:-1].replace("/", "\\/"),
    lambda key: "".join(f"\\u{ord(character):04x}" for character in key),
    lambda key: "".join(f"%{ord(character):02x}" for character in key),
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
@example(KEY, SPELLINGS[3], PLACES[4], 302)
@example('tr_"quoted"\\/key', SPELLINGS[5], PLACES[0], 401)
def test_a_key_that_the_server_echoes_is_shown_nowhere(
    connect: Any,
    answer: Any,
    key: str,
    spell: Callable[[str], str],
    place: Callable[[str], tuple[bytes, dict[str, str]]],
    status: int,
) -> None:
    body, headers = place(spell(key))
    client, _ = connect(answer(status, body, headers), secret_key=key, retry_for=0)
    for call in (client.cancel_run, client.retrieve_run):
        try:
            result = call("run_1")
        except errors.TriggerDevError as error:
            result = error
        # Spelt as it is, or so that a person or a log's reader would turn it back into it.
        for text in (shown(result), repr(getattr(result, "attributes", ""))):
            assert key not in text
            assert quote(key, safe="") not in text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-be", "utf-32", "utf-32-le"])
@pytest.mark.parametrize("status", [200, 403])
def test_a_key_that_is_echoed_in_another_encoding_is_shown_nowhere(
    connect: Any, answer: Any, encoding: str, status: int
) -> None:
    body = json.dumps({"id": "run_1", "status": KEY, "error": f"Refused: Bearer {KEY}"}).encode(encoding)
    client, _ = connect(answer(status, body), retry_for=0)
    try:
        result: Any = client.retrieve_run("run_1")
    except errors.TriggerDevError as error:
        result = error
    assert KEY not in shown(result)
    assert KEY not in repr(getattr(result, "attributes", ""))


@pytest.mark.parametrize("key", ["d", "run", "id", "status", "local", "20", "QUEUED"])
def test_a_key_too_short_to_be_one_garbles_no_answer(connect: Any, answer: Any, key: str) -> None:
    headers = {"date": "Wed, 25 Nov 2026 09:32:29 GMT"}
    client, _ = connect(answer(200, RUN, headers), answer(404, {"error": "Not found"}), secret_key=key)
    run = client.retrieve_run("run_1")
    assert (run.id, run.status, run.seen_at.year) == ("run_1", "QUEUED", 2026)
    with pytest.raises(errors.NotFoundError):
        client.cancel_run("run_1")


@pytest.mark.parametrize("key", ["abc", KEY])
def test_a_key_is_hidden_in_each_text_of_an_error(connect: Any, answer: Any, key: str) -> None:
    client, _ = connect(answer(403, {"error": f"no such key: {key}"}, {"x-request-id": key}), secret_key=key)
    with pytest.raises(errors.PermissionDeniedError) as raised:
        client.cancel_run(key)
    error = raised.value
    texts = [str(error), error.message, error.detail, error.path, error.request_id]
    assert not [text for text in texts if key in text or quote(key, safe="") in text]
    assert error.detail == "no such key: ***"


@given(
    st.integers(100, 599),
    st.dictionaries(
        st.sampled_from(["date", "location", "retry-after", "x-ratelimit-reset", "x-should-retry"]),
        st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF), max_size=20),
    ),
    st.binary(max_size=60)
    | st.sampled_from([b"[]", b"{}", b'{"id": "run_1", "status": "X"}', b'{"data": 1}']),
    st.sampled_from([lambda client: client.cancel_run("run_1"), lambda client: client.retrieve_run("run_1")]),
)
def test_whatever_comes_back_becomes_a_result_or_one_of_our_errors(
    connect: Any, answer: Any, status: int, headers: dict[str, str], body: bytes, call: Callable[[Any], Any]
) -> None:
    client, _ = connect(answer(status, body, headers), retry_for=0)
    told = "a result"
    try:
        call(client)
    except errors.TriggerDevError as error:
        told = str(error)
    assert 0 < len(told) < 1000
