"""
The errors of the API, one tree.

::

    TriggerDevError
    ├── NotSentError            nothing was sent: stopped, out of time, or the id cannot be sent
    ├── TransportError          no answer: refused, cut off, timed out
    │   └── TLSError            the certificate or the handshake is at fault
    ├── UnexpectedAnswerError   an answer that is not Trigger.dev's: HTML, half a JSON, a missing field
    └── ResponseError           an answer that says no
        ├── RedirectError           3xx; never followed, it would carry the key elsewhere
        ├── AuthenticationError     401
        ├── PermissionDeniedError   403
        ├── NotFoundError           404
        ├── RateLimitError          429
        └── ServerError             5xx

No error carries the secret key, in its text or in an attribute.
"""

from __future__ import annotations

import copyreg
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_trigger.api.endpoints import Response


class TriggerDevError(Exception):
    """
    Something went wrong in talking to Trigger.dev.

    :param message: what, in one line
    :param retryable: whether another try may do better
    """

    def __init__(self, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.retryable = retryable
        # Set by the driver where there is one; the secret key is masked in it.
        self.response: Response | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        # An exception's own calls its class with the message alone, which is not enough for each of these.
        return copyreg.__newobj__, (type(self), *self.args), vars(self)  # type: ignore[attr-defined]


class NotSentError(TriggerDevError):
    """Nothing was sent: the work was stopped, its time is over, or the id cannot be put into a URL."""


class TransportError(TriggerDevError):
    """No answer came: the connection was refused, cut off or timed out."""

    def __init__(self, message: str, *, retryable: bool = True) -> None:
        super().__init__(message, retryable=retryable)


class TLSError(TransportError):
    """The server's certificate was not accepted, or the TLS handshake failed."""


class UnexpectedAnswerError(TriggerDevError):
    """The answer is not one that Trigger.dev gives: an HTML page, half a JSON, a missing field."""

    def __init__(self, message: str, *, retryable: bool = True) -> None:
        super().__init__(message, retryable=retryable)


class ResponseError(TriggerDevError):
    """
    The server answered, and it says no.

    :param method: the request's HTTP method
    :param path: the request's path, percent-encoded
    :param status: the HTTP status
    :param detail: the server's own message, cut to a sane length, without the secret key
    :param request_id: the server's id for the request, if it gave one
    :param retryable: whether another try may do better
    """

    def __init__(
        self, *, method: str, path: str, status: int, detail: str, request_id: str | None, retryable: bool
    ) -> None:
        request = f" (request {request_id})" if request_id else ""
        super().__init__(f"{method} {path} answered {status}: {detail}{request}", retryable=retryable)
        self.method = method
        self.path = path
        self.status = status
        self.detail = detail
        self.request_id = request_id


class RedirectError(ResponseError):
    """3xx. The server lives elsewhere, or a login page stands before it."""


class AuthenticationError(ResponseError):
    """401. The secret key is missing, wrong or revoked, or a preview key came without its branch."""


class PermissionDeniedError(ResponseError):
    """403. The key is known but may not do this."""


class NotFoundError(ResponseError):
    """404. There is no such run in this key's environment."""


class RateLimitError(ResponseError):
    """429. The environment's rate limit is used up."""


class ServerError(ResponseError):
    """5xx. The server could not answer."""


def is_foreign(error: TriggerDevError) -> bool:
    """
    Whether it looks as if no Trigger.dev server was there, so that any other request will end the same way.

    :param error: what a call ended with
    """
    if isinstance(error, ResponseError):
        return isinstance(error, RedirectError) or (type(error) is ResponseError and error.status == 404)
    if isinstance(error, TransportError):
        return not error.retryable
    return isinstance(error, UnexpectedAnswerError)
