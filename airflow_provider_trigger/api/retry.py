"""Which failures of a call are repeated, how often, and how long it waits before the next try. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from tenacity import wait_exponential, wait_random_exponential

from airflow_provider_trigger.api.errors import (
    AuthenticationError,
    OutdatedAnswerError,
    ResponseError,
    TransportError,
    TriggerDevError,
    UnexpectedAnswerError,
    UnknownTokenError,
    is_not_from_trigger_dev,
)
from airflow_provider_trigger.api.http import Request
from airflow_provider_trigger.api.limits import Deadline
from airflow_provider_trigger.api.responses import may_pass

# The kinds of failures: how many of each end a call.
REJECTED_KEY = 2.0
"""A gateway may send a single 401 for a valid key, while a wrong or revoked key gets it again."""
DOUBTFUL = 6.0
"""
A 500, which can be permanent, as for an id with a NUL (measured); a success that is not Trigger.dev's, which
may be of another product; an answer of a replica that lags, which is newer soon.
"""
OUTAGE = math.inf
"""A lost connection, a busy server, a page in front of a server that has worked."""
TRIES_AT_SHOULD_RETRY = 4.0
"""A GET's 404 says ``x-should-retry: true`` every time (measured)."""
FINAL = 1.0


@dataclass(frozen=True, slots=True)
class Failure:
    """How one try of a call failed."""

    request: Request
    error: TriggerDevError
    should_retry: bool | None = None
    """What the server says of another try, None if it says nothing."""
    server_wait: float | None = None
    """How long the server wants us to wait, in seconds; None if it does not say."""
    has_worked: bool = False
    """Whether the server had answered this client as Trigger.dev does before."""
    is_confirmed: bool = False
    """Of a 401: whether it has come twice to another call, with no good answer since."""

    @property
    def status(self) -> int:
        """The error status that the server answered, 0 for none."""
        return self.error.status if isinstance(self.error, ResponseError) else 0


def kind_of(failure: Failure) -> float:
    """Return the kind of a failure: the first that fits."""
    error, status = failure.error, failure.status
    is_foreign = is_not_from_trigger_dev(error)
    if isinstance(error, AuthenticationError) and not failure.is_confirmed:
        return REJECTED_KEY
    if failure.has_worked and is_foreign and (error.retryable or 300 <= status < 400 or status == 404):
        return OUTAGE
    if status == 500 or (isinstance(error, (UnexpectedAnswerError, OutdatedAnswerError)) and error.retryable):
        return DOUBTFUL
    if (may_pass(status) and not is_foreign) or (isinstance(error, TransportError) and error.retryable):
        return OUTAGE
    return TRIES_AT_SHOULD_RETRY if failure.should_retry else FINAL


def tries_allowed(failure: Failure) -> float:
    """Return how often a call is sent in all if each try fails like this."""
    # A 401 and a 429 reject a request before it has an effect; a 401 is always confirmed by another try.
    is_harmless = failure.request.repeatable or failure.status == 429
    if failure.status != 401 and (not is_harmless or failure.should_retry is False):
        return FINAL
    tries = kind_of(failure)
    return max(tries, TRIES_AT_SHOULD_RETRY) if failure.should_retry else tries


def shows_that_server_works(error: TriggerDevError | None) -> bool | None:
    """Return whether what a request ended with shows that Trigger.dev answers; None if it shows nothing."""
    if error is None or isinstance(error, OutdatedAnswerError):
        return True
    if not isinstance(error, ResponseError) or is_not_from_trigger_dev(error):
        return False
    if error.status in (401, 403, 429) or isinstance(error, UnknownTokenError):
        return None  # may be a gateway's, or a failure
    return error.status < 500 and error.status not in (408, 425)


SHARE_OF_ONE_STEP = 1 / 3
"""The part of the remaining time that one request, or one wait of our own choice, may take."""

LONGEST_DOUBT = 1.0
"""Within so many seconds a 401 is tried again, so that it is soon known whether the key is rejected."""

# A wait of our own choice is half fixed and half random, together up to twice this, in seconds.
_FIRST_HALF, _LONGEST_HALF = 0.25, 15.0
_BACKOFF = wait_exponential(multiplier=_FIRST_HALF, max=_LONGEST_HALF) + wait_random_exponential(
    multiplier=_FIRST_HALF, max=_LONGEST_HALF
)


@dataclass(eq=False)
class CallState:
    """What a call has come to; all times are in seconds, on the clock that its caller gives."""

    started_at: float
    deadline: Deadline
    patience: float
    """How long a failed request is repeated after the first one."""
    failures: list[Failure] = field(default_factory=list)
    failed_at: float = 0.0

    @property
    def attempt_number(self) -> int:
        """How often it was sent."""
        return len(self.failures)

    @property
    def last(self) -> Failure:
        """How the last try failed."""
        return self.failures[-1]

    @property
    def remaining(self) -> float:
        """The seconds from the last failure to the deadline."""
        return self.deadline.remaining(self.failed_at)

    @property
    def has_doubtful_key(self) -> bool:
        """Whether the key was rejected at the last try, which another one has to confirm."""
        return bool(self.failures) and kind_of(self.last) == REJECTED_KEY


def stop(state: CallState, pause: float) -> bool:
    """Return whether a call ends with its last failure, and is not made again after so many seconds."""
    kind = kind_of(state.last)
    # Failures of another kind do not use up the tries of this one.
    if sum(kind_of(failure) == kind for failure in state.failures) >= tries_allowed(state.last):
        return True
    # A rejected key ends the whole work, so another try has to confirm it, whatever the patience.
    is_over = state.failed_at + pause - state.started_at > state.patience and kind != REJECTED_KEY
    return is_over or pause >= state.remaining


def wait(state: CallState) -> float:
    """Return how long to wait before the next try, in seconds: as the server says, else longer each time."""
    seconds = pause_after(state.attempt_number, state.last.server_wait, remaining=state.remaining)
    return min(seconds, LONGEST_DOUBT) if state.has_doubtful_key else seconds


def pause_after(failures: int, server_wait: float | None, *, remaining: float) -> float:
    """Return how long to wait after so many failures in a row, of what is left; all times in seconds."""
    if server_wait is not None:
        return server_wait
    state: Any = SimpleNamespace(attempt_number=failures)  # a strategy of tenacity's reads nothing else
    return min(float(_BACKOFF(state)), remaining * SHARE_OF_ONE_STEP)
