"""The driver: sends calls with requests, in whatever thread makes them."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError

from airflow_provider_trigger import defaults
from airflow_provider_trigger.api.errors import (
    AnswerTimeoutError,
    AuthenticationError,
    NotSentError,
    PlainHttpError,
    TLSError,
    TransportError,
    TriggerDevError,
)
from airflow_provider_trigger.api.exchange import Exchange, Reply, Send
from airflow_provider_trigger.api.http import API_VERSION, Call, Request, Response, ServerSettings
from airflow_provider_trigger.api.limits import NEVER, Deadline, RateLimit
from airflow_provider_trigger.api.masking import SecretKey
from airflow_provider_trigger.api.responses import read_body

T = TypeVar("T")

CONNECT_TIMEOUT = 10.0
"""How long to wait for a connection at most, in seconds."""

KEEP_ALIVE = 60.0
"""After so many seconds without a request, in which a firewall may drop them silently, connections close."""

# So many bytes are decompressed at once; they can become a thousand times as many.
_PIECE = 16 * 1024

_of_thread = threading.local()


class _Adapter(HTTPAdapter):
    """
    Notes the socket of each request in flight, so that a stop can end it.

    Keeps Python's http.client from printing headers, and so the key, whatever its ``debuglevel``.
    """

    def get_connection_with_tls_context(self, *args: Any, **options: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*args, **options)
        if not hasattr(pool.ConnectionCls, "is_noted"):
            own = {"debuglevel": 0, "is_noted": True, "getresponse": _noting(pool.ConnectionCls.getresponse)}
            pool.ConnectionCls = type("NotedConnection", (pool.ConnectionCls,), own)
        return pool


def _noting(getresponse: Callable[..., Any]) -> Callable[..., Any]:
    def noting(connection: Any) -> Any:
        _of_thread.sockets[threading.get_ident()] = connection.sock
        return getresponse(connection)

    return noting


class TriggerDevClient:
    """
    A client for one Trigger.dev environment, safe to share between threads.

    :param settings: how to reach the server
    :param max_connections: how many connections are kept open
    :param rate_limit: the pace, where it is shared with other clients or leaves another reserve; None for its
        own
    :param secret_key: the key, where it is shared with other clients or can be fetched again; None for that
        of the settings
    """

    may_fetch_key = True
    """Whether the key may be fetched again after it was rejected; not in a signal handler."""
    sleep: Callable[[float], None] | None = None
    """What waits for calls that do not say it; see :meth:`call`."""

    def __init__(
        self,
        settings: ServerSettings,
        *,
        max_connections: int = defaults.MAX_CONCURRENCY,
        rate_limit: RateLimit | None = None,
        secret_key: SecretKey | None = None,
    ) -> None:
        self.settings = settings
        self._key = secret_key or SecretKey(settings.secret_key)
        self.exchange = Exchange(
            key=self._key,
            rate_limit=rate_limit or RateLimit(),
            timeout=settings.timeout,
            retry_for=settings.retry_for,
        )
        self._session = _new_session(max_connections)
        # A query's answer of 400 KB is worth compressing; what else HTTP libraries know is not read.
        self._headers = {"Accept-Encoding": "gzip", "User-Agent": settings.user_agent}
        self._api_headers = {"Accept": "application/json", "x-trigger-api-version": API_VERSION}
        if settings.branch:
            self._api_headers["x-trigger-branch"] = settings.branch
        # Read once and not with each request; afterwards the environment has no effect.
        self._options = connection_options(settings.base_url, settings)
        self._is_closed = False
        self._sockets: dict[int, socket.socket] = {}  # of the requests in flight, by thread
        self._sent_at = time.monotonic()

    def __enter__(self) -> TriggerDevClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<TriggerDevClient {self.settings.base_url}>"

    def close(self) -> None:
        """Close the connections; a call that another thread is making sends nothing more."""
        self._is_closed = True
        self._session.close()

    def end_requests(self) -> None:
        """Let the requests in flight, of all threads, fail at once. Safe in a signal handler."""
        for sock in list(self._sockets.values()):
            with suppress(OSError, TypeError):  # it is closed, or within another TLS connection
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def call(
        self,
        call: Call[T],
        *,
        deadline: Deadline = NEVER,
        patience: float | None = None,
        sleep: Callable[[float], None] | None = None,
    ) -> T:
        """
        Make one call, and repeat it where that is safe and may help, after a 401 with a key that was changed.

        :param call: from :mod:`airflow_provider_trigger.api`
        :param deadline: of the work that the call is part of
        :param patience: how long to repeat it after the first request, in seconds; None for ``retry_for``
        :param sleep: waits so many seconds, before each request 0: what it raises ends the call before
            anything more is sent; None for the client's own, or waits that nothing ends
        :raises TriggerDevError: the last error
        """
        version, sleep = self.key_version, sleep or self.sleep
        try:
            return self._call(call, deadline, patience, sleep)
        except AuthenticationError:
            if not self.renew_key(version):
                raise
        return self._call(call, deadline, patience, sleep)

    @property
    def key_version(self) -> int:
        """How often the key was changed."""
        return self._key.version

    def renew_key(self, rejected: int) -> bool:
        """Return whether there is another key than the one of a rejected version; from now on it is used."""
        if not self._key.renew(rejected, may_fetch=self.may_fetch_key, now=self.exchange.monotonic()):
            return False
        self.exchange.key_is_rejected = False
        return True

    def _call(
        self,
        call: Call[T],
        deadline: Deadline,
        patience: float | None,
        sleep: Callable[[float], None] | None,
    ) -> T:
        reply: Reply = None
        with closing(self.exchange.steps(call, deadline=deadline, patience=patience)) as steps:
            while True:
                try:
                    step = steps.send(reply)
                except StopIteration as end:
                    result: T = end.value
                    return result
                finally:
                    reply = None  # the key is not masked in it, and an error's traceback leads to this frame
                if not isinstance(step, Send):
                    (sleep or time.sleep)(step.seconds)
                    continue
                if sleep:
                    sleep(0)
                if self._is_closed:
                    raise NotSentError("the client was closed")
                reply = self.send(step)

    def send(self, step: Send) -> Reply:
        """Send one request, once; return the response, or the error that came instead."""
        try:
            return self._send(step)
        except (OSError, HTTPError) as error:  # requests lets some of urllib3's through
            where = step.request.target(self.settings.base_url)
            failure: TriggerDevError = transport_error(error, where, step.timeout)
        except TriggerDevError as error:  # of the body
            failure = error.with_traceback(None)
        finally:
            self._sockets.pop(threading.get_ident(), None)
        # Raised elsewhere: within the blocks above, the request and so the key would be its context.
        return failure

    def _send(self, step: Send) -> Response:
        prepared, options = self._prepare(step.request)
        # Redirects would carry the key elsewhere, or turn a POST into a GET: an adapter knows of none,
        # while a session reads and resolves them even when it is not to follow them.
        adapter = self._session.get_adapter(str(prepared.url))
        timeout = (min(CONNECT_TIMEOUT, step.timeout), step.timeout)
        now = time.monotonic()
        if now - self._sent_at > KEEP_ALIVE:
            adapter.close()
        self._sent_at = now
        _of_thread.sockets = self._sockets
        with self._open(partial(adapter.send, prepared, timeout=timeout), options) as answer:
            headers = {name.lower(): value for name, value in answer.headers.items()}
            # As requested; in several layers, a few bytes could become any number.
            is_gzip = headers.get("content-encoding") == "gzip"
            pieces = _pieces(answer.raw, until=now + step.timeout, decode=is_gzip)
            length = None if is_gzip else answer.raw.length_remaining
            body = read_body(step.request, pieces, length=length)
            return Response(status=answer.status_code, headers=headers, body=body)

    def _open(self, send: Callable[..., requests.Response], options: Mapping[str, Any]) -> requests.Response:
        try:
            return send(**options)
        except requests.exceptions.SSLError:
            # An object store of one's own may have a certificate of the same private CA as the server.
            if self.settings.verify in (True, options["verify"]):
                raise
        return send(**{**options, "verify": self.settings.verify})

    def _prepare(self, request: Request) -> tuple[requests.PreparedRequest, dict[str, Any]]:
        """Return what an adapter sends, and how."""
        address, body = request.address(self.settings.base_url), request.body()
        headers = {**self._headers, **request.headers}
        if request.url is None:
            headers |= self._api_headers | {"Authorization": self._key.authorization}
            options = self._options
        else:
            options = connection_options(address, self.settings)
        if body is not None:
            headers["Content-Type"] = "application/json"
        # Not by the session: it reads .netrc, and merging its defaults takes long.
        return requests.Request(request.method, address, headers=headers, data=body).prepare(), options


def _pieces(raw: Any, *, until: float, decode: bool) -> Iterator[bytes]:
    """Yield a body as it arrives; the time limit of a socket is that of one read."""
    while piece := raw.read1(_PIECE, decode_content=decode):
        yield piece
        if time.monotonic() > until:
            raise requests.ReadTimeout


def _new_session(max_connections: int) -> requests.Session:
    session = requests.Session()
    adapter = _Adapter(pool_connections=1, pool_maxsize=max_connections, max_retries=0)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


def connection_options(url: str, settings: ServerSettings) -> dict[str, Any]:
    """Return how an adapter connects to a URL: the settings' CA file is that of their own server."""
    proxies = {"https": settings.proxy, "http": settings.proxy} if settings.proxy else {}
    is_elsewhere = urlsplit(url).netloc != urlsplit(settings.base_url).netloc
    verify = True if is_elsewhere and settings.verify else settings.verify
    with requests.Session() as session:
        return {**session.merge_environment_settings(url, proxies, True, verify, None)}


# What requests and urllib3 raise when no answer comes, in our words: they repeat URLs, a proxy's too.
_TIMEOUTS = (requests.Timeout, urllib3.exceptions.TimeoutError)
_TLS_ERRORS = (requests.exceptions.SSLError, urllib3.exceptions.SSLError)
_UNCONNECTED = (requests.ConnectTimeout, urllib3.exceptions.NewConnectionError)
# OpenSSL's reasons where what answered the handshake was no TLS at all.
_NOT_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST")


def transport_error(error: Exception, where: str, timeout: float) -> TransportError:
    """Return the error to raise."""
    kind, reason, retryable = _describe(error, timeout)
    # All that no other try can change is found before anything is sent.
    was_sent = retryable and not _is_unconnected(error)
    return kind(f"{where}: {reason}", reason=reason, retryable=retryable, was_sent=was_sent)


def _is_unconnected(error: Exception) -> bool:
    # Not the error's context, which may be an earlier request's.
    parts = [error, *error.args]
    parts += [getattr(part, "reason", None) for part in parts]
    return any(isinstance(part, _UNCONNECTED) for part in parts) or _hangs_in_handshake(error)


def _hangs_in_handshake(error: Exception) -> bool:
    """Return whether TLS took too long, which urllib3 reports as an answer that does."""
    return any("handshake operation timed out" in str(getattr(part, "__cause__", "")) for part in error.args)


def _describe(error: Exception, timeout: float) -> tuple[type[TransportError], str, bool]:
    """Return the kind of the error to raise, its reason, and whether trying again may succeed."""
    if isinstance(error, requests.ConnectTimeout) or _hangs_in_handshake(error):
        return TransportError, f"no connection within {_shown(min(CONNECT_TIMEOUT, timeout))} s", True
    if isinstance(error, _TIMEOUTS):
        return AnswerTimeoutError, f"no answer within {_shown(timeout)} s", True
    is_tls = isinstance(error, _TLS_ERRORS)
    tls_causes = [cause for cause in _causes(error) if isinstance(cause, ssl.SSLError)]
    if is_tls and "certificate" in str(error).lower():
        reason = getattr(tls_causes[0], "verify_message", "") if tls_causes else ""
        return TLSError, f"the server's certificate is not accepted: {reason or 'reason unknown'}", False
    if is_tls and any(cause.reason in _NOT_TLS for cause in tls_causes):
        return PlainHttpError, "the server speaks http, not https, on this port", False
    if isinstance(error, OSError) and not isinstance(error, requests.RequestException):
        return TLSError, str(error)[:200], False  # so requests reports that the CA file is gone
    if isinstance(error, ValueError):  # so both libraries mark it
        # They repeat the URL: a proxy's may hold a password.
        reason = f"the URL or the proxy's URL is not valid ({type(error).__name__})"
        return TransportError, reason, False
    if is_tls:
        reason = "the TLS connection failed"
    elif isinstance(error, requests.exceptions.ProxyError):
        reason = "the proxy rejected the connection, or cannot be reached"
    elif isinstance(error, urllib3.exceptions.ProtocolError):
        reason = "the connection was lost before the whole answer arrived"
    else:
        reason = _innermost(error)
    return TransportError, reason, True


def _shown(seconds: float) -> str:
    # Just before a deadline a request has only milliseconds.
    return f"{max(0.1, round(seconds, 1)):g}"


def _innermost(error: BaseException) -> str:
    """Return what the operating system said, without the request that a library repeats around it."""
    for cause in _causes(error):
        if isinstance(cause, OSError) and not isinstance(cause, requests.RequestException):
            return str(cause.strerror or cause)[:200]
    return type(error).__name__


def _causes(error: BaseException) -> list[BaseException]:
    """Return the errors within an error, the innermost first."""
    found: list[BaseException] = []
    open_ones: list[object] = [error]
    while open_ones:
        one = open_ones.pop()
        if isinstance(one, BaseException) and one not in found:
            found.insert(0, one)
            open_ones += [*one.args, one.__cause__, one.__context__, getattr(one, "reason", None)]
    return found
