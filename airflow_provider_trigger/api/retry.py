"""
The policy of retries: when a call stops, and how long it waits before the next try.

:func:`stop` and :func:`wait` are tenacity's strategies; they are called with a :class:`CallState`, and do no
I/O. :mod:`airflow_provider_trigger.api.exchange` runs tenacity's loop with them. Which failures are repeated,
and how often, is the table in :mod:`airflow_provider_trigger.api.failures`.
"""

from __future__ import annotations

from tenacity import BaseRetrying, RetryCallState, wait_exponential, wait_random_exponential

from airflow_provider_trigger.api.deadline import Deadline
from airflow_provider_trigger.api.failures import REJECTED_KEY, Failure, kind_of, tries_allowed

SHARE_OF_ONE_STEP = 1 / 3
"""The part of the remaining time that one request, or one wait of our own choice, may take."""

LONGEST_DOUBT = 1.0
"""Within so many seconds a 401 is tried again, so that it is soon known whether the key is rejected."""

# A wait of our own choice is half fixed and half random, together up to twice this, in seconds.
_FIRST_HALF, _LONGEST_HALF = 0.25, 15.0
_BACKOFF = wait_exponential(multiplier=_FIRST_HALF, max=_LONGEST_HALF) + wait_random_exponential(
    multiplier=_FIRST_HALF, max=_LONGEST_HALF
)


class CallState(RetryCallState):
    """
    tenacity's state of one call, on the clock that its caller gives; all times are in seconds.

    ``patience`` is how long a failed request is repeated after the first one.
    """

    def __init__(self, retrying: BaseRetrying, *, now: float, deadline: Deadline, patience: float) -> None:
        super().__init__(retrying, fn=None, args=(), kwargs={})
        self.start_time = now
        self.deadline = deadline
        self.patience = patience
        self.failures: list[Failure] = []
        self.failed_at = now

    def failed(self, failure: Failure, *, now: float) -> None:
        """Take in that a try failed."""
        self.failures.append(failure)
        self.set_exception((type(failure.error), failure.error, None))
        self.outcome_timestamp = self.failed_at = now

    def postpone(self, seconds: float) -> None:
        """Take in that something other than its own retries held the call up: no patience is used up."""
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
        return bool(self.failures) and kind_of(self.last) is REJECTED_KEY


def stop(state: CallState) -> bool:
    """Return whether a call ends with its last failure."""
    kind = kind_of(state.last)
    # Failures of another kind do not use up the tries of this one.
    if sum(kind_of(failure) is kind for failure in state.failures) >= tries_allowed(state.last):
        return True
    if state.upcoming_sleep >= state.remaining:
        return True
    elapsed = state.seconds_since_start or 0.0
    # A rejected key ends the whole work, so another try has to confirm it, whatever the patience.
    return elapsed + state.upcoming_sleep > state.patience and kind is not REJECTED_KEY


def wait(state: CallState) -> float:
    """Return how long to wait before the next try, in seconds: as the server says, else longer each time."""
    seconds = state.last.server_wait
    if seconds is None:
        seconds = min(_BACKOFF(state), state.remaining * SHARE_OF_ONE_STEP)
    return min(seconds, LONGEST_DOUBT) if state.has_doubtful_key else seconds
