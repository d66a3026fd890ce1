"""
The policy of retries, as tenacity's strategies: which failures are repeated, how often, how long to wait.

Each strategy is called with a :class:`CallState`, and does no I/O. :data:`RETRY`, :data:`STOP` and
:data:`WAIT` combine them; :mod:`airflow_provider_trigger.api.exchange` runs tenacity's loop with these.
"""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import cast

from tenacity import BaseRetrying, RetryCallState, wait_exponential, wait_random_exponential
from tenacity.stop import stop_base
from tenacity.wait import wait_base

from airflow_provider_trigger.api.deadline import NEVER, Deadline
from airflow_provider_trigger.api.errors import AuthenticationError
from airflow_provider_trigger.api.failures import (
    KINDS,
    MAY_BE_SENT_AGAIN,
    UNLIMITED,
    Failure,
    RejectedKey,
    kind_of,
    tries_allowed,
)

SHARE_OF_ONE_STEP = 1 / 3
"""The part of the remaining time that one request, or one wait of our own choice, may take."""

LONGEST_DOUBT = 1.0
"""
Within so many seconds a 401 is tried again, so that it is soon known whether the key is rejected.

Requests that are in flight may be answered meanwhile: that shows it, too.
"""

# A wait of our own choice is half fixed and half random, together up to twice this, in seconds.
_FIRST_HALF, _LONGEST_HALF = 0.25, 15.0


class CallState(RetryCallState):
    """
    tenacity's state of one call, on the clock that its caller gives.

    :param retrying: tenacity's loop
    :param now: the time on that clock, in seconds
    :param deadline: of the work that the call is part of
    :param patience: how long a failed request is repeated after the first one, in seconds
    """

    def __init__(
        self, retrying: BaseRetrying, *, now: float, deadline: Deadline = NEVER, patience: float = UNLIMITED
    ) -> None:
        super().__init__(retrying, fn=None, args=(), kwargs={})
        self.start_time = now
        self.deadline = deadline
        self.patience = patience
        self.failures: list[Failure] = []
        self.failed_at = now

    def failed(self, failure: Failure, *, now: float) -> None:
        """
        Take in that a try failed.

        :param failure: how
        :param now: the time, in seconds
        """
        self.failures.append(failure)
        self.set_exception((type(failure.error), failure.error, None))
        self.outcome_timestamp = self.failed_at = now

    def postpone(self, seconds: float) -> None:
        """
        Take in that the call was held up by something other than its own retries: no patience is used up.

        :param seconds: for how long
        """
        self.start_time += seconds

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
        return bool(self.failures) and isinstance(kind_of(self.last), RejectedKey)

    @property
    def rejections(self) -> int:
        """How often the key was rejected."""
        return sum(isinstance(failure.error, AuthenticationError) for failure in self.failures)


def call_state(state: RetryCallState) -> CallState:
    """Return a state as what it is here, as tenacity's types know its own class only."""
    return cast("CallState", state)


# Which failures are repeated

RETRY = MAY_BE_SENT_AGAIN & reduce(or_, KINDS)
"""Which requests are repeated: another try may succeed, and the server does no more for it than for one."""


# When to stop


class StopAfterTries(stop_base):
    """Stop after as many failures of the last one's kind as it allows; others do not use up its tries."""

    def __call__(self, retry_state: RetryCallState) -> bool:
        """Return whether to stop."""
        state = call_state(retry_state)
        kind = kind_of(state.last)
        count = sum(kind_of(failure) is kind for failure in state.failures)
        return count >= tries_allowed(state.last)


class StopAtDeadline(stop_base):
    """Stop when the next try would come after the deadline of the whole work."""

    def __call__(self, retry_state: RetryCallState) -> bool:
        """Return whether to stop."""
        return retry_state.upcoming_sleep >= call_state(retry_state).remaining


class StopAfterPatience(stop_base):
    """Stop when the next try would come after the call's patience."""

    def __call__(self, retry_state: RetryCallState) -> bool:
        """Return whether to stop."""
        elapsed = retry_state.seconds_since_start or 0.0
        return elapsed + retry_state.upcoming_sleep > call_state(retry_state).patience


class UnlessKeyIsInDoubt(stop_base):
    """Do not stop at a 401: a rejected key ends the whole work, so another try has to confirm it."""

    def __call__(self, retry_state: RetryCallState) -> bool:
        """Return whether to stop."""
        return not call_state(retry_state).has_doubtful_key


STOP = StopAfterTries() | StopAtDeadline() | (StopAfterPatience() & UnlessKeyIsInDoubt())
"""When to stop."""


# How long to wait


class WaitAsServerSays(wait_base):
    """
    Wait for as long as the server says.

    :param otherwise: how long where it says nothing, if a part of the time until the deadline is enough
    """

    def __init__(self, *, otherwise: wait_base) -> None:
        self._otherwise = otherwise

    def __call__(self, retry_state: RetryCallState) -> float:
        """Return how long to wait, in seconds."""
        state = call_state(retry_state)
        wait = state.last.server_wait
        if wait is None:
            wait = min(self._otherwise(retry_state), state.remaining * SHARE_OF_ONE_STEP)
        return min(wait, LONGEST_DOUBT) if state.has_doubtful_key else wait


WAIT = WaitAsServerSays(
    otherwise=wait_exponential(multiplier=_FIRST_HALF, max=_LONGEST_HALF)
    + wait_random_exponential(multiplier=_FIRST_HALF, max=_LONGEST_HALF)
)
"""How long to wait."""
