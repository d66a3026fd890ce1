from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from airflow_provider_trigger.api.errors import (
    AnswerTimeoutError,
    NotSentError,
    PermissionDeniedError,
    PlainHttpError,
    ResponseError,
    ServerError,
    TLSError,
    TransportError,
    TriggerDevError,
)
from airflow_provider_trigger.api.http import Call, Response
from airflow_provider_trigger.hooks.diagnosis import action_for, add_connection, meaning, try_connection

URL = "https://trigger.test"
ACCEPTED = f"Connected to {URL}; the secret key is accepted"
FOREIGN = f"{URL} is not a Trigger.dev server"
LIST = "GET /api/v1/runs"
PROBE = "GET /api/v3/runs/run_of_the_connection_test"
UNKNOWN_RUN = (404, {"error": "Not found"})
HOST = "check the host of this connection"
NO_ANSWER = AnswerTimeoutError(
    f"{LIST} to trigger.test: no answer within 10 s", reason="no answer within 10 s"
)


FULL = "Cannot trigger resize as the queue size limit for this environment has been reached. The maximum is 5"
NO_CREDITS = "You can't trigger a task because you have run out of credits."
NO_STORE = "Failed to upload large payload to object store"
SHOWN = "POST /p answered %d: %s"
STARTS = [
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
        NO_STORE,
        "; it answered so 6 times: without an object store the server takes payloads below 512 KB only",
    ),
]


def response_error(status: int, detail: str) -> ResponseError:
    kind = ServerError if status == 500 else ResponseError
    error = kind(method="POST", path="/p", status=status, detail=detail, request_id=None, retryable=False)
    error.tries = 6
    return error


class Client:
    """Answers each call in turn, and keeps what was sent."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.sent: list[str] = []

    def call(self, call: Call[Any]) -> Any:
        request = call.request
        query = "".join(f"?{name}={value}" for name, value in request.params.items())
        self.sent.append(f"{request.method} {request.path}{query}")
        answer = self.answers.pop(0)
        if isinstance(answer, TriggerDevError):
            raise answer
        status, body, *headers = answer
        encoded = body if isinstance(body, bytes) else json.dumps(body).encode()
        return call.read(Response(status=status, headers=headers[0] if headers else {}, body=encoded))


@pytest.fixture
def press(settings):
    """Test a connection on a server with these answers; return what the button shows, and what was sent."""

    def run(*answers: Any, **fields: Any) -> tuple[bool, str, list[str]]:
        client: Any = Client(*answers)
        works, text = try_connection(client, settings(host=URL, **fields))
        assert not client.answers
        return works, text, client.sent

    return run


def test_one_cheap_request_is_enough(press) -> None:
    assert press((200, {"data": []})) == (True, ACCEPTED, [f"{LIST}?page[size]=10"])


PROBLEMS: dict[str, tuple[Any, str]] = {
    "rejected key": (
        (401, {"error": "Invalid API key"}),
        f"{URL} rejected the secret key: {LIST} answered 401: Invalid API key; "
        "check the password of this connection",
    ),
    "rate limit": (
        (429, {"error": "slow down"}),
        f"The rate limit of {URL} is used up: {LIST} answered 429: slow down",
    ),
    "page": (
        (200, b"<html>", {"content-type": "text/html"}),
        f"{FOREIGN}: {LIST} answered 200 without",
    ),
    "other JSON": (
        (200, {"products": []}),
        f"{FOREIGN}: {LIST} answered JSON without",
    ),
    "page with 404": ((404, b"<html>"), f"{FOREIGN}: {LIST} answered 404: "),
    "JSON with 404": (
        (404, {"message": "no route"}),
        f"{FOREIGN}: {LIST} answered 404: ",
    ),
    "redirect": (
        (302, b"", {"location": "https://login.test"}),
        f"{FOREIGN}: {LIST} answered 302: a redirect to https://login.test",
    ),
    "no connection": (
        TransportError(f"{LIST} to trigger.test: Connection refused", reason="Connection refused"),
        f"{URL} could not be reached: Connection refused; "
        "check host, port and 'proxy' of this connection, and whether the server runs",
    ),
    "certificate": (
        TLSError(f"{LIST} to trigger.test: bad certificate", reason="bad certificate"),
        f"No TLS connection to {URL}: bad certificate; "
        "check the host of this connection, and for a private CA set 'verify' in its extra",
    ),
    "other status": ((400, {"error": "no"}), f"{URL} failed: {LIST} answered 400: no"),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_problem_is_named_with_what_to_do(name: str, press) -> None:
    answer, text = PROBLEMS[name]
    works, shown, sent = press(answer)
    assert not works
    assert shown.startswith(text)
    assert shown.endswith(f"; {HOST}") is (text.startswith(FOREIGN))
    assert len(sent) == 1


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
    works, shown, _ = press((401, {"error": "Invalid"}), password=password, extra={"branch": branch})
    assert not works
    assert shown == f"{URL} rejected the secret key: {LIST} answered 401: Invalid; {action}"


# Where only the list of runs fails


@pytest.mark.parametrize("status", [403, 500, 502, 503])
def test_a_list_that_fails_is_only_a_note_if_the_key_is_accepted(press, status: int) -> None:
    works, shown, sent = press((status, {"error": "list is down"}), UNKNOWN_RUN)
    assert works
    assert shown == (
        f"{ACCEPTED}. The list of runs, which canceling does not need, failed: "
        f"{LIST} answered {status}: list is down"
    )
    assert sent == [f"{LIST}?page[size]=10", PROBE]


def test_a_list_that_takes_too_long_is_only_a_note_if_the_key_is_accepted(press) -> None:
    works, shown, sent = press(NO_ANSWER, UNKNOWN_RUN)
    assert works
    failed = "The list of runs, which canceling does not need, failed: no answer within 10 s"
    assert shown == f"{ACCEPTED}. {failed}"
    assert sent == [f"{LIST}?page[size]=10", PROBE]


def test_a_run_with_the_id_of_the_check_shows_that_the_key_is_accepted(press) -> None:
    run = {"id": "run_of_the_connection_test", "status": "COMPLETED", "taskIdentifier": "t"}
    works, shown, _ = press((503, {"error": "down"}), (200, run))
    assert works
    assert shown.startswith(f"{ACCEPTED}. The list of runs, which canceling does not need, failed: ")


def test_a_key_that_only_the_status_check_rejects_is_rejected(press) -> None:
    works, shown, _ = press((500, {"error": "down"}), (401, {"error": "Invalid API key"}))
    assert not works
    assert shown == (
        f"{URL} rejected the secret key: {PROBE} answered 401: Invalid API key; "
        "check the password of this connection"
    )


@pytest.mark.parametrize(
    ("listed", "checked", "text"),
    [
        (
            (503, {"error": "down"}),
            (503, {"error": "down, too"}),
            f"{URL} failed: {LIST} answered 503: down. "
            f"A status check failed, too: {PROBE} answered 503: down, too",
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
            NO_ANSWER,
            f"{URL} could not be reached: no answer within 10 s; "
            "check host, port and 'proxy' of this connection, and whether the server runs. "
            "A status check failed, too: no answer within 10 s",
        ),
        (
            NO_ANSWER,
            (503, {"error": "down"}),
            f"{URL} could not be reached: no answer within 10 s; "
            "check host, port and 'proxy' of this connection, and whether the server runs. "
            f"A status check failed, too: {PROBE} answered 503: down",
        ),
    ],
)
def test_a_server_of_which_nothing_works_is_an_error(press, listed, checked, text: str) -> None:
    works, shown, _ = press(listed, checked)
    assert not works
    assert shown == text


def test_a_404_of_another_product_does_not_show_that_the_key_is_accepted(press) -> None:
    works, shown, _ = press((503, b"<html>"), (404, b"<html>"))
    assert not works
    assert f"A status check failed, too: {PROBE} answered 404: " in shown


# Errors of calls


def server_error(text: str) -> ServerError:
    return ServerError(method="GET", path="/p", status=500, detail=text, request_id="req_1", retryable=True)


def test_an_error_names_its_connection(settings) -> None:
    error = server_error("oops")
    add_connection(error, settings(host=URL))
    text = f"Connection 'mine' to {URL}: GET /p answered 500: oops (request req_1)"
    assert (str(error), error.message, error.args) == (text, text, (text,))
    assert (error.detail, error.status, error.retryable) == ("oops", 500, True)


def refused() -> TransportError:
    return TransportError("GET /p to trigger.test: Connection refused", reason="Connection refused")


SERVER_DOWN = "check host, port and 'proxy' of the connection, and whether the server runs"


@pytest.mark.parametrize(
    ("fail", "text"),
    [
        (
            lambda: PermissionDeniedError(
                method="GET", path="/p", status=403, detail="no", request_id=None, retryable=False
            ),
            f"Connection 'mine' to {URL}: GET /p answered 403: no; "
            "check the permissions of the key in the password of the connection",
        ),
        *(
            (
                partial(response_error, status, detail),
                f"Connection 'mine' to {URL}: {SHOWN % (status, detail)}{what}",
            )
            for status, detail, what in STARTS
        ),
        (
            lambda: TLSError("GET /p to trigger.test: bad certificate", reason="bad certificate"),
            "Connection 'mine': GET /p to trigger.test: bad certificate; "
            "check the host of the connection, and for a private CA set 'verify' in its extra",
        ),
        (
            lambda: PlainHttpError("GET /p to trigger.test: no TLS", reason="no TLS"),
            "Connection 'mine': GET /p to trigger.test: no TLS; "
            "write http:// in the host of the connection, or give the port for https",
        ),
        (refused, f"Connection 'mine': {refused()}; {SERVER_DOWN}"),
        (
            lambda: NotSentError("the server stopped responding", last_error=refused()),
            f"Connection 'mine': the server stopped responding; last error: {refused()}; {SERVER_DOWN}",
        ),
        (
            lambda: NotSentError("the server stopped responding", last_error=server_error("oops")),
            f"Connection 'mine' to {URL}: the server stopped responding; last error: {server_error('oops')}",
        ),
    ],
)
def test_an_error_names_connection_and_server_once_and_says_what_to_do(
    settings, fail: Callable[[], TriggerDevError], text: str
) -> None:
    error = fail()
    add_connection(error, settings(host=URL))
    assert str(error) == text
    assert (text.count("'mine'"), text.count("trigger.test")) == (1, 1)


def test_what_to_do_about_an_error_of_a_run_names_the_connection(settings) -> None:
    expected = "check host, port and 'proxy' of connection 'mine', and whether the server runs"
    assert action_for(refused(), settings(host=URL)) == expected
    stopped = NotSentError("the server stopped responding", last_error=refused())
    assert action_for(stopped, settings(host=URL)) == expected


@pytest.mark.parametrize("error", [server_error("oops"), NotSentError("the time limit was reached")])
def test_nothing_is_added_where_nothing_can_be_done(settings, error: TriggerDevError) -> None:
    assert action_for(error, settings(host=URL)) is None
    assert meaning(error, settings(host=URL)) == f"{URL} failed: {error}"
