"""
The errors of the API.

::

    TriggerDevError
    ├── NotSentError                  nothing was sent
    │   └── InvalidIdError            (also a ValueError)
    ├── TransportError                no answer came
    │   ├── AnswerTimeoutError
    │   └── TLSError
    │       └── PlainHttpError
    ├── OutdatedAnswerError           an answer came, of a replica that lags
    ├── UnexpectedAnswerError         an answer came that is not Trigger.dev's
    │   └── UnreadableAnswerError     it is Trigger.dev's, but cannot be read
    │       └── OversizeError
    └── ResponseError                 an answer came, with an error status
        ├── AuthenticationError       401
        ├── PermissionDeniedError     403
        ├── NotFoundError             404
        ├── RateLimitError            429
        ├── ServerError               5xx
        │   └── UnknownTokenError     500 for a waitpoint token
        └── NotTriggerDevError        any status, in an answer that is not Trigger.dev's
            └── RedirectError         3xx

No error carries the secret key or a response's body, in its text, in an attribute, or in a chained exception.
"""

from __future__ import annotations

import copyreg
from collections.abc import Callable
from typing import Any


class TriggerDevError(Exception):
    """
    A request to Trigger.dev failed.

    :param message: what failed and why, in one line
    :param reason: only why, for a text that names request and server already; None for the whole message
    :param retryable: whether trying again later may succeed
    """

    may_have_effect = False
    """
    Whether the request may have been carried out, so that another one would do it a second time.

    Only of a request without an idempotency key, which does something each time: such a start or replay.
    """

    may_have_arrived = False
    """
    Whether the request, or one that it repeats, may have reached the server, and was not rejected.

    For example after a lost connection, or a 502; not after a 401.
    """

    tries = 1
    """How many times the request was sent."""

    tries_allowed: float = 1
    """How many times a request is sent in total if each try fails like this."""

    server_wait: float | None = None
    """How long the server wants us to wait before the next try, in seconds; None if it does not say."""

    run_id: str | None = None
    """The run that the request was about, None where it was about none or several."""

    def __init__(self, message: str, *, reason: str | None = None, retryable: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.reason = message if reason is None else reason
        self.retryable = retryable

    def __reduce__(self) -> tuple[Any, ...]:
        # To copy and pickle it, without the arguments of its class.
        return copyreg.__newobj__, (type(self), *self.args), vars(self)  # type: ignore[attr-defined]

    def reword(self, message: str) -> None:
        """Replace the text, where a caller knows more."""
        self.message = message
        self.args = (message,)


ActionFor = Callable[[TriggerDevError], str | None]
"""Returns what to do about an error, None if its text says that already."""


class NotSentError(TriggerDevError):
    """
    Nothing was sent: a time limit was reached, or the server stopped responding.

    :param last_error: what the requests before it ended with, where that is why; the message names it
    """

    def __init__(
        self, reason: str, *, last_error: TriggerDevError | None = None, retryable: bool = False
    ) -> None:
        message = f"{reason}; last error: {last_error}" if last_error else reason
        super().__init__(message, reason=reason, retryable=retryable)
        self.last_error = last_error


class InvalidIdError(NotSentError, ValueError):
    """An id is not one that can be sent: not a string, empty, or of dots only."""


class TransportError(TriggerDevError):
    """
    No answer came: the connection was refused, lost or timed out. The message names the server.

    :param reason: what happened, without the request and the server
    :param was_sent: whether the server may have received the request; false where there was no connection
    """

    def __init__(
        self, message: str, *, reason: str | None = None, retryable: bool = True, was_sent: bool = True
    ) -> None:
        super().__init__(message, reason=reason, retryable=retryable)
        self.may_have_arrived = self.was_sent = was_sent


class AnswerTimeoutError(TransportError):
    """A connection was made, but no answer came in time."""


class TLSError(TransportError):
    """The server's certificate was not accepted, or the TLS handshake failed."""


class PlainHttpError(TLSError):
    """The URL begins with https, and the server speaks http on this port."""


class OutdatedAnswerError(TriggerDevError):
    """The answer shows a run as alive that has ended: a replica of the database lags (measured)."""

    def __init__(self, message: str) -> None:
        super().__init__(message, retryable=True)


class UnexpectedAnswerError(TriggerDevError):
    """The answer is not one that Trigger.dev gives: an HTML page, truncated JSON, a missing field."""

    may_have_arrived = True

    def __init__(self, message: str, *, retryable: bool = True) -> None:
        super().__init__(message, retryable=retryable)


class UnreadableAnswerError(UnexpectedAnswerError):
    """The answer comes from Trigger.dev, or its object store, but cannot be read."""


class OversizeError(UnreadableAnswerError):
    """
    The answer is longer than what is read; it was not read to its end.

    :param size: how many it has, None where the server did not say
    """

    def __init__(self, request: str, *, limit: int, size: int | None) -> None:
        text = (
            f"{request} answered more than {limit // 1024 // 1024} MB, which are not read: let the task have "
            "fewer child runs, or a smaller payload, output or metadata"
        )
        super().__init__(text, retryable=False)
        self.size = size


class ResponseError(TriggerDevError):
    """
    The server answered with an error status.

    :param method: the request's HTTP method
    :param path: the request's path, percent-encoded
    :param status: the HTTP status
    :param detail: the server's own message, cut to 300 characters, without the secret key
    :param request_id: the server's id for the request, None if it sent none
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
        # A gateway that has forwarded the request may answer so, or with 5xx.
        self.may_have_arrived |= status < 200 or status in (408, 499)


class NotTriggerDevError(ResponseError):
    """
    An error status in an answer that Trigger.dev does not give: an HTML page, or another product's JSON.

    The host is that of another server, or a proxy in front of Trigger.dev answered.
    """


class RedirectError(NotTriggerDevError):
    """3xx. The server is at another address, or a login page stands in front of it."""


class AuthenticationError(ResponseError):
    """401. The secret key is missing, wrong or revoked, or a preview key came without its branch."""


class PermissionDeniedError(ResponseError):
    """403. The key is known but has no right to do this."""


class NotFoundError(ResponseError):
    """404. This key's environment has no such run, or no such waitpoint token."""


class RateLimitError(ResponseError):
    """429. The environment's rate limit is used up."""


class ServerError(ResponseError):
    """5xx. The server failed."""

    may_have_arrived = True


class UnknownTokenError(ServerError):
    """500 for a waitpoint token: the server always answers so for an unknown token (measured)."""


def is_not_from_trigger_dev(error: TriggerDevError) -> bool:
    """Return whether something other than a Trigger.dev server seems to have answered."""
    is_unexpected = isinstance(error, UnexpectedAnswerError) and not isinstance(error, UnreadableAnswerError)
    return is_unexpected or isinstance(error, NotTriggerDevError)


def is_rejection(error: TriggerDevError) -> bool:
    """Return whether the server, or what stands in front of it, rejects this client: 401 and 403."""
    return isinstance(error, ResponseError) and error.status in (401, 403)


def is_internal_error(error: TriggerDevError) -> bool:
    """Return whether the server failed with 500, as always for a run whose output is broken (measured)."""
    return isinstance(error, ServerError) and error.status == 500


def root_of(error: TriggerDevError) -> TriggerDevError:
    """Return the error that kept a request from being sent, otherwise the error itself."""
    return (error.last_error if isinstance(error, NotSentError) else None) or error
