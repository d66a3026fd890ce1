"""The failures of a call: of which kind each is, and whether that kind is worth repeating. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, cast

from tenacity import RetryCallState
from tenacity.retry import retry_base

from airflow_provider_trigger.api.errors import (
    AuthenticationError,
    OutdatedAnswerError,
    ResponseError,
    TransportError,
    TriggerDevError,
    UnexpectedAnswerError,
    is_not_from_trigger_dev,
)
from airflow_provider_trigger.api.http import Request

UNLIMITED = math.inf
"""As many tries as there is time for."""

TRIES_AT_SHOULD_RETRY = 4
"""A GET's 404 says ``x-should-retry: true`` every time (measured): it counts for this many tries."""


@dataclass(frozen=True, slots=True)
class Failure:
    """
    How one try of a call failed.

    :param request: what was sent
    :param error: what it ended with
    :param should_retry: what the server says of another try, None if it says nothing
    :param server_wait: how long the server wants us to wait, in seconds; None if it does not say
    :param has_worked: whether the server had answered this client as Trigger.dev does before
    :param is_confirmed: of a 401: whether it has come twice to another call, with no good answer since
    """

    request: Request
    error: TriggerDevError
    should_retry: bool | None = None
    server_wait: float | None = None
    has_worked: bool = False
    is_confirmed: bool = False

    @property
    def status(self) -> int:
        """The error status that the server answered, 0 for none."""
        return self.error.status if isinstance(self.error, ResponseError) else 0


class HasFailures(Protocol):
    """What a kind of failure reads of a call's state."""

    failures: list[Failure]
    """All tries so far that failed."""


class FailureKind(retry_base):
    """Base of strategies for one kind of failure."""

    tries: float = UNLIMITED
    """How many failures of this kind end a call."""

    def matches(self, failure: Failure) -> bool:
        """Return whether a failure is of this kind."""
        raise NotImplementedError

    def __call__(self, retry_state: RetryCallState) -> bool:
        """Return whether the last try ended with a failure of this kind."""
        outcome, failures = retry_state.outcome, cast("HasFailures", retry_state).failures
        return outcome is not None and outcome.failed and self.matches(failures[-1])


class MayBeSentAgain(FailureKind):
    """
    Another try has no second effect, and the server does not forbid it.

    A 401 or 429 rejects a request before it has an effect, so it may be sent again, repeatable or not. A 401
    is always confirmed by another try.
    """

    def matches(self, failure: Failure) -> bool:
        """Return whether another try is safe."""
        if failure.status == 401:
            return True
        return (failure.request.repeatable or failure.status == 429) and failure.should_retry is not False


class RejectedKey(FailureKind):
    """A 401: a gateway may send a single one for a valid key, while a wrong or revoked key gets it again."""

    tries = 2

    def matches(self, failure: Failure) -> bool:
        """Return whether the key was rejected, and another try has to confirm it."""
        return isinstance(failure.error, AuthenticationError) and not failure.is_confirmed


class PageInFront(FailureKind):
    """A page in front of a server that has worked before: maintenance, a deployment."""

    def matches(self, failure: Failure) -> bool:
        """Return whether it may pass."""
        error, status = failure.error, failure.status
        may_pass = error.retryable or 300 <= status < 400 or status == 404
        return failure.has_worked and may_pass and is_not_from_trigger_dev(error)


class UnexpectedAnswer(FailureKind):
    """A success that is not Trigger.dev's, of a server that never worked: it may be another product."""

    tries = 6

    def matches(self, failure: Failure) -> bool:
        """Return whether it may be another one next time."""
        return isinstance(failure.error, UnexpectedAnswerError) and failure.error.retryable


class OutdatedAnswer(FailureKind):
    """An answer of a replica that lags: the next one may come from another replica, or be newer."""

    tries = 6

    def matches(self, failure: Failure) -> bool:
        """Return whether it is one."""
        return isinstance(failure.error, OutdatedAnswerError)


class BrokenServer(FailureKind):
    """A 500, which can be permanent, as for an id with a NUL (measured)."""

    tries = 6

    def matches(self, failure: Failure) -> bool:
        """Return whether it is one."""
        return failure.status == 500


class BusyServer(FailureKind):
    """A status that passes, such as 429 and 503."""

    def matches(self, failure: Failure) -> bool:
        """Return whether it is one."""
        return may_pass(failure.status) and not is_not_from_trigger_dev(failure.error)


class LostConnection(FailureKind):
    """No answer came, for a reason that may pass."""

    def matches(self, failure: Failure) -> bool:
        """Return whether there was none."""
        return isinstance(failure.error, TransportError) and failure.error.retryable


class AdvisedRetry(FailureKind):
    """The server says that another try may help, and nothing else does."""

    tries = TRIES_AT_SHOULD_RETRY

    def matches(self, failure: Failure) -> bool:
        """Return whether it says so."""
        return failure.should_retry is True


MAY_BE_SENT_AGAIN = MayBeSentAgain()

KINDS: tuple[FailureKind, ...] = (
    RejectedKey(),
    PageInFront(),
    UnexpectedAnswer(),
    OutdatedAnswer(),
    BrokenServer(),
    BusyServer(),
    LostConnection(),
    AdvisedRetry(),
)
"""The kinds of failures that are worth repeating; a failure is of the first one that matches."""


def kind_of(failure: Failure) -> FailureKind | None:
    """
    Return the kind of a failure, None for one that is not worth repeating.

    :param failure: of one try
    """
    return next((kind for kind in KINDS if kind.matches(failure)), None)


def tries_allowed(failure: Failure) -> float:
    """
    Return how often a call is sent in all if each try fails like this.

    :param failure: of one try
    """
    kind = kind_of(failure)
    if kind is None or not MAY_BE_SENT_AGAIN.matches(failure):
        return 1
    return max(kind.tries, TRIES_AT_SHOULD_RETRY) if failure.should_retry else kind.tries


def may_pass(status: int) -> bool:
    """
    Return whether a request may succeed later that was answered with an error status.

    :param status: the HTTP status
    """
    return status >= 500 or status in (408, 409, 425, 429)


def shows_that_server_works(error: TriggerDevError | None) -> bool | None:
    """
    Return whether a request's end shows that Trigger.dev answers; None where it shows nothing.

    :param error: what the request ended with, None for a success
    """
    if error is None or isinstance(error, OutdatedAnswerError):
        return True
    if not isinstance(error, ResponseError) or is_not_from_trigger_dev(error):
        return False
    if error.status in (401, 403, 429):
        return None  # may be a gateway's
    return error.status < 500 and error.status not in (408, 425)
