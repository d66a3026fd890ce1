"""What requests and urllib3 raise when no answer comes, in our words: they repeat URLs, a proxy's too."""

from __future__ import annotations

import ssl

import requests
import urllib3

from airflow_provider_trigger.api.errors import AnswerTimeoutError, PlainHttpError, TLSError, TransportError

CONNECT_TIMEOUT = 10.0
"""How long to wait for a connection at most, in seconds."""

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
