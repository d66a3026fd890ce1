"""What requests and urllib3 raise when no answer comes, in our words: they repeat URLs, a proxy's too."""

from __future__ import annotations

import ssl

import requests
import urllib3

from airflow_provider_trigger.api.errors import AnswerTimeoutError, TLSError, TransportError

CONNECT_TIMEOUT = 10.0
"""How long to wait for a connection at most, in seconds."""

_REASONS: dict[type[Exception], str] = {
    requests.exceptions.SSLError: "the TLS connection failed",
    requests.exceptions.ProxyError: "the proxy rejected the connection, or cannot be reached",
    # urllib3's own come from reading an answer's body.
    urllib3.exceptions.SSLError: "the TLS connection failed",
    urllib3.exceptions.ProtocolError: "the connection was lost before the whole answer arrived",
    urllib3.exceptions.DecodeError: "the answer cannot be decompressed",
}


def transport_error(error: Exception, where: str, timeout: float) -> TransportError:
    """
    Return the error to raise.

    :param error: what requests or urllib3 raised
    :param where: the request and the server, for the message
    :param timeout: how long the request could take, in seconds
    """
    kind, reason, retryable = _describe(error, timeout)
    return kind(f"{where}: {reason}", reason=reason, retryable=retryable)


def _describe(error: Exception, timeout: float) -> tuple[type[TransportError], str, bool]:
    """Return the kind of the error to raise, its reason, and whether trying again may succeed."""
    known = requests.exceptions
    if isinstance(error, known.SSLError) and "certificate" in str(error).lower():
        return TLSError, f"the server's certificate is not accepted: {_certificate_reason(error)}", False
    if isinstance(error, known.SSLError) and _speaks_http(error):
        return TLSError, "the server speaks http, not https, on this port", False
    if isinstance(error, OSError) and not isinstance(error, requests.RequestException):
        return TLSError, str(error)[:200], False  # so requests reports that the CA file is gone
    if isinstance(error, ValueError):
        # So both mark a URL that nothing can be sent to, and repeat it: a proxy's may hold a password.
        reason = f"the URL or the proxy's URL is not valid ({type(error).__name__})"
        return TransportError, reason, False
    if isinstance(error, known.ConnectTimeout):
        return TransportError, f"no connection within {_shown(min(CONNECT_TIMEOUT, timeout))} s", True
    if isinstance(error, (known.Timeout, urllib3.exceptions.TimeoutError)):
        return AnswerTimeoutError, f"no answer within {_shown(timeout)} s", True
    found = (reason for kind, reason in _REASONS.items() if isinstance(error, kind))
    return TransportError, next(found, None) or _innermost(error), True


def _shown(seconds: float) -> str:
    # Just before a deadline a request has only milliseconds.
    return f"{max(0.1, round(seconds, 1)):g}"


def _certificate_reason(error: BaseException) -> str:
    found = (
        cause.verify_message for cause in _causes(error) if isinstance(cause, ssl.SSLCertVerificationError)
    )
    return next(found, "reason unknown")


def _speaks_http(error: BaseException) -> bool:
    """Return whether what answered the handshake was no TLS at all."""
    reasons = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST")
    return any(isinstance(cause, ssl.SSLError) and cause.reason in reasons for cause in _causes(error))


def _innermost(error: BaseException) -> str:
    """Return what the operating system said, without the request that requests repeats around it."""
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
