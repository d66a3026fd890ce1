"""What HTTP libraries raise when no answer comes, in our words: they repeat URLs, a proxy's too."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass

from airflow_provider_trigger.api.errors import AnswerTimeoutError, PlainHttpError, TLSError, TransportError

CONNECT_TIMEOUT = 10.0
"""How long to wait for a connection at most, in seconds."""

Errors = tuple[type[Exception], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ErrorClasses:
    """By which classes a library says what went wrong."""

    own: Errors
    tls: Errors
    tls_is_cause: bool
    invalid_url: Errors
    proxy: Errors
    connect_timeout: Errors
    no_connection: Errors
    timeout: Errors
    lost: Errors


def transport_error(error: Exception, where: str, timeout: float, known: ErrorClasses) -> TransportError:
    """Return the error to raise."""
    kind, reason, retryable = _describe(error, timeout, known)
    # All that no other try can change is found before anything is sent.
    was_sent = retryable and not _is_unconnected(error, known)
    return kind(f"{where}: {reason}", reason=reason, retryable=retryable, was_sent=was_sent)


def _is_unconnected(error: Exception, known: ErrorClasses) -> bool:
    # Not the error's context, which may be an earlier request's.
    parts = [error, *error.args]
    parts += [getattr(part, "reason", None) for part in parts]
    return any(isinstance(part, known.connect_timeout + known.no_connection) for part in parts)


def _describe(
    error: Exception, timeout: float, known: ErrorClasses
) -> tuple[type[TransportError], str, bool]:
    """Return the kind of the error to raise, its reason, and whether trying again may succeed."""
    if isinstance(error, known.connect_timeout):
        return TransportError, f"no connection within {_shown(min(CONNECT_TIMEOUT, timeout))} s", True
    if isinstance(error, known.timeout):
        return AnswerTimeoutError, f"no answer within {_shown(timeout)} s", True
    is_tls = any(isinstance(one, known.tls) for one in (_causes(error) if known.tls_is_cause else [error]))
    if is_tls and "certificate" in str(error).lower():
        return TLSError, f"the server's certificate is not accepted: {_certificate_reason(error)}", False
    if is_tls and _speaks_http(error):
        return PlainHttpError, "the server speaks http, not https, on this port", False
    if isinstance(error, OSError) and not isinstance(error, known.own):
        return TLSError, str(error)[:200], False  # so the drivers report that the CA file is gone
    if isinstance(error, known.invalid_url):
        # They repeat the URL: a proxy's may hold a password.
        reason = f"the URL or the proxy's URL is not valid ({type(error).__name__})"
        return TransportError, reason, False
    if is_tls:
        return TransportError, "the TLS connection failed", True
    reasons: dict[Errors, str] = {
        known.proxy: "the proxy rejected the connection, or cannot be reached",
        known.lost: "the connection was lost before the whole answer arrived",
    }
    found = (reason for kinds, reason in reasons.items() if isinstance(error, kinds))
    return TransportError, next(found, None) or _innermost(error, known), True


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


def _innermost(error: BaseException, known: ErrorClasses) -> str:
    """Return what the operating system said, without the request that a library repeats around it."""
    for cause in _causes(error):
        if isinstance(cause, OSError) and not isinstance(cause, known.own):
            return _system_text(cause)[:200]
    return type(error).__name__


def _system_text(error: OSError) -> str:
    # asyncio names the address instead of what went wrong; negative numbers are those of name resolution.
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return str(error.strerror or error)


def _causes(error: BaseException) -> list[BaseException]:
    """Return the errors within an error, the innermost first."""
    found: list[BaseException] = []
    open_ones: list[object] = [error]
    while open_ones:
        one = open_ones.pop()
        if isinstance(one, BaseException) and one not in found:
            found.insert(0, one)
            parts = one.exceptions if isinstance(one, BaseExceptionGroup) else ()
            open_ones += [*one.args, *parts, one.__cause__, one.__context__, getattr(one, "reason", None)]
    return found
