from __future__ import annotations

import pytest

from airflow_provider_trigger.api import errors


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
