"""What the Test button says, and what an error of the API says of its connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import requests

from airflow_provider_trigger.api.errors import (
    NotSentError,
    PermissionDeniedError,
    PlainHttpError,
    ResponseError,
    ServerError,
    TLSError,
    TransportError,
    TriggerDevError,
)
from airflow_provider_trigger.hooks.diagnosis import action_for, add_connection, meaning
from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook

KEY = "tr_prod_marker_of_the_test"
URL = "https://trigger.test"
ACCEPTED = f"Connected to {URL}; the secret key is accepted"
NOTE = f"{ACCEPTED}. The list of runs, which canceling does not need, failed: "
FOREIGN = f"{URL} is not a Trigger.dev server"
LIST = "GET /api/v1/runs"
PROBE = "GET /api/v3/runs/run_of_the_connection_test"
LISTED = f"{LIST}?page%5Bsize%5D=10"
UNKNOWN_RUN = (404, {"error": "Not found"})
NO_ANSWER = requests.ReadTimeout()
NO_CONNECTION = (
    f"{URL} could not be reached: %s; check host, port and 'proxy' of this connection, and whether the server"
    " runs"
)


@pytest.fixture
def press(connect_as, wire, answer):
    """Press the button where the list of runs, and a status check, are answered so; return what it shows."""

    def run(listed: Any, checked: Any = None, **fields: Any) -> tuple[bool, str]:
        def script(request: requests.PreparedRequest) -> Any:
            found = listed if "/api/v1/runs" in str(request.url) else checked
            return found if isinstance(found, Exception) else answer(*found)

        wire.script = script
        works, text = connect_as(**fields).test_connection()
        assert KEY not in text
        return works, text

    return run


def test_one_cheap_request_is_enough(press, wire) -> None:
    assert press((200, {"data": []})) == (True, ACCEPTED)
    assert wire.targets == [LISTED]
    assert max(wire.options[0]["timeout"]) == 10


def test_a_shorter_timeout_of_the_connection_counts(press, wire) -> None:
    press((200, {"data": []}), extra={"timeout": 3})
    assert max(wire.options[0]["timeout"]) == 3


@pytest.mark.parametrize(
    ("listed", "text"),
    [
        (
            (401, {"error": "Invalid API key"}),
            f"{URL} rejected the secret key: {LIST} answered 401: Invalid API key; "
            "check the password of this connection",
        ),
        (
            (429, {"error": "slow down"}),
            f"The rate limit of {URL} is used up: {LIST} answered 429: slow down",
        ),
        ((200, b"<html>", {"content-type": "text/html"}), f"{FOREIGN}: {LIST} answered 200 without"),
        ((200, {"products": []}), f"{FOREIGN}: {LIST} answered JSON without"),
        ((404, b"<html>"), f"{FOREIGN}: {LIST} answered 404: "),
        ((404, {"message": "no route"}), f"{FOREIGN}: {LIST} answered 404: "),
        (
            (302, b"", {"location": "https://login.test"}),
            f"{FOREIGN}: {LIST} answered 302: a redirect to https://login.test",
        ),
        (requests.ConnectionError("refused"), NO_CONNECTION % "ConnectionError"),
        (requests.ConnectTimeout(), NO_CONNECTION % "no connection within 10 s"),
        (requests.exceptions.SSLError("bad certificate"), f"No TLS connection to {URL}: "),
        ((400, {"error": "no"}), f"{URL} failed: {LIST} answered 400: no"),
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
PASSWORD = "check the password of this connection"


@pytest.mark.parametrize(
    ("password", "branch", "action"),
    [
        ("tr_preview_x", None, PREVIEW),
        ("tr_preview_x", " ", PREVIEW),
        ("tr_preview_x", "main", PASSWORD),
        ("tr_prod_x", None, PASSWORD),
        ("tr_prod_tr_preview_x", None, PASSWORD),
    ],
)
def test_a_preview_key_needs_a_branch(press, password: str, branch: str | None, action: str) -> None:
    works, shown = press((401, {"error": "Invalid"}), password=password, extra={"branch": branch})
    assert not works
    assert shown == f"{URL} rejected the secret key: {LIST} answered 401: Invalid; {action}"


@pytest.mark.parametrize(
    ("listed", "failed"),
    [
        *(
            ((status, {"error": "it is down"}), f"{LIST} answered {status}: it is down")
            for status in (403, 500, 502, 503)
        ),
        (NO_ANSWER, "no answer within 10 s"),
    ],
)
@pytest.mark.parametrize(
    "checked", [UNKNOWN_RUN, (200, {"id": "run_of_the_connection_test", "status": "COMPLETED"})]
)
def test_a_list_that_fails_is_only_a_note_if_the_key_is_accepted(
    press, wire, listed: Any, failed: str, checked: Any
) -> None:
    assert press(listed, checked) == (True, NOTE + failed)
    assert wire.targets == [LISTED, PROBE]


@pytest.mark.parametrize(
    ("listed", "checked", "text"),
    [
        (
            (500, {"error": "down"}),
            (401, {"error": "Invalid API key"}),
            f"{URL} rejected the secret key: {PROBE} answered 401: Invalid API key; "
            "check the password of this connection",
        ),
        (
            (403, {"error": "no right"}),
            (403, {"error": "none at all"}),
            f"The secret key lacks a permission: {LIST} answered 403: no right; "
            "check the permissions of the key in the password of this connection. "
            f"A status check failed, too: {PROBE} answered 403: none at all",
        ),
        (
            (500, {"error": "down"}),
            NO_ANSWER,
            f"{URL} failed: {LIST} answered 500: down. A status check failed, too: no answer within 10 s",
        ),
        (
            NO_ANSWER,
            (503, {"error": "down"}),
            NO_CONNECTION % "no answer within 10 s"
            + f". A status check failed, too: {PROBE} answered 503: down",
        ),
        # Of another product: it does not show that the key is accepted.
        (
            (503, {"error": "down"}),
            (404, b"<html>"),
            f"{URL} failed: {LIST} answered 503: down. A status check failed, too: {PROBE} answered 404: (no "
            "content type, 6 bytes): this is not a Trigger.dev server, or a proxy stands in front of it",
        ),
    ],
)
def test_a_server_of_which_nothing_works_is_an_error(press, listed, checked, text: str) -> None:
    assert press(listed, checked) == (False, text)


@pytest.mark.parametrize(
    ("hook", "message"),
    [
        (
            lambda connect_as: connect_as(extra={"timeout": "soon"}),
            "Connection 'trigger_dev_default', field 'timeout': not a valid number of seconds, must be above",
        ),
        (
            lambda _: TriggerDevHook("no_such_connection"),
            "Connection 'no_such_connection' was not found; create it ",
        ),
    ],
)
def test_a_connection_that_is_invalid_or_missing_is_named_without_a_request(
    connect_as, wire, hook: Callable[..., TriggerDevHook], message: str
) -> None:
    works, shown = hook(connect_as).test_connection()
    assert not works
    assert shown.startswith(message)
    assert not wire.sent


# Errors of calls


def refused() -> TransportError:
    return TransportError("GET /p to trigger.test: Connection refused", reason="Connection refused")


def response_error(status: int, detail: str) -> ResponseError:
    kind = {500: ServerError, 403: PermissionDeniedError}.get(status, ResponseError)
    error = kind(method="POST", path="/p", status=status, detail=detail, request_id="req_1", retryable=False)
    error.tries = 6
    return error


FULL = "Cannot trigger resize as the queue size limit for this environment has been reached. The maximum is 5"
NO_CREDITS = "You can't trigger a task because you have run out of credits."
OF_STARTS = [
    (403, "no", "; check the permissions of the key in the password of the connection"),
    (422, FULL, "; the queue is full, which passes: the task's retries may cure it"),
    (
        422,
        NO_CREDITS,
        "; the credits of its plan are used up: once there are more, the task's retries may cure it",
    ),
    (422, "Too many tags", ""),
    (400, FULL, ""),
    (
        500,
        "Failed to upload large payload to object store",
        "; it answered so 6 times: without an object store the server takes payloads below 512 KB only",
    ),
]
SERVER_DOWN = "check host, port and 'proxy' of the connection, and whether the server runs"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        *(
            (
                response_error(status, detail),
                f"Connection 'mine' to {URL}: POST /p answered {status}: {detail} (request req_1){what}",
            )
            for status, detail, what in OF_STARTS
        ),
        (
            TLSError("GET /p to trigger.test: bad certificate", reason="bad certificate"),
            "Connection 'mine': GET /p to trigger.test: bad certificate; "
            "check the host of the connection, and for a private CA set 'verify' in its extra",
        ),
        (
            PlainHttpError("GET /p to trigger.test: no TLS", reason="no TLS"),
            "Connection 'mine': GET /p to trigger.test: no TLS; "
            "write http:// in the host of the connection, or give the port for https",
        ),
        (refused(), f"Connection 'mine': {refused()}; {SERVER_DOWN}"),
        (
            NotSentError("the server stopped responding", last_error=refused()),
            f"Connection 'mine': the server stopped responding; last error: {refused()}; {SERVER_DOWN}",
        ),
        (
            NotSentError("the server stopped responding", last_error=response_error(500, "oops")),
            f"Connection 'mine' to {URL}: the server stopped responding; last error: "
            f"{response_error(500, 'oops')}",
        ),
    ],
)
def test_an_error_names_connection_and_server_once_and_says_what_to_do(
    settings, error: TriggerDevError, text: str
) -> None:
    add_connection(error, settings(host=URL))
    assert (str(error), error.message, error.args) == (text, text, (text,))
    assert (text.count("'mine'"), text.count("trigger.test")) == (1, 1)


def test_what_to_do_about_an_error_of_a_run_names_the_connection(settings) -> None:
    expected = "check host, port and 'proxy' of connection 'mine', and whether the server runs"
    assert action_for(refused(), settings(host=URL)) == expected
    stopped = NotSentError("the server stopped responding", last_error=refused())
    assert action_for(stopped, settings(host=URL)) == expected


@pytest.mark.parametrize("error", [response_error(500, "oops"), NotSentError("the time limit was reached")])
def test_nothing_is_added_where_nothing_can_be_done(settings, error: TriggerDevError) -> None:
    assert action_for(error, settings(host=URL)) is None
    assert meaning(error, settings(host=URL)) == f"{URL} failed: {error}"
