"""Send requests by the library ``requests``; what comes of one is a response or an error without the key."""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError

from airflow_provider_trigger.api import errors
from airflow_provider_trigger.api.http import API_VERSION, MAX_BODY_BYTES, Request, Response, ServerSettings
from airflow_provider_trigger.api.secret_key import SecretKey

log = logging.getLogger(__name__)

CONNECT_TIMEOUT = 10.0
"""How long to wait for a connection at most, in seconds."""

# The number of bytes that are decompressed at once; they can become a thousand times as many.
_PIECE = 16 * 1024

Reply = Response | errors.TriggerDevError


class _Adapter(HTTPAdapter):
    """Keeps Python's http.client from printing headers, and so the key, whatever its ``debuglevel``."""

    def get_connection_with_tls_context(self, *args: Any, **options: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*args, **options)
        if not hasattr(pool.ConnectionCls, "is_silent"):
            pool.ConnectionCls = type(
                "SilentConnection", (pool.ConnectionCls,), {"debuglevel": 0, "is_silent": True}
            )
        return pool


class Transport:
    """Sends requests to one environment, and to object stores; safe to share between threads."""

    def __init__(self, settings: ServerSettings, key: SecretKey, *, max_connections: int) -> None:
        self._settings = settings
        self._key = key
        self._session = requests.Session()
        adapter = _Adapter(pool_connections=1, pool_maxsize=max_connections, max_retries=0)
        for scheme in ("https://", "http://"):
            self._session.mount(scheme, adapter)
        # A query's answer of 400 KB is worth compressing; what else HTTP libraries know is not read.
        self._headers = {"Accept-Encoding": "gzip", "User-Agent": settings.user_agent}
        self._api_headers = {"Accept": "application/json", "x-trigger-api-version": API_VERSION}
        if settings.branch:
            self._api_headers["x-trigger-branch"] = settings.branch
        # Read once and not with each request; afterwards the environment has no effect.
        self._options = connection_options(settings.base_url, settings)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def send(self, request: Request, timeout: float) -> Reply:
        """Send a request, once; return the response, with the key hidden, or the error that came instead."""
        try:
            return self._key.hidden_in(self._send(request, timeout))
        except (OSError, HTTPError) as error:  # requests lets some of urllib3's through
            where = request.target(self._settings.base_url)
            failure: errors.TriggerDevError = transport_error(error, where, timeout)
        except errors.TriggerDevError as error:  # of the body
            failure = error.with_traceback(None)
        # Raised elsewhere: within the blocks above, the request and so the key would be its context.
        return failure

    def _send(self, request: Request, timeout: float) -> Response:
        address, body = request.address(self._settings.base_url), request.body()
        headers, options = {**self._headers, **request.headers}, self._options
        if request.url is None:
            headers |= self._api_headers | {"Authorization": f"Bearer {self._key.value}"}
        else:
            options = connection_options(address, self._settings)
        if body is not None:
            headers["Content-Type"] = "application/json"
        # The session is not used: it reads .netrc, and merging its defaults takes long.
        prepared = requests.Request(request.method, address, headers=headers, data=body).prepare()
        # Redirects would carry the key elsewhere, or turn a POST into a GET: an adapter knows of none,
        # while a session reads and resolves them even when it is not to follow them.
        adapter = self._session.get_adapter(str(prepared.url))
        send = partial(adapter.send, prepared, timeout=(min(CONNECT_TIMEOUT, timeout), timeout))
        until = time.monotonic() + timeout
        with self._open(send, options) as answer:
            shown = {name.lower(): value for name, value in answer.headers.items()}
            # As requested; in several layers, a few bytes could become any number.
            is_gzip = shown.get("content-encoding") == "gzip"
            read = _read_body(answer.raw, request, until=until, is_gzip=is_gzip)
            return Response(status=answer.status_code, headers=shown, body=read)

    def _open(self, send: Callable[..., requests.Response], options: Mapping[str, Any]) -> requests.Response:
        try:
            return send(**options)
        except requests.exceptions.SSLError:
            # An object store of one's own may have a certificate of the same private CA as the server.
            if self._settings.verify in (True, options["verify"]):
                raise
        return send(**{**options, "verify": self._settings.verify})


def _read_body(raw: Any, request: Request, *, until: float, is_gzip: bool) -> bytes:
    """Return a body of a limited size; the time limit of a socket is that of one read."""
    limit, length = min(request.limit, MAX_BODY_BYTES), None if is_gzip else raw.length_remaining
    body = bytearray()
    while max(len(body), length or 0) <= limit:
        if not (piece := raw.read1(_PIECE, decode_content=is_gzip)):
            return bytes(body)
        body += piece
        if time.monotonic() > until:
            raise requests.ReadTimeout
    raise errors.OversizeError(str(request), limit=limit, size=length)


def connection_options(url: str, settings: ServerSettings) -> dict[str, Any]:
    """Return how an adapter connects to a URL: the settings' CA file is that of their own server."""
    proxies = {"https": settings.proxy, "http": settings.proxy} if settings.proxy else {}
    is_elsewhere = urlsplit(url).netloc != urlsplit(settings.base_url).netloc
    verify = True if is_elsewhere and settings.verify else settings.verify
    with requests.Session() as session:
        return {**session.merge_environment_settings(url, proxies, True, verify, None)}


_NO_CONNECTION = "no connection within"


def transport_error(error: Exception, where: str, timeout: float) -> errors.TransportError:
    """Return what requests and urllib3 raise when no answer comes, in our words: theirs repeat URLs."""
    causes = _causes(error)
    kind, reason, retryable = _describe(error, causes, timeout)
    is_connected = not any(isinstance(cause, urllib3.exceptions.NewConnectionError) for cause in causes)
    # All that no other try can change is found before anything is sent.
    was_sent = retryable and is_connected and not reason.startswith(_NO_CONNECTION)
    return kind(f"{where}: {reason}", reason=reason, retryable=retryable, was_sent=was_sent)


def _describe(
    error: Exception, causes: Sequence[BaseException], timeout: float
) -> tuple[type[errors.TransportError], str, bool]:
    """Return the kind of the error to raise, its reason, and whether trying again may succeed."""
    # Just before a deadline a request has only milliseconds.
    shown, connecting = (f"{max(0.1, round(it, 1)):g} s" for it in (timeout, min(CONNECT_TIMEOUT, timeout)))
    # TLS that takes too long is reported by urllib3 as an answer that does.
    is_late_tls = any("handshake operation timed out" in str(cause) for cause in causes)
    if isinstance(error, requests.ConnectTimeout) or is_late_tls:
        return errors.TransportError, f"{_NO_CONNECTION} {connecting}", True
    if isinstance(error, (requests.Timeout, urllib3.exceptions.TimeoutError)):
        return errors.AnswerTimeoutError, f"no answer within {shown}", True
    if isinstance(error, (requests.exceptions.SSLError, urllib3.exceptions.SSLError)):
        return _describe_tls(error, causes)
    if isinstance(error, OSError) and not isinstance(error, requests.RequestException):
        return errors.TLSError, str(error)[:200], False  # so requests reports that the CA file is gone
    if isinstance(error, ValueError):  # so both libraries mark it
        reason = f"the URL or the proxy's URL is not valid ({type(error).__name__})"
        return errors.TransportError, reason, False
    if isinstance(error, requests.exceptions.ProxyError):
        return errors.TransportError, "the proxy rejected the connection, or cannot be reached", True
    if isinstance(error, urllib3.exceptions.ProtocolError):
        return errors.TransportError, "the connection was lost before the whole answer arrived", True
    # What the operating system said, without the request that a library repeats around it.
    of_system = (cause for cause in causes if isinstance(cause, OSError))
    said = (cause for cause in of_system if not isinstance(cause, requests.RequestException))
    reasons = (str(cause.strerror or cause)[:200] for cause in said)
    return errors.TransportError, next(reasons, type(error).__name__), True


def _describe_tls(
    error: Exception, causes: Sequence[BaseException]
) -> tuple[type[errors.TransportError], str, bool]:
    cause = next((error for error in causes if isinstance(error, ssl.SSLError)), None)
    if "certificate" in str(error).lower():
        reason = getattr(cause, "verify_message", "") or "reason unknown"
        return errors.TLSError, f"the server's certificate is not accepted: {reason}", False
    # OpenSSL's reasons where what answered the handshake was no TLS at all.
    if cause is not None and cause.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST"):
        return errors.PlainHttpError, "the server speaks http, not https, on this port", False
    return errors.TransportError, "the TLS connection failed", True


def _causes(error: BaseException) -> list[BaseException]:
    """Return an error and what caused it, the innermost first; a context may be an earlier request's."""
    inner = [*error.args, error.__cause__, getattr(error, "reason", None)]
    found = [cause for error in inner if isinstance(error, BaseException) for cause in _causes(error)]
    return [*found, error]
