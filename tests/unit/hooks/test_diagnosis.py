"""What the Test button says, and what an error of the API or of the libraries below says of it."""

from __future__ import annotations

import ssl
from typing import Any

import pytest
import requests
import urllib3
from urllib3.exceptions import MaxRetryError

from airflow_provider_trigger.api.errors import AnswerTimeoutError, PlainHttpError, TLSError, TransportError
from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook

KEY = "tr_prod_marker_of_the_test"
PASSWORD = "check the password of this connection"
NO_RIGHT = ": the key may lack the right read:runs"
URL = "https://trigger.test"
ACCEPTED = f"Connected to {URL}; the secret key is accepted"
FOREIGN = f"{URL} is not a Trigger.dev server"
HOST = "; check the host of the connection"
LIST = "GET /api/v1/runs"
LISTED = f"{LIST}?page%5Bsize%5D=10"
NO_CONNECTION = (
    f"{URL} could not be reached: %s; check host, port and 'proxy' of this connection, and whether the server"
    " runs"
)


@pytest.fixture
def press(connect_as, wire, answer):
    """Press the button where the list of runs is answered so; return what it shows."""

    def run(listed: Any, **fields: Any) -> tuple[bool, str]:
        wire.script = lambda _: listed if isinstance(listed, Exception) else answer(*listed)
        works, text = connect_as(**fields).test_connection()
        assert KEY not in text
        return works, text

    return run


@pytest.mark.parametrize(("extra", "limit"), [({}, 10), ({"timeout": 3}, 3)])
def test_one_cheap_request_with_a_short_timeout_is_enough(press, wire, extra: Any, limit: float) -> None:
    assert press((200, {"data": [], "pagination": {}}), extra=extra) == (True, ACCEPTED)
    assert wire.targets == [LISTED]
    assert max(wire.options[0]["timeout"]) == limit


@pytest.mark.parametrize(
    ("listed", "text"),
    [
        ((401, {"error": "no"}), f"{URL} rejected the secret key: {LIST} answered 401: no; {PASSWORD}"),
        ((200, b"<html>", {"content-type": "text/html"}), f"{FOREIGN}: {LIST} answered 200 without"),
        ((404, {"message": "no route"}), f"{FOREIGN}: {LIST} answered 404: "),
        ((302, b"", {"location": "https://a.test"}), f"{FOREIGN}: {LIST} answered 302: a redirect to "),
        (requests.ConnectTimeout(), NO_CONNECTION % "no connection within 10 s"),
        (requests.exceptions.SSLError("bad certificate"), f"No TLS connection to {URL}: "),
        ((400, {"error": "no"}), f"{URL} failed: {LIST} answered 400: no"),
        ((500, {"error": "down"}), f"{URL} failed: {LIST} answered 500: down"),
        ((403, {"error": "no"}), f"The secret key lacks a permission: {LIST} answered 403: no{NO_RIGHT}; "),
        (requests.ReadTimeout(), NO_CONNECTION % "no answer within 10 s"),
    ],
)
def test_a_problem_is_named_with_what_to_do_and_not_repeated(press, wire, listed: Any, text: str) -> None:
    works, shown = press(listed)
    assert not works
    assert shown.startswith(text)
    assert shown.endswith("; check the host of this connection") is text.startswith(FOREIGN)
    # A 401 may be a gateway's.
    assert wire.targets == [LISTED] * (2 if "rejected" in text else 1)


PREVIEW = "a preview key (tr_preview_…) needs a branch: set 'branch' in the extra of this connection"


@pytest.mark.parametrize(
    ("password", "branch", "action"),
    [("tr_preview_x", " ", PREVIEW), ("tr_preview_x", "main", PASSWORD), ("tr_prod_tr_pre", None, PASSWORD)],
)
def test_a_preview_key_needs_a_branch(press, password: str, branch: str | None, action: str) -> None:
    works, shown = press((401, {"error": "Invalid"}), password=password, extra={"branch": branch})
    assert not works
    assert shown == f"{URL} rejected the secret key: {LIST} answered 401: Invalid; {action}"


def test_a_connection_that_is_invalid_or_missing_is_named_without_a_request(connect_as, wire) -> None:
    works, shown = connect_as(extra={"timeout": "soon"}).test_connection()
    invalid = "Connection 'trigger_dev_default', field 'timeout': must be a number of seconds "
    assert (works, shown) == (False, f"{invalid}above 0, up to one year")
    works, shown = TriggerDevHook("no_such_connection").test_connection()
    assert (works, shown.partition(";")[0]) == (False, "Connection 'no_such_connection' was not found")
    assert not wire.sent


# Errors of calls

RUN = "GET /api/v3/runs/run_1"


@pytest.mark.parametrize(
    ("reply", "end"),
    [
        ((403, {"error": "no"}), "; check the permissions of the key in the password of the connection"),
        ((200, b"<html>"), "; check the host of the connection"),
        ((400, {"error": "no"}), " answered 400: no"),
        *(
            ((302, b"x" * 9999, {"location": target}), f"a redirect to {target[:200]}, not followed{HOST}")
            for target in ("https://evil.test/", "http://[::1", "x" * 99_999)
        ),
    ],
)
def test_an_error_names_the_connection_and_what_to_do(connect_as, wire, answer, reply: Any, end: str) -> None:
    wire.script = lambda _: answer(*reply)
    with pytest.raises(Exception, match=RUN) as raised:
        connect_as(extra={"retry_for": 0}).get_run("run_1")
    text = str(raised.value)
    assert text.startswith(f"Connection 'trigger_dev_default' to {URL}: {RUN}")
    assert text.endswith(end)
    assert (text.count("'trigger_dev_default'"), text.count("trigger.test")) == (1, 1)
    assert len(wire.sent) == 1


PROXY_PASSWORD = "hunter2"


def with_cause(error: Exception, **causes: BaseException) -> Exception:
    for name, cause in causes.items():
        setattr(error, f"__{name}__", cause)
    return error


def max_retries(reason: Exception) -> Exception:
    """What urllib3 wraps around each error, and repeats the URL in."""
    return MaxRetryError(None, f"http://user:{PROXY_PASSWORD}@proxy.test", reason)  # type: ignore[arg-type]  # without a pool


def certificate_error() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "self-signed certificate"
    return error


def tls_error(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, f"[SSL: {reason}] (_ssl.c:1006)")
    error.reason = reason
    return error


known = requests.exceptions
REFUSED = ConnectionRefusedError(111, "Connection refused")
NO_BUNDLE = "Could not find a suitable TLS CA certificate bundle: /gone.pem"
NO_ANSWER = "no answer within 7.1 s"
LONG = "Tunnel failed: " + "x" * 999
NO_PROXY = "the proxy rejected the connection, or cannot be reached"
NO_ROUTE = with_cause(OSError("outer"), cause=OSError(113, "No route to host"))
LOST = "the connection was lost before the whole answer arrived"
NO_TLS = "the TLS connection failed"
READ_TIMEOUT = urllib3.exceptions.ReadTimeoutError(urllib3.HTTPSConnectionPool("h"), "/", "")
NEW_CONNECTION = urllib3.exceptions.NewConnectionError(None, "x")  # type: ignore[arg-type]  # without a connection
DOWN = "check host, port and 'proxy' of the connection, and whether the server runs"
ACTIONS = {
    TLSError: "check the host of the connection, and for a private CA set 'verify' in its extra",
    PlainHttpError: "write http:// in the host of the connection, or give the port for https",
    AnswerTimeoutError: DOWN,
    TransportError: DOWN,
}

# What the libraries raise, what becomes of it, and the reason that is given.
FINAL: list[tuple[Exception, type[TransportError], str]] = [
    (
        known.SSLError(max_retries(certificate_error())),
        TLSError,
        "the server's certificate is not accepted: self-signed certificate",
    ),
    (
        known.SSLError(max_retries(tls_error("WRONG_VERSION_NUMBER"))),
        PlainHttpError,
        "the server speaks http, not https, on this port",
    ),
    (OSError(NO_BUNDLE), TLSError, NO_BUNDLE),
    *(
        (error, TransportError, f"the URL or the proxy's URL is not valid ({type(error).__name__})")
        for error in (
            known.InvalidURL(f"https://u:{PROXY_PASSWORD}@x"),
            urllib3.exceptions.LocationParseError("a..b"),
        )
    ),
]
UNSENT: list[tuple[Exception, type[TransportError], str]] = [
    (known.ConnectTimeout(), TransportError, "no connection within 7.1 s"),
    (known.ProxyError(max_retries(NEW_CONNECTION)), TransportError, NO_PROXY),
]
SENT: list[tuple[Exception, type[TransportError], str]] = [
    (known.SSLError(max_retries(tls_error("TLSV1_ALERT"))), TransportError, NO_TLS),
    (urllib3.exceptions.SSLError("bad record"), TransportError, NO_TLS),
    (known.ReadTimeout(), AnswerTimeoutError, NO_ANSWER),
    (READ_TIMEOUT, AnswerTimeoutError, NO_ANSWER),
    # The context may be an error of an earlier request.
    (with_cause(known.ReadTimeout(), context=NEW_CONNECTION), AnswerTimeoutError, NO_ANSWER),
    (known.ProxyError(max_retries(REFUSED)), TransportError, NO_PROXY),
    (urllib3.exceptions.ProtocolError(), TransportError, LOST),
    (known.ConnectionError(max_retries(REFUSED)), TransportError, "Connection refused"),
    (known.ConnectionError(max_retries(OSError(LONG))), TransportError, LONG[:200]),
    (known.ConnectionError(max_retries(NO_ROUTE)), TransportError, "No route to host"),
    (urllib3.exceptions.HTTPError("odd"), TransportError, "HTTPError"),
]


@pytest.mark.parametrize(
    ("raised", "kind", "reason", "retryable", "was_sent"),
    [(*row, rows is not FINAL, rows is SENT) for rows in (FINAL, UNSENT, SENT) for row in rows],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_an_error_of_the_libraries_is_put_into_our_words(
    connect_as, wire, assert_hides, raised: Exception, kind: type[TransportError], reason, retryable, was_sent
) -> None:
    wire.script = lambda _: raised
    with pytest.raises(TransportError) as caught:
        connect_as(extra={"retry_for": 0, "timeout": 7.08}).get_run("run_1")
    error = caught.value
    assert type(error) is kind
    words = f"{RUN} to trigger.test: {reason}; {ACTIONS[kind]}"
    assert str(error) == f"Connection 'trigger_dev_default': {words}"
    assert (error.reason, error.retryable) == (reason, retryable)
    assert (error.was_sent, error.may_have_arrived) == (was_sent, was_sent)
    assert_hides(error, PROXY_PASSWORD)
