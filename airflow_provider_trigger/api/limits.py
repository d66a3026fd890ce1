"""Deadlines, the rate limit, outages, and how often a call is repeated. Pure; all times are in seconds."""

from __future__ import annotations

import math
import random
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from airflow_provider_trigger import defaults
from airflow_provider_trigger.api import answers, errors
from airflow_provider_trigger.api.http import Request, Response
from airflow_provider_trigger.rules import read_number

if TYPE_CHECKING:
    from tenacity import RetryCallState


@dataclass(frozen=True, slots=True)
class Deadline:
    """When a piece of work must have ended."""

    at: float = math.inf
    is_for_one: bool = False  # whether one request may take all of the time, and of the rate limit

    @classmethod
    def after(cls, seconds: float | None, *, now: float) -> Deadline:
        """Return the deadline for work that begins now."""
        return NEVER if seconds is None else cls(now + seconds)

    def remaining(self, now: float) -> float:
        """Return the seconds left: 0 when it has passed, infinite without a limit."""
        return max(0.0, self.at - now)

    def before(self, share: float, *, now: float) -> Deadline:
        """Return the deadline for the first part of what is left."""
        return self if math.isinf(self.at) else Deadline(now + share * self.remaining(now))


NEVER = Deadline()

# The bucket is refilled in one step (measured); a little later no request is rejected because clocks differ.
_MARGIN = 0.05
# After this many requests, their answers show how much was refilled.
_SENT_TO_LEARN = 10
_LONGEST_FILLING = 3600.0  # in seconds; Trigger.dev fills the bucket each 10 s by default


class RateLimit:
    """The state of the bucket that all users of the environment share, by the newest answer."""

    def __init__(self, *, reserve: float = defaults.RATE_LIMIT_RESERVE) -> None:
        self.lock = threading.Lock()  # clients share it: hold it at each call, and from delay to sent
        self._reserve = reserve
        self._limit, self._remaining, self._in_flight = 0.0, math.inf, 0
        self._reset = 0.0  # the server's word for the current filling
        # When the next filling comes, and how long requests are rejected, on our monotonic clock.
        self._refilled_at = self._rejected_until = -math.inf

    def delay(self, *, monotonic: float, is_last: bool = False) -> float:
        """Return how long to wait before sending; the last request of a work may take from the reserve."""
        until, reserve = self._rejected_until, 0.0 if is_last else self._reserve
        # The newest answer may or may not count a request that is in flight.
        if self._remaining - self._in_flight <= math.ceil(self._limit * reserve):
            until = max(until, self._refilled_at)
            if monotonic >= self._refilled_at and self._in_flight >= _SENT_TO_LEARN:
                until = max(until, monotonic + _MARGIN)
        return max(0.0, until - monotonic)

    def sent(self) -> None:
        """Count a request that is sent now."""
        self._in_flight += 1

    def ended(self, response: Response | None, *, monotonic: float, now: float) -> None:
        """Take in that a request has ended, and what its response shows, if one came."""
        self._in_flight -= 1
        if response is None:
            return
        self._read(response, monotonic=monotonic, now=now)
        if answers.is_rejected_by_bucket(response):
            # A proxy may have sent it, for a limit of its own.
            wait = answers.server_wait(response, now=now) or 0.0
            self._rejected_until = max(self._rejected_until, monotonic + wait + _MARGIN)

    def _read(self, response: Response, *, monotonic: float, now: float) -> None:
        names = ("limit", "remaining", "reset")
        limit, remaining, reset = (read_number(response.headers.get(f"x-ratelimit-{it}")) for it in names)
        if limit is None or remaining is None or reset is None or reset < self._reset:
            return  # a lower reset is that of a late answer, from the filling before
        wait = answers.seconds_until_reset(response, now=now) or 0.0
        if limit <= 0 or wait > _LONGEST_FILLING:
            return  # a proxy's, which may mean something else
        self._limit = limit
        # Answers overtake each other: within one filling, the lowest is the latest.
        self._remaining = min(self._remaining, remaining) if reset == self._reset else remaining
        self._reset = reset
        self._refilled_at = monotonic + min(wait, answers.MAX_WAIT) + _MARGIN


FAILURES_TO_OPEN = 10  # failures in a row; fewer may be those of some runs
PROBE_INTERVAL = 1.0  # between two requests while the breaker is open, in seconds


class CircuitBreaker:
    """Count failures in a row of all calls of one client; any answer closes it, also a 401 or 403."""

    def __init__(self) -> None:
        self.has_worked = False
        """Whether the server has answered this client, or another one, as Trigger.dev does."""
        self.last_error: errors.TriggerDevError | None = None
        self._failures = 0
        self._failing_since = math.inf
        self._all_permanent = True
        self._probed_at = -math.inf

    @property
    def is_open(self) -> bool:
        """Whether the server as a whole does not respond."""
        return self._failures >= FAILURES_TO_OPEN

    @property
    def is_permanent(self) -> bool:
        """Whether the breaker is open for good: Trigger.dev never answered, so repeating is useless."""
        return self.is_open and self._all_permanent and not self.has_worked

    def delay(self, *, monotonic: float) -> float:
        """Return how long to wait before sending."""
        return max(0.0, self._probed_at + PROBE_INTERVAL - monotonic) if self.is_open else 0.0

    def has_failed_too_long(self, patience: float, *, monotonic: float) -> bool:
        """Return whether a call must not wait for the server any longer."""
        return self.is_open and (self.is_permanent or monotonic - self._failing_since >= patience)

    def sent(self, *, monotonic: float) -> None:
        """Count a request that is sent now."""
        self._probed_at = monotonic

    def succeeded(self) -> None:
        """Count an answer of Trigger.dev's."""
        self.has_worked = True
        self.answered()

    def answered(self) -> None:
        """Count an answer that may also be a gateway's."""
        self.last_error = None
        self._failures = 0

    def failed(self, error: errors.TriggerDevError, *, monotonic: float) -> None:
        """Count a request that Trigger.dev did not answer."""
        if not self._failures:
            self._failing_since = monotonic
        self._failures += 1
        self.last_error = error
        self._all_permanent &= error.tries_allowed <= _FINAL


# How many failures of a kind end a call.
_FINAL = 1.0
_REJECTED_KEY = 2.0  # a gateway may send a single 401 for a valid key; a wrong or revoked one gets it again
_AT_SHOULD_RETRY = 4.0  # a GET's 404 says ``x-should-retry: true`` every time (measured)
# A 500, which can be permanent, for example for an id with a NUL (measured); a success of another product; an
# answer of a replica that lags.
_DOUBTFUL = 6.0
# A lost connection, a busy server, a page in front of a server that has worked.
_OUTAGE = float("inf")


def tries_allowed(
    request: Request,
    error: errors.TriggerDevError,
    *,
    should_retry: bool | None = None,
    has_worked: bool = False,
    is_confirmed: bool = False,  # whether another call got a 401 twice, and none a good answer since
) -> float:
    """Return how many times a call is sent in total if each try fails like this."""
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
    if not error.retryable:
        return _FINAL
    if status == 500 or isinstance(error, (errors.UnexpectedAnswerError, errors.OutdatedAnswerError)):
        return _DOUBTFUL
    return _FINAL if is_foreign else _OUTAGE


def shows_that_server_works(error: errors.TriggerDevError) -> bool | None:
    """Return whether an error shows that Trigger.dev answers; None if it shows nothing."""
    if isinstance(error, errors.OutdatedAnswerError):
        return True
    if not isinstance(error, errors.ResponseError) or errors.is_not_from_trigger_dev(error):
        return False
    if error.status in (401, 403, 429) or isinstance(error, errors.UnknownTokenError):
        return None  # may be a gateway's, or a failure
    return error.status < 500 and error.status not in (408, 425)


# The part of the remaining time that one request, or one wait of our own choice, may take.
_SHARE_OF_ONE_STEP = 1 / 3
# A request gets at least this, if there is as much time left.
_SHORTEST_TIMEOUT = 1.0
_LEAST_TIMEOUT = 0.01
# A 401 is tried again within this time, so that it is soon known whether the key is rejected.
_LONGEST_DOUBT = 1.0
# A wait of our own choice is half fixed and half random; both halves double with each failure.
_FIRST_HALF, _LONGEST_HALF, _DOUBLED = 0.25, 15.0, 6


def pause_after(failures: int, server_wait: float | None, *, remaining: float) -> float:
    """Return how long to wait after some failures in a row, at most a third of the ``remaining`` time."""
    if server_wait is not None:
        return server_wait
    half = min(_FIRST_HALF * 2.0 ** min(failures - 1, _DOUBLED), _LONGEST_HALF)
    return min(half + random.uniform(0, half), remaining * _SHARE_OF_ONE_STEP)


@dataclass(eq=False)
class Tries:
    """
    The tries of one call, and whether another one follows.

    :meth:`may_help`, :meth:`pause` and :meth:`are_over` are asked by tenacity after each try, in this order.
    """

    started_at: float  # later by the time spent waiting for a turn
    deadline: Deadline
    patience: float  # how long a failed request is repeated after the first one
    last_error: errors.TriggerDevError | None = None
    _failed_at: float = 0.0
    # Failures of another kind do not use up the tries of this one.
    _failures: Counter[float] = field(default_factory=Counter)

    def timeout_within(self, longest: float, *, now: float) -> float:
        """Return how long the next request may take."""
        remaining = self.deadline.remaining(now)
        # A call that fails again and again leaves time for another call that shows its effect.
        share = remaining / 2 if self.last_error else remaining
        step = remaining if self.deadline.is_for_one else remaining * _SHARE_OF_ONE_STEP
        timeout = min(longest, share, max(step, _SHORTEST_TIMEOUT))
        return max(timeout, _LEAST_TIMEOUT)  # the deadline may have passed since the turn came

    def note(self, error: errors.TriggerDevError, *, now: float) -> int:
        """Count a failed try; return how many tries have failed like that."""
        self._failures[error.tries_allowed] += 1
        error.tries = self._failures.total()
        error.may_have_arrived |= self.last_error is not None and self.last_error.may_have_arrived
        self.last_error, self._failed_at = error, now
        return self._failures[error.tries_allowed]

    def may_help(self, state: RetryCallState) -> bool:
        """Return whether a try has failed, and by an error of its request: otherwise nothing was sent."""
        outcome = state.outcome
        return outcome is not None and outcome.failed and outcome.exception() is self.last_error

    def pause(self, state: RetryCallState) -> float:
        """Return how long to wait before the next try: as the server says, or longer each time."""
        remaining = self.deadline.remaining(self._failed_at)
        pause = pause_after(state.attempt_number, self._last.server_wait, remaining=remaining)
        return min(pause, _LONGEST_DOUBT) if self._has_doubtful_key else pause

    def are_over(self, state: RetryCallState) -> bool:
        """Return whether the call ends with its last failure, in place of another try after a pause."""
        allowed, pause = self._last.tries_allowed, state.upcoming_sleep
        if self._failures[allowed] >= allowed or pause >= self.deadline.remaining(self._failed_at):
            return True
        # A rejected key ends the whole work, so another try has to confirm it, whatever the patience.
        return not self._has_doubtful_key and self._failed_at + pause - self.started_at > self.patience

    @property
    def _has_doubtful_key(self) -> bool:
        return isinstance(self._last, errors.AuthenticationError) and self._last.tries_allowed > _FINAL

    @property
    def _last(self) -> errors.TriggerDevError:
        assert self.last_error is not None
        return self.last_error
