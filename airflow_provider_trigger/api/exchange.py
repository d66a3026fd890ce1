"""What the calls of one client share: the pace, the circuit breaker, and whether the key is rejected."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from airflow_provider_trigger.api.answers import server_wait, should_retry, with_trusted_date
from airflow_provider_trigger.api.errors import AuthenticationError, NotSentError, TriggerDevError
from airflow_provider_trigger.api.http import Call, Request, Response
from airflow_provider_trigger.api.key import SecretKey
from airflow_provider_trigger.api.limits import CircuitBreaker, RateLimit
from airflow_provider_trigger.api.retry import (
    SHARE_OF_ONE_STEP,
    Tries,
    shows_that_server_works,
    tries_allowed,
)

log = logging.getLogger(__name__)

T = TypeVar("T")

# How long a call waits at a time for its turn, in seconds; then it checks again what holds it up.
_TURN_INTERVAL = 0.1
# A shorter pause for the rate limit is not worth a line in the log, in seconds.
_LOGGED_PAUSE = 2.0
# In an outage many calls are repeated: one line of them in so many seconds is logged above debug level.
_RETRY_LOG_INTERVAL = 5.0
# A request gets at least this many seconds, as long as there is so much time.
_SHORTEST_TIMEOUT = 1.0
_LEAST_TIMEOUT = 0.01


@dataclass(frozen=True, slots=True)
class Send:
    """A request to send, and how long it may take."""

    request: Request
    timeout: float


Reply = Response | TriggerDevError


class Exchange:
    """Decide when a request may go out, and what its answer means; safe to use in several threads."""

    def __init__(
        self,
        *,
        key: SecretKey,
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
        self._key = key
        self._rate_limit = rate_limit
        self.wall = wall
        self._lock = rate_limit.lock
        self.key_is_rejected = False
        """Whether a call got a 401 twice, and no answer since then shows that the key is valid."""
        # In an outage, or a long pause, all calls have the same to say: it is logged now and then.
        self._pause_logged_until = self._retry_logged_at = -math.inf

    def turn(self, request: Request, tries: Tries) -> float:
        """
        Return how long a call waits until it asks again, in seconds; 0 when its request goes out now.

        :raises NotSentError: it is to wait no longer
        """
        now, deadline = self.monotonic(), tries.deadline
        if not deadline.remaining(now):
            raise NotSentError("the time limit was reached", retryable=True)
        if request.url is not None:
            return 0.0
        with self._lock:
            pause = self._rate_limit.delay(monotonic=now)
            delay = max(pause, self.breaker.delay(monotonic=now))
            if not delay:
                self.breaker.sent(monotonic=now)
                self._rate_limit.sent()
                return 0.0
            # Where the work has a deadline, that decides how long to wait for the server.
            for_server = tries.patience if math.isinf(deadline.at) else math.inf
            failed_too_long = self.breaker.has_failed_too_long(for_server, monotonic=now)
            if pause >= _LOGGED_PAUSE and now >= self._pause_logged_until:
                self._pause_logged_until = now + pause
                log.info("Waiting %.0f s for the rate limit", pause)
        if failed_too_long:
            raise NotSentError(
                "the server stopped responding",
                last_error=self.breaker.last_error,
                retryable=not self.breaker.is_permanent,
            )
        return min(delay, _TURN_INTERVAL, deadline.remaining(now))

    def timeout_of(self, call: Call[Any], tries: Tries) -> float:
        """Return how long the next request of a call may take, in seconds."""
        remaining = tries.deadline.remaining(self.monotonic())
        # A call that fails again and again leaves time for one that shows what came of it.
        longest = remaining / 2 if tries.last_error else remaining
        timeout = min(
            self.timeout, call.timeout, longest, max(remaining * SHARE_OF_ONE_STEP, _SHORTEST_TIMEOUT)
        )
        return max(timeout, _LEAST_TIMEOUT)  # the deadline may have passed since the turn came

    def ended(self, request: Request, response: Response | None) -> None:
        """Take in that a request has ended, and its response, if one came."""
        if request.url is None:
            with self._lock:
                self._rate_limit.ended(response, monotonic=self.monotonic(), now=self.wall())

    def read(self, call: Call[T], reply: Reply, tries: Tries) -> T:
        """Return the result of a request, or note and raise its error; in a response the key is hidden."""
        request, version, result, error = call.request, tries.key_version, None, None
        if isinstance(reply, TriggerDevError):
            error = reply
        else:
            try:
                result = call.read(with_trusted_date(reply, now=self.wall()))
                self._key.note_shown(_ids_in(request, result), version=version)
            except TriggerDevError as raised:
                error = self._key.doubted(raised.with_traceback(None), request, version, now=self.monotonic())
        similar = 0 if error is None else self._note_failure(request, reply, error, tries)
        if request.url is None:
            self._note(error, similar)
        if error is not None:
            raise error  # not in the block above, so that it has no context
        return result  # type: ignore[return-value]

    def _note_failure(self, request: Request, reply: Reply, error: TriggerDevError, tries: Tries) -> int:
        response, now = reply if isinstance(reply, Response) else None, self.monotonic()
        error.run_id = request.run_id
        self._key.hide_in(error)
        self._key.denials.note(request, response, error, now=now)
        error.server_wait = server_wait(response, now=self.wall()) if response else None
        error.tries_allowed = tries_allowed(
            request,
            error,
            should_retry=should_retry(response),
            has_worked=self.breaker.has_worked and request.url is None,
            is_confirmed=self.key_is_rejected,
        )
        return tries.note(error, now=now)

    def _note(self, error: TriggerDevError | None, similar: int) -> None:
        """Let other calls know what a request shows of the server and the key."""
        works = shows_that_server_works(error)
        with self._lock:
            if works:
                self.key_is_rejected = False
                self.breaker.succeeded()
            elif isinstance(error, AuthenticationError):
                self.key_is_rejected = self.key_is_rejected or similar > 1
            elif error is not None and works is False:
                is_permanent = error.tries_allowed <= 1
                self.breaker.failed(error, is_permanent=is_permanent, monotonic=self.monotonic())

    def log_retry(self, attempt: int, pause: float, error: TriggerDevError | None) -> None:
        """Log that a request is repeated: of many in a row, one at a level that is shown."""
        now, level = self.monotonic(), logging.DEBUG
        if now >= self._retry_logged_at + _RETRY_LOG_INTERVAL:
            self._retry_logged_at, level = now, logging.INFO
        log.log(level, "Attempt %d failed, the next one follows in %.1f s: %s", attempt, pause, error)


def _ids_in(request: Request, result: Any) -> Iterator[str]:
    """Yield the ids of the runs and tokens that a result shows."""
    if request.url is not None:
        return
    for one in [request.run_id, *(result if isinstance(result, list) else [result])]:
        shown = getattr(one, "id", one)
        if isinstance(shown, str):
            yield shown
