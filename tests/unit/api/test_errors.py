from __future__ import annotations

import pytest

from airflow_provider_trigger.api import errors

CHILDREN: dict[type[Exception], list[type[Exception]]] = {
    Exception: [errors.TriggerDevError],
    errors.TriggerDevError: [
        errors.NotSentError,
        errors.TransportError,
        errors.UnexpectedAnswerError,
        errors.ResponseError,
    ],
    errors.TransportError: [errors.AnswerTimeoutError, errors.TLSError],
    errors.TLSError: [errors.PlainHttpError],
    errors.ResponseError: [
        errors.NotTriggerDevError,
        errors.AuthenticationError,
        errors.PermissionDeniedError,
        errors.NotFoundError,
        errors.RateLimitError,
        errors.ServerError,
    ],
    errors.NotTriggerDevError: [errors.RedirectError],
}


@pytest.mark.parametrize(
    ("error", "parent"), [(error, parent) for parent, children in CHILDREN.items() for error in children]
)
def test_the_tree_is_the_one_in_the_docstring(error: type[Exception], parent: type[Exception]) -> None:
    assert error.__bases__ == (parent,)
    assert error.__name__ in (errors.__doc__ or "")


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
