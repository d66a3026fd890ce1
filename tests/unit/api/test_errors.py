from __future__ import annotations

import pytest

from airflow_provider_trigger.api import errors


@pytest.mark.parametrize(
    ("error", "parent"),
    [
        (errors.TriggerDevError, Exception),
        (errors.NotSentError, errors.TriggerDevError),
        (errors.TransportError, errors.TriggerDevError),
        (errors.AnswerTimeoutError, errors.TransportError),
        (errors.TLSError, errors.TransportError),
        (errors.UnexpectedAnswerError, errors.TriggerDevError),
        (errors.ResponseError, errors.TriggerDevError),
        (errors.PlainHttpError, errors.TLSError),
        (errors.NotTriggerDevError, errors.ResponseError),
        (errors.RedirectError, errors.NotTriggerDevError),
        (errors.AuthenticationError, errors.ResponseError),
        (errors.PermissionDeniedError, errors.ResponseError),
        (errors.NotFoundError, errors.ResponseError),
        (errors.RateLimitError, errors.ResponseError),
        (errors.ServerError, errors.ResponseError),
    ],
)
def test_the_tree_is_the_one_in_the_docstring(error: type[Exception], parent: type[Exception]) -> None:
    assert error.__bases__ == (parent,)
    assert error.__name__ in (errors.__doc__ or "")


def response_error(
    kind: type[errors.ResponseError], status: int, *, request_id: str | None = None, retryable: bool = False
) -> errors.ResponseError:
    return kind(
        method="GET",
        path="/api/v3/runs/run_1",
        status=status,
        detail="busy",
        request_id=request_id,
        retryable=retryable,
    )


@pytest.mark.parametrize(("request_id", "shown"), [("req_7", " (request req_7)"), (None, "")])
@pytest.mark.parametrize("retryable", [True, False])
def test_a_response_error_shows_method_path_status_message_and_request_id(
    retryable: bool, request_id: str | None, shown: str
) -> None:
    error = response_error(errors.ServerError, 503, request_id=request_id, retryable=retryable)
    assert str(error) == f"GET /api/v3/runs/run_1 answered 503: busy{shown}"
    assert vars(error) == {
        "message": str(error),
        "reason": str(error),
        "method": "GET",
        "path": "/api/v3/runs/run_1",
        "status": 503,
        "detail": "busy",
        "request_id": request_id,
        "retryable": retryable,
    }


@pytest.mark.parametrize(
    ("kind", "retryable"),
    [
        (errors.TriggerDevError, False),
        (errors.NotSentError, False),
        (errors.TransportError, True),
        (errors.AnswerTimeoutError, True),
        (errors.TLSError, True),
        (errors.UnexpectedAnswerError, True),
    ],
)
def test_which_errors_may_pass_unless_the_caller_says_otherwise(kind, retryable: bool) -> None:
    assert kind("why").retryable is retryable
    assert kind("why", retryable=not retryable).retryable is not retryable
    error = kind("why")
    assert (str(error), error.message, error.reason) == ("why", "why", "why")


def test_what_was_not_sent_names_the_last_error_and_keeps_it() -> None:
    last = errors.TransportError("GET /x to trigger.test: refused", reason="refused")
    error = errors.NotSentError("the server stopped responding", last_error=last)
    assert str(error) == "the server stopped responding; last error: GET /x to trigger.test: refused"
    assert (error.message, error.reason) == (str(error), "the server stopped responding")
    assert error.last_error is last
    assert errors.root_of(error) is last
    assert errors.root_of(last) is last
    assert errors.root_of(errors.NotSentError("stopped")).message == "stopped"
    assert (str(last), last.message, last.reason) == (last.message, str(last), "refused")
