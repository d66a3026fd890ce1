"""
One call with its retries and its pacing, as a generator without I/O.

A driver sends the generator's :class:`Send` and hands back the response, or the error that came instead; it
waits for a :class:`Wait`. So blocking and asynchronous drivers share all that surrounds a call: retries, rate
limit, circuit breaker, deadline, masking.
"""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from airflow_provider_trigger.api import retry
from airflow_provider_trigger.api.circuit_breaker import CircuitBreaker
from airflow_provider_trigger.api.deadline import NEVER, Deadline
from airflow_provider_trigger.api.errors import AuthenticationError, NotSentError, TriggerDevError
from airflow_provider_trigger.api.http import Call, Request, Response
from airflow_provider_trigger.api.masking import Masking
from airflow_provider_trigger.api.rate_limit import RateLimit, Ticket

log = logging.getLogger(__name__)

T = TypeVar("T")

TURN_INTERVAL = 0.1
"""How long a call waits at a time for its turn, in seconds; then it checks again what holds it up."""

# A shorter pause for the rate limit is not worth a line in the log, in seconds.
_LOGGED_PAUSE = 2.0
# In an outage many calls are repeated: one line of them in so many seconds is logged above debug level.
_RETRY_LOG_INTERVAL = 5.0
# The part of the remaining time that one request, or one wait of our own choice, may take.
_SHARE_OF_ONE_STEP = 1 / 3
# A request gets at least this many seconds, as long as there is so much time.
_SHORTEST_TIMEOUT = 1.0
_LEAST_TIMEOUT = 0.01


@dataclass(frozen=True, slots=True)
class Send:
    """
    Send a request.

    :param request: what to send
    :param timeout: how long it may take, in seconds
    """

    request: Request
    timeout: float


@dataclass(frozen=True, slots=True)
class Wait:
    """
    Wait.

    :param seconds: how long
    :param for_turn: whether other calls go first, under the rate limit or the circuit breaker, rather than
        that this call waits before it is repeated
    :param error: what the last try ended with, where the call waits before it is repeated
    """

    seconds: float
    for_turn: bool
    error: TriggerDevError | None = field(default=None, compare=False)


Step = Send | Wait
Reply = Response | TriggerDevError | None
Steps = Generator[Step, Reply, T]


@dataclass(frozen=True, slots=True)
class _Outcome(Generic[T]):
    """What came of one request: a response with the key masked, if any; a result or an error."""

    response: Response | None
    result: T | None
    error: TriggerDevError | None


class Exchange:
    """
    Make the steps of calls; holds what the calls of one client share. Safe to use in several threads.

    :param masking: hides the secret key in answers and errors
    :param rate_limit: the pace
    :param timeout: for one request, in seconds
    :param retry_for: how long one call goes on trying after its first request, in seconds
    :param monotonic: the clock for waits
    :param wall: the clock that is compared with the server's, in seconds since 1970
    """

    def __init__(
        self,
        *,
        masking: Masking,
        rate_limit: RateLimit,
        timeout: float,
        retry_for: float,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.monotonic = monotonic
        self.timeout = timeout
        self.retry_for = retry_for
        self.breaker = CircuitBreaker()
        self._masking = masking
        self._rate_limit = rate_limit
        self._wall = wall
        self._lock = rate_limit.lock
        self._pause_logged_until = -math.inf
        self._retry_logged_at = -math.inf

    def steps(self, call: Call[T], *, deadline: Deadline = NEVER, patience: float | None = None) -> Steps[T]:
        """
        Return the steps of one call; its result is the generator's.

        :param call: from :mod:`airflow_provider_trigger.api.endpoints`
        :param deadline: of the work that the call is part of
        :param patience: how long to go on trying after the first request, in seconds; None for ``retry_for``,
            and infinite for until the deadline. Waiting for a turn does not count.
        :raises TriggerDevError: the last error
        """
        patience = self.retry_for if patience is None else patience
        until, attempt, counted, last_error = math.inf, 0, 0, None
        while True:
            begun = self.monotonic()
            ticket = yield from self._turn(call.request, deadline, patience, last_error)
            until += self.monotonic() - begun
            attempt += 1
            if attempt == 1:
                until = self.monotonic() + patience
            reply: Reply = None
            try:
                reply = yield Send(call.request, self._timeout(deadline, is_retry=attempt > 1))
            finally:
                self._answered(ticket, reply)
            outcome = self._read(call, reply)
            reply = None  # the key is not masked in it, and an error's traceback leads to this frame
            self._note(call.request, outcome, ticket)
            if outcome.error is None:
                return outcome.result  # type: ignore[return-value]  # None only where T has it
            last_error = outcome.error
            allowed = self._tries_allowed(call.request, last_error, outcome.response)
            # Failures that only time bounds, such as lost connections, do not use up the tries of the others.
            counted += math.isfinite(allowed)
            wait = self._wait_before_retry(outcome, attempt, deadline=deadline) if counted < allowed else None
            is_late = self.monotonic() + (wait or 0.0) > until
            # A 401 for a key that has worked ends the whole work: it is repeated once, whatever the patience.
            if wait is None or (is_late and not isinstance(last_error, AuthenticationError)):
                raise last_error
            self._log_retry(last_error, attempt, wait)
            resume_at = self.monotonic() + wait
            yield Wait(wait, for_turn=False, error=last_error)
            until += max(0.0, self.monotonic() - resume_at)  # no thread was free

    def _turn(
        self, request: Request, deadline: Deadline, patience: float, last_error: TriggerDevError | None
    ) -> Generator[Step, Reply, Ticket | None]:
        while True:
            now = self.monotonic()
            if not deadline.remaining(now):
                raise last_error or NotSentError("the time limit was reached", retryable=True)
            if request.url is not None:
                return None  # of another server
            with self._lock:
                pause = self._rate_limit.delay(monotonic=now)
                delay = max(pause, self.breaker.delay(monotonic=now))
                if not delay:
                    self.breaker.sent(monotonic=now)
                    return self._rate_limit.sent(monotonic=now)
                # Where the work has a deadline, that decides how long to wait for the server.
                for_server = patience if math.isinf(deadline.at) else math.inf
                failed_too_long = self.breaker.has_failed_too_long(for_server, monotonic=now)
                self._log_pause(pause, now)
            if failed_too_long:
                raise last_error or NotSentError(
                    "the server stopped responding",
                    last_error=self.breaker.last_error,
                    retryable=not self.breaker.is_permanent,
                )
            yield Wait(min(delay, TURN_INTERVAL, deadline.remaining(now)), for_turn=True)

    def _timeout(self, deadline: Deadline, *, is_retry: bool) -> float:
        remaining = deadline.remaining(self.monotonic())
        # A call that fails again and again leaves time for one that shows what came of it.
        longest = remaining / 2 if is_retry else remaining
        timeout = min(self.timeout, longest, max(remaining * _SHARE_OF_ONE_STEP, _SHORTEST_TIMEOUT))
        return max(timeout, _LEAST_TIMEOUT)  # the deadline may have passed since the turn came

    def _answered(self, ticket: Ticket | None, reply: Reply) -> None:
        if ticket is None:
            return
        response = reply if isinstance(reply, Response) else None
        with self._lock:
            self._rate_limit.answered(ticket, response, monotonic=self.monotonic(), now=self._wall())

    def _read(self, call: Call[T], reply: Reply) -> _Outcome[T]:
        error = reply if isinstance(reply, TriggerDevError) else None
        response = self._masking.in_response(reply) if isinstance(reply, Response) else None
        result = None
        if response is not None:
            try:
                result = call.read(response)
            except TriggerDevError as raised:
                # Raised again outside of this block, so that it has no context.
                error = raised.with_traceback(None)
        if error is not None:
            self._masking.in_error(error)
        return _Outcome(response, result, error)

    def _note(self, request: Request, outcome: _Outcome[Any], ticket: Ticket | None) -> None:
        """Report to the circuit breaker what came of a request."""
        if ticket is None:
            return
        error = outcome.error
        works = retry.shows_that_server_works(error)
        with self._lock:
            if works:
                self.breaker.succeeded(monotonic=self.monotonic())
            elif error is not None and works is False:
                is_permanent = self._tries_allowed(request, error, outcome.response) <= 1
                self.breaker.failed(error, is_permanent=is_permanent, sent_at=ticket.sent_at)

    def _tries_allowed(self, request: Request, error: TriggerDevError, response: Response | None) -> float:
        has_worked = self.breaker.has_worked and request.url is None
        return retry.tries_allowed(request, error, response, has_worked=has_worked)

    def _wait_before_retry(self, outcome: _Outcome[Any], attempt: int, *, deadline: Deadline) -> float | None:
        """Return how long to wait before the next try, None if there is no time for it."""
        remaining = deadline.remaining(self.monotonic())
        wait = retry.server_wait(outcome.response, now=self._wall()) if outcome.response else None
        if wait is None:
            wait = min(retry.backoff(attempt, jitter=random.random()), remaining * _SHARE_OF_ONE_STEP)
        return wait if wait < remaining else None

    def _log_retry(self, error: TriggerDevError, attempt: int, wait: float) -> None:
        now = self.monotonic()
        with self._lock:
            level = logging.DEBUG if now - self._retry_logged_at < _RETRY_LOG_INTERVAL else logging.INFO
            if level == logging.INFO:
                self._retry_logged_at = now
        log.log(level, "Attempt %d failed, the next one follows in %.1f s: %s", attempt, wait, error)

    def _log_pause(self, pause: float, now: float) -> None:
        """Log a pause for the rate limit once for all calls."""
        if pause >= _LOGGED_PAUSE and now + pause > self._pause_logged_until + _LOGGED_PAUSE:
            log.info("Waiting %.0f s for the rate limit", pause)
            self._pause_logged_until = now + pause
