from __future__ import annotations

import copy
import pickle

import pytest

from airflow_provider_trigger.api import errors
from airflow_provider_trigger.api.endpoints import Response


@pytest.mark.parametrize(
    ("error", "parent"),
    [
        (errors.NotSentError, errors.TriggerDevError),
        (errors.TransportError, errors.TriggerDevError),
        (errors.TLSError, errors.TransportError),
        (errors.UnexpectedAnswerError, errors.TriggerDevError),
        (errors.ResponseError, errors.TriggerDevError),
        (errors.RedirectError, errors.ResponseError),
        (errors.AuthenticationError, errors.ResponseError),
        (errors.PermissionDeniedError, errors.ResponseError),
        (errors.NotFoundError, errors.ResponseError),
        (errors.RateLimitError, errors.ResponseError),
        (errors.ServerError, errors.ResponseError),
    ],
)
def test_the_tree_is_the_one_that_is_drawn(error: type[Exception], parent: type[Exception]) -> None:
    assert error.__bases__ == (parent,)
    assert error.__name__ in (errors.__doc__ or "")


def response_error(request_id: str | None) -> errors.ResponseError:
    return errors.ServerError(
        method="GET",
        path="/api/v3/runs/run_1",
        status=503,
        detail="busy",
        request_id=request_id,
        retryable=True,
    )


def answer_of(kind: type[errors.ResponseError], status: int) -> errors.ResponseError:
    return kind(method="GET", path="/", status=status, detail="no", request_id=None, retryable=False)


def test_a_response_error_tells_method_path_status_message_and_request_id() -> None:
    error = response_error("req_7")
    assert str(error) == "GET /api/v3/runs/run_1 answered 503: busy (request req_7)"
    assert (error.method, error.path, error.status) == ("GET", "/api/v3/runs/run_1", 503)
    assert (error.detail, error.request_id, error.retryable) == ("busy", "req_7", True)


def test_a_response_error_without_a_request_id_names_none() -> None:
    assert str(response_error(None)) == "GET /api/v3/runs/run_1 answered 503: busy"


@pytest.mark.parametrize(
    ("kind", "retryable"),
    [
        (errors.TriggerDevError, False),
        (errors.NotSentError, False),
        (errors.TransportError, True),
        (errors.UnexpectedAnswerError, True),
    ],
)
def test_what_another_try_may_cure_unless_told_otherwise(
    kind: type[errors.TriggerDevError], retryable: bool
) -> None:
    assert kind("why").retryable is retryable
    assert kind("why", retryable=not retryable).retryable is not retryable
    assert (kind("why").message, str(kind("why")), kind("why").response) == ("why", "why", None)


@pytest.mark.parametrize(
    ("error", "is_foreign"),
    [
        (errors.NotSentError("stopped"), False),
        (errors.TransportError("refused"), False),
        (errors.TransportError("no such URL", retryable=False), True),
        (errors.TLSError("not accepted", retryable=False), True),
        (errors.UnexpectedAnswerError("a page"), True),
        (response_error(None), False),
        (answer_of(errors.RedirectError, 302), True),
        (answer_of(errors.AuthenticationError, 401), False),
        (answer_of(errors.ResponseError, 400), False),
        (answer_of(errors.ResponseError, 404), True),
        (answer_of(errors.NotFoundError, 404), False),
    ],
)
def test_what_looks_as_if_no_trigger_dev_server_was_there(
    error: errors.TriggerDevError, is_foreign: bool
) -> None:
    assert errors.is_foreign(error) is is_foreign


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "error",
    [
        errors.NotSentError("stopped", retryable=True),
        errors.TLSError("not accepted", retryable=False),
        response_error("req_7"),
        answer_of(errors.NotFoundError, 404),
    ],
)
def test_an_error_can_go_to_another_process(error: errors.TriggerDevError, protocol: int) -> None:
    error.response = Response(status=404, headers={"date": "today"}, body=b"{}")
    error.add_note("a note")
    copied = pickle.loads(pickle.dumps(error, protocol))
    assert type(copied) is type(error)
    assert (str(copied), copied.args, vars(copied)) == (str(error), error.args, vars(error))
    assert str(copy.copy(error)) == str(error)
