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
from airflow_provider_trigger.api.transport_errors import CONNECT_TIMEOUT, transport_error

known = requests.exceptions
PROXY_PASSWORD = "hunter2"


def with_context(error: Exception, context: BaseException) -> Exception:
    error.__context__ = context
    return error


def with_cause(error: Exception, cause: BaseException) -> Exception:
    error.__cause__ = cause
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


@pytest.mark.parametrize(
    ("raised", "kind", "reason", "retryable"),
    [
        # TLS
        (
            known.SSLError(max_retries(certificate_error())),
            TLSError,
            "the server's certificate is not accepted: self-signed certificate",
            False,
        ),
        (
            known.SSLError("bad CERTIFICATE"),
            TLSError,
            "the server's certificate is not accepted: reason unknown",
            False,
        ),
        (known.SSLError(max_retries(tls_error("WRONG_VERSION_NUMBER"))), PlainHttpError, SPEAKS_HTTP, False),
        (known.SSLError(max_retries(tls_error("RECORD_LAYER_FAILURE"))), PlainHttpError, SPEAKS_HTTP, False),
        (known.SSLError(max_retries(tls_error("HTTP_REQUEST"))), PlainHttpError, SPEAKS_HTTP, False),
        (
            known.SSLError(max_retries(tls_error("TLSV1_ALERT"))),
            TransportError,
            "the TLS connection failed",
            True,
        ),
        (known.SSLError("EOF occurred"), TransportError, "the TLS connection failed", True),
        (urllib3.exceptions.SSLError("bad record"), TransportError, "the TLS connection failed", True),
        (
            OSError("Could not find a suitable TLS CA certificate bundle: /gone.pem"),
            TLSError,
            "Could not find a suitable TLS CA certificate bundle: /gone.pem",
            False,
        ),
        (OSError("x" * 999), TLSError, "x" * 200, False),
        # URLs that nothing can be sent to
        (
            known.InvalidURL(f"https://u:{PROXY_PASSWORD}@x"),
            TransportError,
            "the URL or the proxy's URL is not valid (InvalidURL)",
            False,
        ),
        (
            urllib3.exceptions.LocationParseError("a..b"),
            TransportError,
            "the URL or the proxy's URL is not valid (LocationParseError)",
            False,
        ),
        # Time
        (known.ConnectTimeout(), TransportError, "no connection within 7.1 s", True),
        (known.ReadTimeout(), AnswerTimeoutError, "no answer within 7.1 s", True),
        (known.Timeout(), AnswerTimeoutError, "no answer within 7.1 s", True),
        (
            urllib3.exceptions.ReadTimeoutError(urllib3.HTTPSConnectionPool("h"), "/", ""),
            AnswerTimeoutError,
            "no answer within 7.1 s",
            True,
        ),
        # Connections
        (
            known.ProxyError(max_retries(REFUSED)),
            TransportError,
            "the proxy rejected the connection, or cannot be reached",
            True,
        ),
        (
            urllib3.exceptions.ProtocolError(),
            TransportError,
            "the connection was lost before the whole answer arrived",
            True,
        ),
        (known.ConnectionError(max_retries(REFUSED)), TransportError, "Connection refused", True),
        (with_context(known.ConnectionError("x"), REFUSED), TransportError, "Connection refused", True),
        (with_cause(known.ConnectionError("x"), REFUSED), TransportError, "Connection refused", True),
        (
            known.ConnectionError(max_retries(OSError("Tunnel failed: " + "x" * 999))),
            TransportError,
            ("Tunnel failed: " + "x" * 999)[:200],
            True,
        ),
        (known.ConnectionError("Connection aborted."), TransportError, "ConnectionError", True),
        (urllib3.exceptions.HTTPError("odd"), TransportError, "HTTPError", True),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_an_error_of_the_libraries_is_put_into_our_words(
    raised: Exception, kind: type[TransportError], reason: str, retryable: bool
) -> None:
    error = transport_error(raised, "GET /x to trigger.test", 7.08)
    assert type(error) is kind
    assert str(error) == f"GET /x to trigger.test: {reason}"
    assert error.retryable is retryable
    assert PROXY_PASSWORD not in str(error)
    shown = {"message": str(error), "reason": reason, "retryable": retryable}
    assert vars(error) == shown | {"was_sent": error.was_sent}
    assert (error.__cause__, error.__context__) == (None, None)


NEW_CONNECTION = urllib3.exceptions.NewConnectionError(None, "x")  # type: ignore[arg-type]  # without a connection
NOT_SENT = [
    known.ConnectTimeout(),
    known.ConnectionError(max_retries(NEW_CONNECTION)),
    known.ProxyError(max_retries(NEW_CONNECTION)),
    known.SSLError(max_retries(certificate_error())),
    known.SSLError(max_retries(tls_error("HTTP_REQUEST"))),
    known.InvalidURL("https://a..b"),
    OSError("/gone.pem"),
]
PERHAPS_SENT = [
    known.ReadTimeout(),
    known.ConnectionError("Connection aborted."),
    known.ConnectionError(max_retries(REFUSED)),
    known.SSLError("EOF occurred"),
    urllib3.exceptions.ProtocolError(),
    with_context(known.ReadTimeout(), NEW_CONNECTION),  # of an earlier request
]


@pytest.mark.parametrize(
    ("raised", "was_sent"),
    [(raised, False) for raised in NOT_SENT] + [(raised, True) for raised in PERHAPS_SENT],
)
def test_without_a_connection_nothing_was_sent(raised: Exception, was_sent: bool) -> None:
    assert transport_error(raised, "POST /x", 7).was_sent is was_sent


@pytest.mark.parametrize(
    ("timeout", "connecting", "answering"),
    [(0.01, "0.1", "0.1"), (2.5, "2.5", "2.5"), (10.04, "10", "10"), (30.0, "10", "30")],
)
def test_a_timeout_says_how_long_was_waited(timeout: float, connecting: str, answering: str) -> None:
    assert CONNECT_TIMEOUT == 10
    error = transport_error(known.ConnectTimeout(), "GET /x", timeout)
    assert str(error) == f"GET /x: no connection within {connecting} s"
    error = transport_error(known.ReadTimeout(), "GET /x", timeout)
    assert str(error) == f"GET /x: no answer within {answering} s"


def test_of_several_causes_the_innermost_is_the_reason() -> None:
    outer = OSError("outer")
    outer.__context__ = OSError(113, "No route to host")
    error = transport_error(known.ConnectionError(max_retries(outer)), "GET /x", 7)
    assert str(error) == "GET /x: No route to host"


def test_causes_that_form_a_circle_have_an_end() -> None:
    first, second = known.ConnectionError("first"), known.ConnectionError("second")
    first.__context__, second.__context__ = second, first
    assert str(transport_error(first, "GET /x", 7)) == "GET /x: ConnectionError"
