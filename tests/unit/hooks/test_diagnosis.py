"""What the Test button says, and what an error of the API says of its connection."""

from __future__ import annotations

import ssl
from typing import Any

import pytest
import requests

from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook

KEY = "tr_prod_marker_of_the_test"
PASSWORD = "check the password of this connection"
NO_RIGHT = ": the key may lack the right read:runs"
URL = "https://trigger.test"
ACCEPTED = f"Connected to {URL}; the secret key is accepted"
FOREIGN = f"{URL} is not a Trigger.dev server"
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
    [
        ("tr_preview_x", " ", PREVIEW),
        ("tr_preview_x", "main", PASSWORD),
        ("tr_prod_tr_preview_x", None, PASSWORD),
    ],
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

DOWN = "check host, port and 'proxy' of the connection, and whether the server runs"
RUN = "GET /api/v3/runs/run_1"
REFUSED = requests.ConnectionError("refused")
NO_TLS = ssl.SSLError()
NO_TLS.reason = "WRONG_VERSION_NUMBER"


@pytest.mark.parametrize(
    ("reply", "server", "action"),
    [
        (
            (403, {"error": "no"}),
            f" to {URL}",
            "check the permissions of the key in the password of the connection",
        ),
        (
            requests.exceptions.SSLError("bad certificate"),
            "",
            "check the host of the connection, and for a private CA set 'verify' in its extra",
        ),
        (
            requests.exceptions.SSLError(NO_TLS),
            "",
            "write http:// in the host of the connection, or give the port for https",
        ),
        ((200, b"<html>"), f" to {URL}", "check the host of the connection"),
        (REFUSED, "", DOWN),
        ((400, {"error": "no"}), f" to {URL}", None),
    ],
)
def test_an_error_names_connection_and_server_once_and_says_what_to_do(
    connect_as, wire, answer, reply: Any, server: str, action: str | None
) -> None:
    wire.script = lambda _: reply if isinstance(reply, Exception) else answer(*reply)
    with pytest.raises(Exception, match=RUN) as raised:
        connect_as(extra={"retry_for": 0}).get_run("run_1")
    text = str(raised.value)
    assert text.startswith(f"Connection 'trigger_dev_default'{server}: {RUN}")
    assert text.endswith(f"; {action}" if action else " answered 400: no")
    assert (text.count("'trigger_dev_default'"), text.count("trigger.test")) == (1, 1)
