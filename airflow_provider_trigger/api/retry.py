"""Which failures of a call are repeated, how often, and how long it waits before the next try. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from tenacity import wait_exponential, wait_random_exponential

from airflow_provider_trigger.api import errors
from airflow_provider_trigger.api.answers import may_pass
from airflow_provider_trigger.api.http import Request
from airflow_provider_trigger.api.limits import Deadline

if TYPE_CHECKING:
    from tenacity import RetryCallState

# How many failures of a kind end a call.
_FINAL = 1.0
_REJECTED_KEY = 2.0  # a gateway may send a single 401 for a valid key; a wrong or revoked one gets it again
_AT_SHOULD_RETRY = 4.0  # a GET's 404 says ``x-should-retry: true`` every time (measured)
# A 500, which can be permanent, as for an id with a NUL (measured); a success that is not Trigger.dev's, as
# of another product; an answer of a replica that lags, which is newer soon.
_DOUBTFUL = 6.0
# A lost connection, a busy server, a page in front of a server that has worked.
_OUTAGE = float("inf")


def tries_allowed(
    request: Request,
    error: errors.TriggerDevError,
    *,
    should_retry: bool | None = None,
    has_worked: bool = False,
    is_confirmed: bool = False,
) -> float:
    """
    Return how often a call is sent in all if each try fails like this.

    ``should_retry`` is what the server says of it, None for nothing. ``has_worked``: before, it had answered
    this client as Trigger.dev does. ``is_confirmed``: a 401 has come twice to another call, and no good
    answer since.
    """
    status = error.status if isinstance(error, errors.ResponseError) else 0
    # A 401 and a 429 reject a request before it has an effect; a 401 is always confirmed by another try.
    is_harmless = request.repeatable or status == 429
    if status == 401:
        tries = _FINAL if is_confirmed else _REJECTED_KEY
    elif not is_harmless or should_retry is False:
        return _FINAL
    else:
        tries = _tries_of_kind(error, status, has_worked=has_worked)
    return max(tries, _AT_SHOULD_RETRY) if should_retry else tries


def _tries_of_kind(error: errors.TriggerDevError, status: int, *, has_worked: bool) -> float:
    is_foreign = errors.is_not_from_trigger_dev(error)
    if has_worked and is_foreign and (error.retryable or 300 <= status < 400 or status == 404):
        return _OUTAGE
    if status == 500 or (
        isinstance(error, (errors.UnexpectedAnswerError, errors.OutdatedAnswerError)) and error.retryable
    ):
        return _DOUBTFUL
    if (may_pass(status) and not is_foreign) or (
        isinstance(error, errors.TransportError) and error.retryable
    ):
        return _OUTAGE
    return _FINAL


def shows_that_server_works(error: errors.TriggerDevError | None) -> bool | None:
    """Return whether what a request ended with shows that Trigger.dev answers; None if it shows nothing."""
    if error is None or isinstance(error, errors.OutdatedAnswerError):
        return True
    if not isinstance(error, errors.ResponseError) or errors.is_not_from_trigger_dev(error):
        return False
    if error.status in (401, 403, 429) or isinstance(error, errors.UnknownTokenError):
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


def pause_after(failures: int, server_wait: float | None, *, remaining: float) -> float:
    """Return how long to wait after so many failures in a row, of what is left; all times in seconds."""
    if server_wait is not None:
        return server_wait
    state: Any = SimpleNamespace(attempt_number=failures)  # a strategy of tenacity's reads nothing else
    return min(float(_BACKOFF(state)), remaining * SHARE_OF_ONE_STEP)


@dataclass(eq=False)
class Tries:
    """
    The tries of one call, and what tenacity asks of them; times are in seconds, on the clock of the client.

    :param started_at: when it began, later by the time spent waiting for a turn
    :param patience: how long a failed request is repeated after the first one, in seconds
    """

    started_at: float
    deadline: Deadline
    patience: float
    last_error: errors.TriggerDevError | None = None
    key_version: int = 0
    """Of the key that the last request had."""
    _failed_at: float = 0.0
    # Failures of another kind do not use up the tries of this one.
    _failures: Counter[float] = field(default_factory=Counter)

    def note(self, error: errors.TriggerDevError, *, now: float) -> int:
        """Take in how a try has failed; return how many failed like that."""
        self._failures[error.tries_allowed] += 1
        error.tries = self._failures.total()
        self.last_error, self._failed_at = error, now
        return self._failures[error.tries_allowed]

    @property
    def has_doubtful_key(self) -> bool:
        """Whether the key was rejected at the last try, which another one has to confirm."""
        return (
            isinstance(self.last_error, errors.AuthenticationError) and self.last_error.tries_allowed > _FINAL
        )

    def failed(self, state: RetryCallState) -> bool:
        """Return whether the last try has failed: not where nothing was sent, which ends the call."""
        error = state.outcome.exception() if state.outcome else None
        return error is not None and error is self.last_error

    def stop(self, state: RetryCallState) -> bool:
        """Return whether the call ends with its last failure."""
        allowed, pause = self._last.tries_allowed, state.upcoming_sleep
        if self._failures[allowed] >= allowed or pause >= self.deadline.remaining(self._failed_at):
            return True
        # A rejected key ends the whole work, so another try has to confirm it, whatever the patience.
        return not self.has_doubtful_key and self._failed_at + pause - self.started_at > self.patience

    def wait(self, state: RetryCallState) -> float:
        """Return how long to wait before the next try: as the server says, else longer each time."""
        remaining = self.deadline.remaining(self._failed_at)
        pause = pause_after(state.attempt_number, self._last.server_wait, remaining=remaining)
        return min(pause, LONGEST_DOUBT) if self.has_doubtful_key else pause

    @property
    def _last(self) -> errors.TriggerDevError:
        assert self.last_error is not None  # tenacity asks after a failure
        return self.last_error
