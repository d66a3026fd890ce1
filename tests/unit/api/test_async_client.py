"""The driver for an event loop, without sockets: those are in the integration tests."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import ssl
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from airflow_provider_trigger import defaults
from airflow_provider_trigger.api import body as body_module
from airflow_provider_trigger.api import errors
from airflow_provider_trigger.api.async_client import KEEP_ALIVE, AsyncTriggerDevClient
from airflow_provider_trigger.api.deadline import Deadline
from airflow_provider_trigger.api.endpoints.outputs import fetch_output
from airflow_provider_trigger.api.endpoints.runs import cancel_run, list_newest_runs, retrieve_run
from airflow_provider_trigger.api.endpoints.tasks import trigger_task
from airflow_provider_trigger.api.exchange import Send
from airflow_provider_trigger.api.http import Call, Response
from airflow_provider_trigger.api.rate_limit import RateLimit
from airflow_provider_trigger.api.settings import ServerSettings

RUN = {"id": "run_1", "status": "QUEUED"}
KEY = "tr_prod_marker/of+the=test"
CHECK = Send(retrieve_run("run_1").request, timeout=7.0)
OUTPUT_URL = "https://store.test:9000/a%20b/1.json?X-Amz-Credential=t%2F20261125&X-Amz-Signature=0bb7"


class Pieces(httpx.AsyncByteStream):
    """A body that comes in pieces, and notes how far it was read and whether it was closed."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = pieces
        self.is_closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while self.pieces:
            yield self.pieces.pop(0)

    async def aclose(self) -> None:
        self.is_closed = True


class Wire(httpx.AsyncHTTPTransport):
    """Hands each request to a script, and keeps what was sent."""

    def __init__(self, script: Callable[[httpx.Request], Any]) -> None:
        self.script = script
        self.sent: list[httpx.Request] = []
        self.bodies: list[Pieces] = []
        self.proxies: list[str | None] = []
        self.closed = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request)
        reply = self.script(request)
        if asyncio.iscoroutine(reply):
            reply = await reply
        if isinstance(reply, BaseException):
            raise reply
        body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        pieces = Pieces([body[at : at + 65536] for at in range(0, len(body), 65536)])
        self.bodies.append(pieces)
        return httpx.Response(reply.status, headers=dict(reply.headers), stream=pieces)

    async def aclose(self) -> None:
        self.closed += 1

    async def __aenter__(self) -> Wire:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    @property
    def targets(self) -> list[str]:
        return [
            f"{request.method} {str(request.url).removeprefix('https://trigger.test')}"
            for request in self.sent
        ]

    @property
    def timeouts(self) -> list[dict[str, float]]:
        return [request.extensions["timeout"] for request in self.sent]


@pytest.fixture
def connect_async(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[AsyncTriggerDevClient, Wire]]:
    """Build a client and the wire that it is on, from answers or a script."""

    def build(*script: Any, **settings: Any) -> tuple[AsyncTriggerDevClient, Wire]:
        queue = list(script)
        wire = Wire(
            script[0] if callable(script[0]) else lambda _: queue.pop(0) if len(queue) > 1 else queue[0]
        )
        client = new_client(**settings)

        def new_transport(proxy: str | None) -> Wire:
            wire.proxies.append(proxy)
            return wire

        monkeypatch.setattr(client, "_new_transport", new_transport)
        return client, wire

    return build


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch, clock) -> list[float]:
    """Let the clock do the sleeping."""
    real = asyncio.sleep

    async def sleep(seconds: float) -> None:
        clock.sleep(seconds)
        await real(0)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    slept: list[float] = clock.slept
    return slept


def call(client: AsyncTriggerDevClient, call: Any = None, **options: Any) -> Any:
    return asyncio.run(client.call(call or retrieve_run("run_1"), **options))


# What is sent


def test_calls_are_sent_to_their_paths(connect_async, answer) -> None:
    client, wire = connect_async(answer(body=RUN))
    call(client, cancel_run("run_1"))
    assert call(client).status == "QUEUED"
    assert wire.targets == ["POST /api/v2/runs/run_1/cancel", "GET /api/v3/runs/run_1"]
    assert [request.content for request in wire.sent] == [b"", b""]
    assert wire.sent[0].headers["content-length"] == "0"


def test_a_query_is_sent(connect_async, answer) -> None:
    client, wire = connect_async(answer(body={"data": [RUN]}), base_url="https://trigger.test/a/prefix")
    call(client, list_newest_runs())
    assert wire.targets == ["GET /a/prefix/api/v1/runs?page%5Bsize%5D=10"]


@pytest.mark.parametrize("payload", [None, "é\ud83d", {"a": [1]}])
def test_a_body_is_sent_as_the_blocking_driver_sends_it(connect, connect_async, answer, payload) -> None:
    trigger = trigger_task("a/b", payload=payload, options={"tags": ["é"]})
    client, wire = connect_async(answer(body={"id": "run_1"}))
    blocking, blocking_wire = connect(answer(body={"id": "run_1"}))
    assert call(client, trigger) == blocking.call(trigger)
    (sent,), (expected,) = wire.sent, blocking_wire.sent
    assert (sent.content, str(sent.url)) == (expected.body, expected.url)
    assert json.loads(sent.content) == {"payload": payload, "options": {"tags": ["é"]}}


def test_the_headers_are_those_of_the_blocking_driver(connect, connect_async, answer) -> None:
    client, wire = connect_async(answer(body={"id": "run_1"}), branch="feature/x")
    blocking, blocking_wire = connect(answer(body={"id": "run_1"}), branch="feature/x")
    for trigger in (trigger_task("a", payload=1, options={}), cancel_run("run_1")):
        call(client, trigger)
        blocking.call(trigger)
    for sent, expected in zip(wire.sent, blocking_wire.sent, strict=True):
        headers = {name.lower(): value for name, value in expected.headers.items()}
        assert headers.items() <= sent.headers.items()
        assert set(sent.headers) - set(headers) == {"host"}
        assert sent.headers["authorization"] == f"Bearer {KEY}"
        assert sent.headers["x-trigger-branch"] == "feature/x"


def test_a_netrc_entry_for_the_host_does_not_replace_the_key(
    connect_async, answer, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine trigger.test login someone password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    client, wire = connect_async(answer(body=RUN))
    call(client)
    assert wire.sent[0].headers["Authorization"] == f"Bearer {KEY}"


def test_a_cookie_is_not_sent_back(connect_async, answer) -> None:
    client, wire = connect_async(answer(body=RUN, headers={"set-cookie": "session=1"}))
    call(client)
    call(client)
    assert "cookie" not in wire.sent[1].headers


# To another server


def test_an_output_is_fetched_without_key_branch_and_version(connect_async, answer) -> None:
    client, wire = connect_async(answer(body={"json": 1}), answer(body=RUN), branch="feature/x")
    assert call(client, fetch_output(OUTPUT_URL)) == 1
    (sent,) = wire.sent
    assert str(sent.url) == OUTPUT_URL
    assert set(sent.headers) == {"host", "user-agent", "accept-encoding"}
    assert sent.headers["host"] == "store.test:9000"
    # Its connection is not kept.
    assert wire.closed == 1
    call(client)
    assert wire.sent[1].headers["Authorization"] == f"Bearer {KEY}"
    assert wire.closed == 1


@pytest.mark.usefixtures("_bare_environment")
@pytest.mark.parametrize(
    ("without", "proxies"),
    [
        ("store.test", [None, "http://environment.test:3128"]),
        ("trigger.test", ["http://environment.test:3128", None]),
    ],
)
def test_no_proxy_of_the_environment_is_about_the_store(
    connect_async, answer, monkeypatch: pytest.MonkeyPatch, without: str, proxies: list[str | None]
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://environment.test:3128")
    monkeypatch.setenv("NO_PROXY", without)
    client, wire = connect_async(answer(body={"json": 1}), answer(body=RUN))
    call(client, fetch_output(OUTPUT_URL))
    call(client)
    assert wire.proxies == proxies


def test_an_error_names_the_store_and_not_the_signature(connect_async, answer) -> None:
    client, _ = connect_async(httpx.ReadError(OUTPUT_URL), retry_for=0.0)
    with pytest.raises(errors.TransportError) as raised:
        call(client, fetch_output(OUTPUT_URL))
    assert str(raised.value) == "GET /a%20b/1.json to store.test:9000: ReadError"


# How it is sent


@pytest.mark.parametrize(("timeout", "connecting"), [(25.0, 10.0), (10.0, 9.0), (3.0, 2.7)])
def test_each_request_has_two_timeouts(connect_async, answer, timeout: float, connecting: float) -> None:
    client, wire = connect_async(answer(body=RUN), timeout=timeout)
    call(client)
    (timeouts,) = wire.timeouts
    assert timeouts.pop("connect") == pytest.approx(connecting)  # less than the whole, and so noticed before
    assert timeouts == {"read": timeout, "write": timeout, "pool": None}


def test_a_deadline_is_passed_on(connect_async, answer, clock) -> None:
    client, wire = connect_async(answer(body=RUN))
    call(client, deadline=Deadline.after(12, now=clock.now))
    assert wire.timeouts[0]["read"] == 4
    with pytest.raises(errors.NotSentError):
        call(client, deadline=Deadline(clock.now))
    assert len(wire.sent) == 1


@pytest.mark.parametrize("location", ["https://evil.test/", "http://[::1", "//", "x" * 9_999])
def test_a_redirect_is_neither_followed_nor_resolved(connect_async, answer, location: str) -> None:
    client, wire = connect_async(answer(302, b"x" * 9999, {"location": location}))
    with pytest.raises(errors.RedirectError) as raised:
        call(client, cancel_run("run_1"))
    assert location[:200] in str(raised.value)
    assert len(wire.sent) == 1


def new_client(**settings: Any) -> AsyncTriggerDevClient:
    fixed = {"base_url": "https://trigger.test", "secret_key": KEY, "user_agent": "unit-tests/1"}
    given = fixed | settings
    own = {name: given.pop(name) for name in ("max_connections", "rate_limit") if name in given}
    return AsyncTriggerDevClient(ServerSettings(**given), **own)


@pytest.fixture
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.mark.usefixtures("_bare_environment")
@pytest.mark.parametrize(
    ("verify", "mode", "checks_name"),
    [(True, ssl.CERT_REQUIRED, True), (False, ssl.CERT_NONE, False)],
)
def test_certificates_are_checked_as_configured(
    verify: bool, mode: ssl.VerifyMode, checks_name: bool
) -> None:
    tls = new_client(verify=verify)._tls
    assert (tls.verify_mode, tls.check_hostname) == (mode, checks_name)


@pytest.mark.usefixtures("_bare_environment")
def test_only_the_given_ca_is_trusted(certificate, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(new_client(verify=certificate.file)._tls.get_ca_certs()) == 1
    assert len(new_client()._tls.get_ca_certs()) > 10
    assert new_client(verify=str(tmp_path))._tls.get_ca_certs() == []  # a folder, in OpenSSL's form
    monkeypatch.setenv("SSL_CERT_FILE", certificate.file)  # of no effect on the blocking driver either
    assert len(new_client()._tls.get_ca_certs()) > 10
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", certificate.file)
    client = new_client()
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")  # the environment is read once
    assert len(client._tls.get_ca_certs()) == 1


@pytest.mark.usefixtures("_bare_environment")
@pytest.mark.parametrize("given", [None, "http://mine.test:1"])
def test_a_proxy_of_the_environment_counts_unless_one_is_given(
    connect_async, answer, monkeypatch: pytest.MonkeyPatch, given: str | None
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://environment.test:3128")
    client, wire = connect_async(answer(body=RUN), proxy=given)
    monkeypatch.setenv("HTTPS_PROXY", "http://late.test:3128")  # the environment is read once
    call(client)
    assert wire.proxies == [given or "http://environment.test:3128"]


def test_as_many_connections_are_kept_open_as_configured_and_any_number_is_made() -> None:
    for settings, kept in (({}, defaults.MAX_CONCURRENCY), ({"max_connections": 7}, 7)):
        pool = new_client(**settings)._new_transport(None)._pool
        assert pool._max_keepalive_connections == kept
        assert pool._keepalive_expiry == KEEP_ALIVE
        assert pool._max_connections > 1_000_000
        assert pool._retries == 0
    assert KEEP_ALIVE > 30  # the longest time between two checks


@pytest.mark.parametrize("proxy", ["http://p.test:1", "https://u:p@p.test:1"])
def test_a_proxy_is_connected_to_like_the_server(proxy: str) -> None:
    client = new_client()
    pool: Any = client._new_transport(proxy)._pool
    assert pool._proxy_url.host == b"p.test"
    assert pool._ssl_context is client._tls
    assert pool._proxy_ssl_context is (client._tls if proxy.startswith("https") else None)


@pytest.mark.parametrize("proxy", ["ftp://u:hunter2@p.test:1", "socks5://u:hunter2@p.test:1", "nonsense://"])
def test_a_proxy_that_cannot_be_one_is_an_error_that_is_not_repeated(proxy: str) -> None:
    with pytest.raises(errors.TransportError) as raised:
        call(new_client(proxy=proxy))
    reason = "the URL or the proxy's URL is not valid (UnsupportedProtocol)"
    assert str(raised.value) == f"GET /api/v3/runs/run_1 to trigger.test: {reason}"
    assert not raised.value.retryable


def test_a_ca_file_that_is_gone_is_an_error_that_is_not_repeated() -> None:
    with pytest.raises(errors.TLSError, match=r"invalid path: /gone\.pem") as raised:
        call(new_client(verify="/gone.pem"))
    assert not raised.value.retryable


@pytest.mark.parametrize(
    "base_url", ["https://api..trigger.test", f"https://{'a' * 64}.test", "https://h:70000", "https://\udcff"]
)
def test_a_host_that_cannot_be_one_is_an_error(base_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(errors.TransportError):
        call(new_client(base_url=base_url, retry_for=0.0))


def test_the_defaults_are_the_packages() -> None:
    exchange = new_client().exchange
    assert (exchange.timeout, exchange.retry_for) == (defaults.REQUEST_TIMEOUT, defaults.RETRY_FOR)


def test_clients_can_share_a_rate_limit(connect, connect_async, answer, clock, slept: list[float]) -> None:
    limits = {"x-ratelimit-limit": "100", "x-ratelimit-remaining": "5"}
    limits["x-ratelimit-reset"] = str(round(clock.time() * 1000) + 8000)
    shared = RateLimit()
    blocking, _ = connect(answer(body=RUN, headers=limits), rate_limit=shared)
    second, _ = connect_async(answer(body=RUN), rate_limit=shared)
    third, _ = connect_async(answer(body=RUN))
    blocking.call(retrieve_run("run_1"))
    call(third)
    assert slept == []
    call(second)
    assert sum(slept) == pytest.approx(8.05)


# How steps are driven


def test_waits_are_slept(connect_async, answer, slept: list[float]) -> None:
    busy = answer(503, {"error": "busy"}, {"retry-after": "25"})
    client, wire = connect_async(busy, httpx.ReadError("lost"), answer(body=RUN), retry_for=60)
    assert call(client).status == "QUEUED"
    assert len(wire.sent) == 3
    assert slept[0] == 25
    assert 0.5 <= slept[1] <= 1


def test_the_last_error_is_raised(connect_async, answer, slept: list[float]) -> None:
    client, _ = connect_async(answer(503, {"error": "busy"}, {"retry-after": "25"}), retry_for=60)
    with pytest.raises(errors.ServerError, match="busy"):
        call(client)
    assert slept == [25, 25]
    with pytest.raises(errors.ServerError, match="busy"):
        call(client, patience=0)
    assert slept == [25, 25]


def test_a_request_that_raises_a_bug_is_in_flight_no_more(
    connect_async, answer, clock, slept: list[float]
) -> None:
    limits = {"x-ratelimit-limit": "100", "x-ratelimit-remaining": "6"}
    limits["x-ratelimit-reset"] = str(round(clock.time() * 1000) + 8000)
    client, _ = connect_async(answer(body=RUN, headers=limits), LookupError("a bug"), answer(body=RUN))
    call(client)
    with pytest.raises(LookupError, match="a bug"):
        call(client)
    call(client)
    assert slept == []


def test_one_client_serves_many_tasks_of_a_loop(connect_async, answer) -> None:
    together = 0

    async def slow() -> Any:
        nonlocal together
        together += 1
        while together < 20:
            await asyncio.sleep(0)
        return answer(body=RUN)

    client, wire = connect_async(lambda _: slow())

    async def main() -> list[Any]:
        return await asyncio.gather(*(client.call(retrieve_run("run_1")) for _ in range(20)))

    assert [run.status for run in asyncio.run(main())] == ["QUEUED"] * 20
    assert len(wire.sent) == 20
    assert len(wire.proxies) == 1  # all through one pool


# Cancellation


@pytest.fixture(autouse=True)
def _cancels_end_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_trigger.api.async_client._CANCEL_TIME", 0.05)


async def never(started: asyncio.Event) -> Any:
    started.set()
    await asyncio.Event().wait()


def test_a_cancel_during_a_request_passes_through_and_the_request_is_in_flight_no_more(
    connect_async, answer, clock, slept: list[float]
) -> None:
    limits = {"x-ratelimit-limit": "100", "x-ratelimit-remaining": "6"}
    limits["x-ratelimit-reset"] = str(round(clock.time() * 1000) + 8000)

    async def main() -> None:
        started = asyncio.Event()
        script = [answer(body=RUN, headers=limits), never(started), answer(body=RUN)]
        client, wire = connect_async(lambda _: script.pop(0))
        await client.call(retrieve_run("run_1"))
        task = asyncio.create_task(client.call(retrieve_run("run_1")))
        await started.wait()
        task.cancel("by the test")
        with pytest.raises(asyncio.CancelledError, match="by the test"):
            await task
        assert task.cancelled()
        await client.call(retrieve_run("run_1"))
        assert len(wire.sent) == 3

    asyncio.run(main())
    assert slept == []


def test_a_cancel_during_a_wait_passes_through_and_closes_the_steps(
    connect_async, answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = []

    async def main() -> None:
        client, wire = connect_async(answer(503, {"error": "busy"}, {"retry-after": "25"}))
        steps = client.exchange.steps

        def noted(*arguments: Any, **options: Any) -> Any:
            try:
                return (yield from steps(*arguments, **options))
            except GeneratorExit:
                closed.append(True)
                raise

        monkeypatch.setattr(client.exchange, "steps", noted)
        task = asyncio.create_task(client.call(retrieve_run("run_1")))
        while not wire.sent:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert closed == [True]

    asyncio.run(main())


def test_a_cancel_that_comes_with_the_timeout_is_not_lost(connect_async) -> None:
    async def main() -> None:
        started = asyncio.Event()
        client, _ = connect_async(lambda _: never(started), timeout=0.01)
        task = asyncio.create_task(client.call(retrieve_run("run_1")))
        await started.wait()
        time.sleep(0.02)  # the timeout is due, and is handled in the same round as the cancel
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


def test_a_canceled_request_leads_to_no_key(connect_async, key_in) -> None:
    async def main() -> BaseException:
        started = asyncio.Event()

        async def with_the_key_in_its_frame() -> Any:
            header = f"Bearer {KEY}"
            canceled = None
            try:
                await never(started)
            except asyncio.CancelledError as error:
                canceled = error
            assert canceled
            canceled.__context__ = LookupError(header)
            raise canceled

        client, _ = connect_async(lambda _: with_the_key_in_its_frame())
        task = asyncio.create_task(client.call(retrieve_run("run_1")))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as raised:
            await task
        return raised.value

    assert key_in(asyncio.run(main())) == []


def test_a_request_without_an_answer_ends_after_its_time(connect_async) -> None:
    async def main() -> None:
        client, _ = connect_async(lambda _: never(asyncio.Event()), timeout=0.01, retry_for=0.0)
        with pytest.raises(errors.TransportError, match=r"no answer within 0\.1 s"):
            await client.call(retrieve_run("run_1"))

    asyncio.run(main())


async def never_although_canceled(started: asyncio.Event) -> Any:
    """What a request does whose cancel waits for a lock that is never released."""
    try:
        await never(started)
    except asyncio.CancelledError:
        await asyncio.Event().wait()


def test_a_request_whose_cancel_never_ends_is_left_alone(connect_async, answer) -> None:
    async def main() -> None:
        script = [never_although_canceled(asyncio.Event()), answer(body=RUN)]
        client, _ = connect_async(lambda _: script.pop(0), timeout=0.01, retry_for=0.0)
        with pytest.raises(errors.TransportError, match=r"no answer within 0\.1 s"):
            await asyncio.wait_for(client.call(retrieve_run("run_1")), 5)
        assert (await client.call(retrieve_run("run_1"))).id == "run_1"

    asyncio.run(main())


@pytest.mark.parametrize("end", [httpx.ReadError("lost"), asyncio.CancelledError()])
def test_a_request_that_was_left_alone_may_end_later_in_any_way(connect_async, end: BaseException) -> None:
    """asyncio would log an error that was not read from its task."""
    reported: list[str] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: reported.append(context["message"])
        )
        is_late = asyncio.Event()

        async def end_late() -> Any:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            await is_late.wait()
            raise end

        client, _ = connect_async(lambda _: end_late(), timeout=0.01, retry_for=0.0)
        with pytest.raises(errors.AnswerTimeoutError):
            await client.call(retrieve_run("run_1"))
        is_late.set()
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0)
        await asyncio.sleep(0)

    asyncio.run(main())
    gc.collect()
    assert reported == []


def test_a_cancel_passes_through_a_request_whose_own_cancel_never_ends(connect_async) -> None:
    async def main() -> None:
        started = asyncio.Event()
        client, _ = connect_async(lambda _: never_although_canceled(started))
        task = asyncio.create_task(client.call(retrieve_run("run_1")))
        await started.wait()
        task.cancel("by the test")
        with pytest.raises(asyncio.CancelledError, match="by the test"):
            await asyncio.wait_for(task, 5)

    asyncio.run(main())


# What comes back


def test_a_response_is_returned_as_it_came(connect_async, answer) -> None:
    client, wire = connect_async(answer(418, b"teapot", {"X-Request-Id": "req_7", "DATE": "today"}))
    expected = Response(status=418, headers={"x-request-id": "req_7", "date": "today"}, body=b"teapot")
    assert asyncio.run(client.send(CHECK)) == expected
    assert wire.bodies[0].is_closed


@pytest.mark.parametrize(("raw", "value"), [(b"\xe9", "\xe9"), ("é".encode(), "Ã©")])
def test_headers_are_read_as_the_blocking_driver_reads_them(
    connect_async, answer, raw: bytes, value: str
) -> None:
    client, _ = connect_async(answer(200, b"", {"x-a": raw}))
    assert asyncio.run(client.send(CHECK)).headers == {"x-a": value}


@pytest.mark.parametrize(
    ("raised", "kind", "reason", "retryable"),
    [
        (httpx.ReadTimeout("x"), errors.AnswerTimeoutError, "no answer within 7 s", True),
        (httpx.ConnectTimeout("x"), errors.TransportError, "no connection within 7 s", True),
        (httpx.ConnectError("x"), errors.TransportError, "ConnectError", True),
        (httpx.RemoteProtocolError("x"), errors.TransportError, "the connection was lost", True),
        (httpx.InvalidURL(f"https://u:{KEY}@x"), errors.TransportError, "the URL", False),
        (OSError("/gone.pem"), errors.TLSError, "/gone.pem", False),
    ],
)
def test_an_error_that_came_instead_is_returned_and_not_raised(
    connect_async, raised: Exception, kind: type[errors.TransportError], reason: str, retryable: bool
) -> None:
    client, _ = connect_async(raised)
    error = asyncio.run(client.send(CHECK))
    assert type(error) is kind
    assert str(error).startswith(f"GET /api/v3/runs/run_1 to trigger.test: {reason}")
    assert error.retryable is retryable
    assert (error.__cause__, error.__context__, error.__traceback__) == (None, None, None)


def test_through_a_proxy_a_server_that_cannot_be_reached_is_the_proxy(connect_async) -> None:
    client, _ = connect_async(httpx.ConnectError("x"), proxy="http://p.test:1")
    assert "the proxy rejected the connection" in str(asyncio.run(client.send(CHECK)))


@pytest.mark.parametrize("status", [200, 302, 404])
def test_an_answer_that_is_too_large_is_not_read_to_its_end(
    connect_async, answer, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr(body_module, "MAX_BODY_BYTES", 1024 * 1024)
    client, wire = connect_async(answer(status, b" " * (3 * 1024 * 1024)))
    with pytest.raises(errors.UnexpectedAnswerError) as raised:
        call(client)
    assert str(raised.value) == "GET /api/v3/runs/run_1 answered more than 1 MB"
    assert not raised.value.retryable
    assert len(wire.sent) == 1
    assert len(wire.bodies[0].pieces) > 16
    assert wire.bodies[0].is_closed


@pytest.mark.parametrize(
    ("asked", "request_", "server"),
    [
        (retrieve_run("run_1"), "GET /api/v3/runs/run_1", "trigger.test"),
        (fetch_output(OUTPUT_URL), "GET /a%20b/1.json", "store.test:9000"),
    ],
    ids=["trigger.dev", "store"],
)
def test_an_answer_whose_body_cannot_be_read_is_an_error_that_names_its_request(
    connect_async, answer, asked: Call[Any], request_: str, server: str
) -> None:
    client, _ = connect_async(answer(200, b"not compressed", {"content-encoding": "gzip"}), retry_for=0.0)
    with pytest.raises(errors.TransportError) as raised:
        call(client, asked)
    assert str(raised.value) == f"{request_} to {server}: the answer cannot be decompressed"
    client, _ = connect_async(answer(200, b"", {"content-length": str(10**9)}))
    with pytest.raises(errors.OversizeError) as oversize:
        call(client, asked)
    assert str(oversize.value) == f"{request_} answered more than 16 MB"


@pytest.mark.parametrize(("excess", "is_read"), [(0, True), (1, False)])
def test_the_limit_of_a_body_is_its_largest_size(
    connect_async, answer, monkeypatch: pytest.MonkeyPatch, excess: int, is_read: bool
) -> None:
    monkeypatch.setattr(body_module, "MAX_BODY_BYTES", 100_000)
    client, _ = connect_async(answer(body=b" " * (100_000 + excess)))
    assert isinstance(asyncio.run(client.send(CHECK)), Response) is is_read


@pytest.mark.parametrize("encodings", [1, 2])
def test_a_small_answer_that_decompresses_to_a_large_one_takes_no_memory(
    connect_async, answer, make_bomb, using_at_most, monkeypatch: pytest.MonkeyPatch, encodings: int
) -> None:
    monkeypatch.setattr(body_module, "MAX_BODY_BYTES", 100_000)
    client, _ = connect_async(answer(200, *make_bomb(encodings)), retry_for=0.0)
    with using_at_most(8 * 1024 * 1024), pytest.raises(errors.UnexpectedAnswerError):
        call(client)


def test_a_closed_client_closes_its_connections(connect_async, answer) -> None:
    client, wire = connect_async(answer(body=RUN))

    async def main() -> None:
        async with client as entered:
            assert entered is client
            await client.call(retrieve_run("run_1"))
            assert wire.closed == 0
        assert wire.closed == 1
        await client.close()
        assert wire.closed == 1

    asyncio.run(main())
    gc.collect()


# The secret key


def test_neither_client_nor_its_parts_show_the_key(connect_async, answer) -> None:
    client, _ = connect_async(answer(body=RUN))
    call(client)
    assert repr(client) == "<AsyncTriggerDevClient https://trigger.test>"
    for thing in (client, client.exchange):
        assert KEY not in repr(vars(thing))


@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (200, f'{{"id": "{KEY}'.encode(), {"content-type": KEY}),
        (200, {"id": KEY, "status": "QUEUED"}, {}),
        (401, {"error": f"no such key: {KEY}"}, {"x-request-id": KEY}),
        (302, b"", {"location": f"https://login.test/?key={KEY}"}),
        (503, KEY.encode(), {"retry-after": KEY, "x-echo": KEY}),
    ],
)
def test_an_answer_that_echoes_the_key_leads_to_no_key(
    connect_async, answer, key_in, status: int, body, headers
) -> None:
    client, _ = connect_async(answer(status, body, headers), retry_for=0.0)
    with pytest.raises(errors.TriggerDevError) as raised:
        call(client)
    assert key_in(raised.value) == []
