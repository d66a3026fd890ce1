"""The driver for an event loop over real sockets, like the blocking one, against the local server."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import socket
import socketserver
import threading
import time
from contextlib import asynccontextmanager
from typing import Any

import pytest
from waiting import LONG

from airflow_provider_trigger.api import async_client, errors, http
from airflow_provider_trigger.api.async_client import AsyncTriggerDevClient
from airflow_provider_trigger.api.client import TriggerDevClient
from airflow_provider_trigger.api.deadline import Deadline
from airflow_provider_trigger.api.endpoints.outputs import fetch_output
from airflow_provider_trigger.api.endpoints.runs import cancel_run, list_runs_page, retrieve_run
from airflow_provider_trigger.api.rate_limit import RateLimit
from airflow_provider_trigger.api.settings import ServerSettings
from airflow_provider_trigger.testing import TriggerDevServer

KEY = "tr_prod_MARKER/of+the=test"
pytestmark = pytest.mark.usefixtures("no_environment")


@pytest.fixture
def server():
    with TriggerDevServer(secret_key=KEY, acknowledge_after=0.05) as server:
        yield server


@pytest.fixture
def secure_server(certificate):
    with TriggerDevServer(
        secret_key=KEY, ssl_certfile=certificate.file, ssl_keyfile=certificate.key
    ) as server:
        yield server


def settings_for(server, **settings):
    url = getattr(server, "url", server)
    fixed = {"base_url": url, "secret_key": KEY, "user_agent": "tests/1", "timeout": 5.0, "retry_for": 0.0}
    given = fixed | settings
    of_the_client = {name: given.pop(name) for name in ("max_connections", "rate_limit") if name in given}
    return {"settings": ServerSettings(**given)} | of_the_client


@asynccontextmanager
async def connected(server, **settings):
    async with AsyncTriggerDevClient(**settings_for(server, **settings)) as client:
        yield client


def call(server, call, **settings):
    """Make one call of a client of its own; return the result or the error."""

    async def main():
        async with connected(server, **settings) as client:
            try:
                return await client.call(call)
            except errors.TriggerDevError as error:
                return error

    return asyncio.run(main())


def blocking_call(server, call, **settings):
    with TriggerDevClient(**settings_for(server, **settings)) as client:
        try:
            return client.call(call)
        except errors.TriggerDevError as error:
            return error


def parts_of(thing):
    """Yield what a thing leads to: of an error, attributes, causes, and the frames outside of tests."""
    if isinstance(thing, BaseException):
        yield from (thing.__cause__, thing.__context__, *thing.args, *vars(thing).values())
        traceback = thing.__traceback__
        while traceback:
            if "/tests/" not in traceback.tb_frame.f_code.co_filename:
                yield from traceback.tb_frame.f_locals.values()
            traceback = traceback.tb_next
    for name in ("request", "headers", "response"):
        with contextlib.suppress(Exception):
            yield getattr(thing, name)
    if isinstance(thing, dict):
        yield from (*thing, *thing.values())
    elif isinstance(thing, (list, tuple, set)):
        yield from thing


def texts_behind(thing, *, depth=6, seen=None):
    seen = {} if seen is None else seen
    if depth < 0 or id(thing) in seen:
        return
    seen[id(thing)] = thing
    yield repr(thing)
    if not isinstance(thing, (str, bytes)):
        for part in parts_of(thing):
            yield from texts_behind(part, depth=depth - 1, seen=seen)


def key_in(error):
    return [text for text in texts_behind(error) if "MARKER" in text]


# Calls


def test_a_run_is_checked_canceled_and_found(server):
    run = server.add_run(tags=["a b", "é/%"])

    async def main():
        async with connected(server) as client:
            before = await client.call(retrieve_run(run.id))
            await client.call(cancel_run(run.id))
            page = await client.call(list_runs_page(tags=["é/%"], created_from=None))
            return before, page

    before, page = asyncio.run(main())
    assert (before.status, before.tags) == ("EXECUTING", ["a b", "é/%"])
    assert [one.id for one in page.runs] == [run.id]
    assert run.status == "CANCELED"


def test_connections_are_kept_open_and_closed_at_the_end(server):
    run = server.add_run()

    async def main():
        async with connected(server) as client:
            for _ in range(5):
                await client.call(retrieve_run(run.id))
                await asyncio.sleep(0.01)
            pool = client._transport._pool
            assert len(pool.connections) == 1
        assert pool.connections == []

    asyncio.run(main())
    gc.collect()


def test_fifty_calls_at_once_are_in_flight_together(server):
    run = server.add_run()
    server.latency = 2.5
    in_flight = [0]

    async def count():
        while True:
            in_flight.append(sum(record.status is None for record in list(server.requests)))
            await asyncio.sleep(0.01)

    async def main():
        async with connected(server, max_connections=3, timeout=30.0) as client:
            counting = asyncio.create_task(count())
            runs = await asyncio.gather(*(client.call(retrieve_run(run.id)) for _ in range(50)))
            counting.cancel()
            assert len(client._transport._pool.connections) <= 3
            return runs

    assert len(asyncio.run(main())) == 50
    assert max(in_flight) > 16


def test_a_server_that_has_closed_the_connection_is_connected_to_again(server):
    run = server.add_run()

    async def main():
        async with connected(server) as client:
            await client.call(retrieve_run(run.id))
            server.stop()
            await asyncio.sleep(0.05)
            server.start()
            return await client.call(retrieve_run(run.id))

    assert asyncio.run(main()).id == run.id


# Faults: the same errors as the blocking driver's

FAULTS = {
    "hang": (lambda s: s.hang_next(None), "no answer within 3 s"),
    "disconnect": (lambda s: s.disconnect_next(None), None),
    "truncated": (lambda s: s.truncate_next(None), "the connection was lost before the whole answer arrived"),
    "429": (lambda s: s.rate_limit_next(None), "answered 429: "),
    "500": (lambda s: s.fail_next(None, 500), "answered 500: Simulated error 500"),
    "503": (lambda s: s.fail_next(None, 503), "answered 503: Simulated error 503"),
    "401": (lambda s: s.fail_next(None, 401), "answered 401: "),
    "404": (lambda s: s.fail_next(None, 404), "answered 404: Not found"),
    "a redirect": (lambda s: s.redirect_next(None, s.url), "a redirect to http://127.0.0.1"),
    "a page": (lambda s: s.malformed_next(None), "answered 200 without valid JSON"),
    "oversize": (lambda s: s.oversize_next(None, 20_000_000), "answered more than 16 MB"),
    "an echo of the key": (lambda s: s.echo_key_next(None), "Rejected Authorization: Bearer ***"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_the_same_error_in_both_drivers_and_leads_to_no_key(server, fault, caplog):
    caplog.set_level(logging.DEBUG)
    arrange, text = FAULTS[fault]
    run = server.add_run()
    arrange(server)
    timeout = 3.0 if fault == "hang" else 10.0  # a busy machine needs a while for 20 MB
    error = call(server, retrieve_run(run.id), timeout=timeout)
    assert isinstance(error, errors.TriggerDevError)
    assert text is None or text in str(error)
    assert key_in(error) == []
    assert "MARKER" not in caplog.text
    expected = blocking_call(server, retrieve_run(run.id), timeout=timeout)
    assert (type(error), error.retryable) == (type(expected), expected.retryable)
    assert all(getattr(one, "was_sent", True) for one in (error, expected))
    assert text is None or (str(error) == str(expected))
    # Neither has followed a redirect; a 401 is tried once more.
    assert len(server.requests) == (4 if fault == "401" else 2)


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("fault", ["hang", "disconnect", "truncated", "500", "503", "a page"])
def test_a_fault_that_passes_is_overcome(server, fault, times):
    run = server.add_run()
    arrange, _ = FAULTS[fault]

    class Passing:
        def __getattr__(self, name):
            return lambda _, *rest: getattr(server, name)(times, *rest)

    arrange(Passing())
    run_seen = call(server, retrieve_run(run.id), timeout=0.2, retry_for=30.0)
    assert run_seen.id == run.id
    assert server.pending_faults == 0


def test_a_429_is_waited_for_as_long_as_the_server_says(server, monkeypatch):
    run = server.add_run()
    server.rate_limit_next(1, reset_after=1.0)
    sleep, waits = asyncio.sleep, []

    async def noted(seconds, *rest):
        if threading.current_thread() is threading.main_thread():  # the server has one of its own
            waits.append(seconds)
        await sleep(seconds, *rest)

    monkeypatch.setattr(asyncio, "sleep", noted)
    assert call(server, retrieve_run(run.id), retry_for=30.0).id == run.id
    assert sum(waits) <= 1.3
    first, second = server.requests
    assert second.time - first.time >= 0.95


def test_other_tasks_of_the_loop_go_on_while_one_waits(server):
    run = server.add_run()
    server.hang_next(1)
    ticks = 0

    async def tick():
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0.01)

    async def main():
        ticking = asyncio.create_task(tick())
        async with connected(server, timeout=3.0, retry_for=30.0) as client:
            await client.call(retrieve_run(run.id))
        ticking.cancel()

    asyncio.run(main())
    assert ticks > 30


@contextlib.contextmanager
def speaking(speak):
    """A server that says whatever it likes."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            with contextlib.suppress(OSError):
                self.request.recv(65536)
                speak(self.request)

    socketserver.ThreadingTCPServer.allow_reuse_address = True
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as listening:
        listening.daemon_threads = True
        listening.block_on_close = False
        threading.Thread(target=listening.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_address[1]}"
        listening.shutdown()


FRAMINGS = {
    "length": (b"Content-Length: 100000", b" "),
    "chunks": (b"Transfer-Encoding: chunked", b"1\r\n \r\n"),
    "the end": (b"Connection: close", b" "),
    "the headers": (None, b"x-a: b\r\n"),
}


@pytest.mark.parametrize("framing", FRAMINGS)
def test_an_answer_that_trickles_times_out(framing):
    header, piece = FRAMINGS[framing]

    def trickle(connection):
        connection.sendall(b"HTTP/1.1 200 OK\r\n" + (header + b"\r\n\r\n" if header else b""))
        while True:  # until the connection is closed
            connection.sendall(piece)
            time.sleep(0.01)

    with speaking(trickle) as url:
        error = call(url, retrieve_run("run_1"), timeout=3.0)
    assert "no answer within 3 s" in str(error)
    assert error.retryable


@pytest.mark.parametrize(
    ("spoken", "reason"),
    [
        (b"", "the connection was lost"),
        (b"not HTTP\r\n\r\n", "the connection was lost"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{", "the connection was lost"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n{{{{",
            "the answer cannot be decompressed",
        ),
    ],
)
def test_an_answer_that_ends_badly_is_none(spoken, reason):
    with speaking(lambda connection: connection.sendall(spoken)) as url:
        error = call(url, retrieve_run("run_1"))
    assert type(error) is errors.TransportError
    assert reason in str(error)
    assert error.retryable
    assert key_in(error) == []


def test_a_handshake_that_hangs_is_no_connection(monkeypatch):
    monkeypatch.setattr(async_client, "CONNECT_TIMEOUT", 0.3)
    with speaking(lambda connection: time.sleep(LONG)) as url:
        error = call(url.replace("http:", "https:"), retrieve_run("run_1"), timeout=5)
    assert type(error) is errors.TransportError
    assert error.reason == "no connection within 5 s"
    assert error.retryable


def test_a_redirect_to_another_server_gets_neither_request_nor_key(server):
    heard = []

    def listen(connection):
        heard.append(True)

    with speaking(listen) as url:
        server.redirect_next(1, url, status=307)
        error = call(server, cancel_run(server.add_run().id))
    assert type(error) is errors.RedirectError
    assert heard == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_server_that_is_not_there_is_named_as_the_blocking_driver_does(host):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://{host}:{listening.getsockname()[1]}"
    error, expected = call(url, retrieve_run("run_1")), blocking_call(url, retrieve_run("run_1"))
    assert str(error) == str(expected)
    assert str(error).endswith(": Connection refused")
    assert not error.was_sent
    assert not expected.was_sent
    assert key_in(error) == []


def test_a_name_that_nobody_has_is_reported_as_the_blocking_driver_does():
    url = "http://nobody.invalid"
    error, expected = call(url, retrieve_run("run_1")), blocking_call(url, retrieve_run("run_1"))
    assert str(error) == str(expected)
    assert error.retryable
    assert not error.was_sent
    assert not expected.was_sent


# Cancellation


def test_a_task_that_is_canceled_during_a_request_ends_at_once_and_leads_to_no_key(server):
    run = server.add_run()
    server.hang_next(1)

    async def main():
        async with connected(server, timeout=LONG) as client:
            task = asyncio.create_task(client.call(retrieve_run(run.id)))
            while not server.requests:
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError) as raised:
                await task
            assert task.cancelled()
            assert key_in(raised.value) == []
            # Its connection is given up, and nothing counts it any more.
            assert client._transport._pool.connections == []
            assert client.exchange._rate_limit._in_flight == set()
            return await client.call(retrieve_run(run.id))

    assert asyncio.run(main()).id == run.id


def test_a_task_that_is_canceled_while_it_waits_for_its_turn_ends_at_once(server):
    run = server.add_run()
    server.rate_limit_next(1, reset_after=30.0)

    async def main():
        async with connected(server, retry_for=60.0) as client:
            task = asyncio.create_task(client.call(retrieve_run(run.id)))
            while not server.requests:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert client.exchange._rate_limit._in_flight == set()

    asyncio.run(main())


def test_of_many_tasks_only_the_canceled_ones_end(server):
    run = server.add_run()
    server.latency = 3  # longer than a machine that stalls needs to cancel

    async def main():
        async with connected(server, timeout=30.0) as client:
            tasks = [asyncio.create_task(client.call(retrieve_run(run.id))) for _ in range(20)]
            while len(server.requests) < 20:
                await asyncio.sleep(0.01)
            for task in tasks[::2]:
                task.cancel()
            return await asyncio.gather(*tasks, return_exceptions=True)

    ended = asyncio.run(main())
    assert all(isinstance(end, asyncio.CancelledError) for end in ended[::2])
    assert [end.id for end in ended[1::2]] == [run.id] * 10


def test_a_timeout_around_a_call_works(server):
    server.hang_next(1)

    async def main():
        async with connected(server, timeout=30.0) as client:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await client.call(retrieve_run("run_1"))

    asyncio.run(main())


def test_a_deadline_bounds_a_call(server):
    run = server.add_run()
    server.hang_next(None)

    async def main():
        async with connected(server, timeout=LONG, retry_for=LONG) as client:
            deadline = Deadline.after(0.5, now=time.monotonic())
            with pytest.raises(errors.TriggerDevError):
                await client.call(retrieve_run(run.id), deadline=deadline)

    asyncio.run(main())


# Pacing


def test_two_clients_that_share_a_rate_limit_keep_its_pace_and_its_reserve_together():
    with TriggerDevServer(secret_key=KEY, rate_limit=20, refill=20, refill_interval=2.0) as server:
        run = server.add_run()
        shared = RateLimit(reserve=0.1)

        async def main():
            async with (
                connected(server, rate_limit=shared) as first,
                connected(server, rate_limit=shared) as second,
            ):
                await first.call(retrieve_run(run.id))  # the first answer shows the bucket
                clients = [first, second] * 15
                return await asyncio.gather(*(client.call(retrieve_run(run.id)) for client in clients))

        assert len(asyncio.run(main())) == 30
        # Those beyond the first 20 have waited for the refill: else the server would have rejected them.
        assert [record.status for record in server.requests] == [200] * 31


def test_a_blocking_client_can_share_it_too():
    with TriggerDevServer(secret_key=KEY, rate_limit=20, refill=20, refill_interval=1.0) as server:
        run = server.add_run()
        shared = RateLimit()
        with TriggerDevClient(**settings_for(server, rate_limit=shared)) as blocking:
            blocking.call(retrieve_run(run.id))  # the first answer shows the bucket

            def work():
                for _ in range(15):
                    blocking.call(retrieve_run(run.id))

            async def main():
                thread = threading.Thread(target=work)
                thread.start()
                async with connected(server, rate_limit=shared) as client:
                    await asyncio.gather(*(client.call(retrieve_run(run.id)) for _ in range(15)))
                await asyncio.to_thread(thread.join)

            asyncio.run(main())
        assert {record.status for record in server.requests} == {200}


# TLS


def test_a_certificate_is_checked_against_the_ca_file(secure_server, certificate):
    run = secure_server.add_run()
    assert call(secure_server, retrieve_run(run.id), verify=certificate.file).id == run.id
    assert call(secure_server, retrieve_run(run.id), verify=False).id == run.id


def test_a_ca_file_of_the_environment_counts(secure_server, certificate, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", certificate.file)
    run = secure_server.add_run()
    assert call(secure_server, retrieve_run(run.id)).id == run.id


@pytest.mark.parametrize(
    "case", ["unknown certificate", "no CA file", "not a CA file", "http on the port", "https off"]
)
def test_a_failure_of_tls_is_the_same_error_in_both_drivers(case, server, secure_server, tmp_path):
    (tmp_path / "text.pem").write_text("no certificate")
    target, settings = {
        "unknown certificate": (secure_server, {}),
        "no CA file": (secure_server, {"verify": "/gone.pem"}),
        "not a CA file": (secure_server, {"verify": str(tmp_path / "text.pem")}),
        "http on the port": (server.url.replace("http:", "https:"), {}),
        "https off": (secure_server.url.replace("https:", "http:"), {}),
    }[case]
    error = call(target, retrieve_run("run_1"), **settings)
    expected = blocking_call(target, retrieve_run("run_1"), **settings)
    assert type(error) is type(expected)
    assert error.retryable is expected.retryable
    if case != "https off":  # the libraries differ in what they see
        assert str(error) == str(expected)
        assert isinstance(error, errors.TLSError)
    assert key_in(error) == []


# Proxies


class Proxy(socketserver.ThreadingTCPServer):
    """Forward ``http://`` and tunnel ``https://``; ``passed`` lists what, one line a connection."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), ProxyHandler)
        self.passed = []
        self.rejects = False

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"


class ProxyHandler(socketserver.BaseRequestHandler):
    server: Any

    def handle(self):
        head = b""
        while b"\r\n\r\n" not in head:
            if not (piece := self.request.recv(65536)):
                return
            head += piece
        method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
        self.server.passed.append(f"{method} {target}")
        if self.server.rejects:
            self.request.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            return
        netloc = target if method == "CONNECT" else target.split("/")[2]
        host, _, port = netloc.rpartition(":")
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), 5) as upstream:
            if method == "CONNECT":
                self.request.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                upstream.sendall(head.replace(f"http://{netloc}".encode(), b"", 1))
            self._relay(upstream)

    def _relay(self, upstream):
        def copy(source, target):
            with contextlib.suppress(OSError):
                while piece := source.recv(65536):
                    target.sendall(piece)
            for end in (source, target):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

        thread = threading.Thread(target=copy, args=(self.request, upstream), daemon=True)
        thread.start()
        copy(upstream, self.request)
        thread.join(5)


@pytest.fixture
def proxy():
    with Proxy() as proxy:
        threading.Thread(target=proxy.serve_forever, args=(0.02,), daemon=True).start()
        yield proxy
        proxy.shutdown()


def test_the_given_proxy_is_used(server, proxy):
    run = server.add_run()
    assert call(server, retrieve_run(run.id), proxy=proxy.url).id == run.id
    assert proxy.passed == [f"GET {server.url}/api/v3/runs/{run.id}"]


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("make", [call, blocking_call])
def test_the_environments_proxy_is_used_by_both_drivers(server, proxy, monkeypatch, name, make):
    monkeypatch.setenv(name, proxy.url)
    run = server.add_run()
    assert make(server, retrieve_run(run.id)).id == run.id
    assert len(proxy.passed) == 1


def test_the_environments_proxy_for_https_is_used_and_sees_no_key(
    secure_server, certificate, proxy, monkeypatch
):
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    run = secure_server.add_run()
    assert call(secure_server, retrieve_run(run.id), verify=certificate.file).id == run.id
    assert proxy.passed == [f"CONNECT 127.0.0.1:{secure_server.port}"]


@pytest.mark.parametrize("without", ["127.0.0.1", "example.com,127.0.0.0/8", "*"])
@pytest.mark.parametrize("make", [call, blocking_call])
def test_no_proxy_of_the_environment_bypasses_it_in_both_drivers(server, proxy, monkeypatch, without, make):
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    monkeypatch.setenv("NO_PROXY", without)
    run = server.add_run()
    assert make(server, retrieve_run(run.id)).id == run.id
    assert proxy.passed == []


def test_a_proxy_that_is_not_there_or_rejects_is_named(server, secure_server, certificate, proxy):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        gone = f"http://someone:MARKER@127.0.0.1:{listening.getsockname()[1]}"
    proxy.rejects = True
    for target, settings in (
        (server, {"proxy": gone}),
        (secure_server, {"proxy": gone, "verify": certificate.file}),
        (secure_server, {"proxy": proxy.url, "verify": certificate.file}),
    ):
        error = call(target, retrieve_run("run_1"), **settings)
        expected = blocking_call(target, retrieve_run("run_1"), **settings)
        assert str(error) == str(expected)
        assert "the proxy rejected the connection, or cannot be reached" in str(error)
        assert key_in(error) == []


def test_a_netrc_file_has_no_effect(server, tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login someone password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    run = server.add_run()
    assert call(server, retrieve_run(run.id)).id == run.id


# Logs


@pytest.mark.parametrize("make", [call, blocking_call])
@pytest.mark.parametrize(
    "spoken",
    [
        f"HTTP/1.1 500 No\r\nX-Echo: Bearer {KEY}\r\nContent-Length: 0\r\n\r\n",
        f"HTTP/1.1 401 {KEY}\r\nContent-Length: 0\r\n\r\n",
        f"HTTP/1.1 200 OK\r\nX-A: b\r\nno header: {KEY}\r\nContent-Length: 0\r\n\r\n",
        f"{KEY}\r\n\r\n",
    ],
)
def test_at_level_debug_what_a_server_echoes_leads_to_no_key(spoken, make, caplog):
    caplog.set_level(logging.DEBUG)
    with speaking(lambda connection: connection.sendall(spoken.encode())) as url:
        make(url, retrieve_run("run_1"))
    assert [record for record in caplog.records if record.name.startswith(("httpcore.", "urllib3."))]
    for record in caplog.records:
        shown = (record.msg, record.args, record.exc_text, *texts_behind(record.exc_info))
        assert "MARKER" not in f"{record.getMessage()} {shown}"


# Outputs


@pytest.mark.parametrize("make", [call, blocking_call])
def test_an_output_is_fetched_without_the_key_and_its_signature_is_not_logged(make, caplog):
    heard = []

    def store(connection, head):
        heard.append(head)
        body = b'{"json": {"a": "' + b"x" * 300_000 + b'"}}'
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/super+json\r\nContent-Length: %d\r\n\r\n"
            % len(body)
            + body
        )

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            store(self.request, self.request.recv(65536))

    caplog.set_level(logging.DEBUG)
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as listening:
        threading.Thread(target=listening.serve_forever, args=(0.02,), daemon=True).start()
        url = f"http://127.0.0.1:{listening.server_address[1]}/p/1.json?X-Amz-Signature=SIGNED%2F1"
        output = make("https://trigger.test", fetch_output(url))
        listening.shutdown()
    assert output == {"a": "x" * 300_000}
    (head,) = heard
    assert head.startswith(b"GET /p/1.json?X-Amz-Signature=SIGNED%2F1 HTTP/1.1\r\n")
    assert b"authorization" not in head.lower()
    assert b"x-trigger" not in head.lower()
    assert "SIGNED" not in caplog.text


def test_the_largest_body_is_the_blocking_drivers():
    assert http.MAX_BODY_BYTES == 16 * 1024 * 1024
