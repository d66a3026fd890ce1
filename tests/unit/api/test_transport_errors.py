from __future__ import annotations

import ssl

import pytest
import requests
import urllib3
from urllib3.exceptions import MaxRetryError

from airflow_provider_trigger.api.errors import (
    AnswerTimeoutError,
    PlainHttpError,
    TLSError,
    TransportError,
)
from airflow_provider_trigger.api.transport import transport_error

known = requests.exceptions
PROXY_PASSWORD = "hunter2"


def with_context(error: Exception, context: BaseException) -> Exception:
    error.__context__ = context
    return error


def max_retries(reason: Exception) -> Exception:
    """What urllib3 wraps around each error, and repeats the URL in."""
    return MaxRetryError(None, f"http://user:{PROXY_PASSWORD}@proxy.test", reason)  # type: ignore[arg-type]  # without a pool


def certificate_error(message: str = "self-signed certificate") -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = message
    return error


def tls_error(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, f"[SSL: {reason}] (_ssl.c:1006)")
    error.reason = reason
    return error


REFUSED = ConnectionRefusedError(111, "Connection refused")
SPEAKS_HTTP = "the server speaks http, not https, on this port"
NO_CERTIFICATE = "the server's certificate is not accepted: "
NO_BUNDLE = "Could not find a suitable TLS CA certificate bundle: /gone.pem"
INVALID_URL = "the URL or the proxy's URL is not valid"
NO_ANSWER = "no answer within 7.1 s"
LONG = "Tunnel failed: " + "x" * 999
READ_TIMEOUT = urllib3.exceptions.ReadTimeoutError(urllib3.HTTPSConnectionPool("h"), "/", "")

# What the libraries raise, what becomes of it, and the reason that is given.
FINAL: list[tuple[Exception, type[TransportError], str]] = [
    (known.SSLError(max_retries(certificate_error())), TLSError, f"{NO_CERTIFICATE}self-signed certificate"),
    (known.SSLError(max_retries(tls_error("WRONG_VERSION_NUMBER"))), PlainHttpError, SPEAKS_HTTP),
    (OSError(NO_BUNDLE), TLSError, NO_BUNDLE),
    (known.InvalidURL(f"https://u:{PROXY_PASSWORD}@x"), TransportError, f"{INVALID_URL} (InvalidURL)"),
    (urllib3.exceptions.LocationParseError("a..b"), TransportError, f"{INVALID_URL} (LocationParseError)"),
]
MAY_PASS: list[tuple[Exception, type[TransportError], str]] = [
    (known.SSLError(max_retries(tls_error("TLSV1_ALERT"))), TransportError, "the TLS connection failed"),
    (urllib3.exceptions.SSLError("bad record"), TransportError, "the TLS connection failed"),
    (known.ConnectTimeout(), TransportError, "no connection within 7.1 s"),
    (known.ReadTimeout(), AnswerTimeoutError, NO_ANSWER),
    (READ_TIMEOUT, AnswerTimeoutError, NO_ANSWER),
    (
        known.ProxyError(max_retries(REFUSED)),
        TransportError,
        "the proxy rejected the connection, or cannot be reached",
    ),
    (
        urllib3.exceptions.ProtocolError(),
        TransportError,
        "the connection was lost before the whole answer arrived",
    ),
    (known.ConnectionError(max_retries(REFUSED)), TransportError, "Connection refused"),
    (known.ConnectionError(max_retries(OSError(LONG))), TransportError, LONG[:200]),
    (urllib3.exceptions.HTTPError("odd"), TransportError, "HTTPError"),
]


@pytest.mark.parametrize(
    ("raised", "kind", "reason", "retryable"),
    [(*row, False) for row in FINAL] + [(*row, True) for row in MAY_PASS],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_an_error_of_the_libraries_is_put_into_our_words(
    raised: Exception, kind: type[TransportError], reason: str, retryable: bool
) -> None:
    error = transport_error(raised, "GET /x to trigger.test", 7.08)
    assert type(error) is kind
    assert str(error) == f"GET /x to trigger.test: {reason}"
    assert PROXY_PASSWORD not in str(error)
    was_sent = retryable and not isinstance(raised, known.ConnectTimeout)
    sent = {"was_sent": was_sent, "may_have_arrived": was_sent}
    assert vars(error) == {"message": str(error), "reason": reason, "retryable": retryable} | sent
    assert (error.__cause__, error.__context__) == (None, None)


NEW_CONNECTION = urllib3.exceptions.NewConnectionError(None, "x")  # type: ignore[arg-type]  # without a connection


def test_without_a_connection_nothing_was_sent() -> None:
    assert not transport_error(known.ProxyError(max_retries(NEW_CONNECTION)), "POST /x", 7).was_sent
    of_an_earlier_request = with_context(known.ReadTimeout(), NEW_CONNECTION)
    assert transport_error(of_an_earlier_request, "POST /x", 7).was_sent


def test_of_several_causes_the_innermost_is_the_reason() -> None:
    outer = OSError("outer")
    outer.__cause__ = OSError(113, "No route to host")
    error = transport_error(known.ConnectionError(max_retries(outer)), "GET /x", 7)
    assert str(error) == "GET /x: No route to host"
