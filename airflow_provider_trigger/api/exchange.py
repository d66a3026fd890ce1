"""
One call with its retries and its pacing, as a generator without I/O.

A driver sends the generator's :class:`Send` and hands back the response, or the error that came instead; it
waits for a :class:`Wait`. All that surrounds a call is here: retries, rate limit, circuit breaker, deadline,
masking.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from airflow_provider_trigger.api.errors import (
    AuthenticationError,
    NotFoundError,
    NotSentError,
    TriggerDevError,
    UnknownTokenError,
)
from airflow_provider_trigger.api.http import Call, Request, Response
from airflow_provider_trigger.api.limits import NEVER, CircuitBreaker, Deadline, RateLimit
from airflow_provider_trigger.api.masking import SecretKey
from airflow_provider_trigger.api.responses import server_wait, should_retry, with_trusted_date
from airflow_provider_trigger.api.retry import (
    SHARE_OF_ONE_STEP,
    CallState,
    Failure,
    shows_that_server_works,
    stop,
    tries_allowed,
    wait,
)

log = logging.getLogger(__name__)

T = TypeVar("T")

TURN_INTERVAL = 0.1
"""How long a call waits at a time for its turn, in seconds; then it checks again what holds it up."""

# A shorter pause for the rate limit is not worth a line in the log, in seconds.
_LOGGED_PAUSE = 2.0
# In an outage many calls are repeated: one line of them in so many seconds is logged above debug level.
_RETRY_LOG_INTERVAL = 5.0
# A request gets at least this many seconds, as long as there is so much time.
_SHORTEST_TIMEOUT = 1.0
_LEAST_TIMEOUT = 0.01


@dataclass(frozen=True, slots=True)
class Send:
    """Send a request."""

    request: Request
    timeout: float


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait; with ``for_turn``, as other calls go first, under the rate limit or the circuit breaker."""

    seconds: float
    for_turn: bool
    error: TriggerDevError | None = field(default=None, compare=False)
    """What the last try ended with, where the call waits before it is repeated."""


Step = Send | Wait
Reply = Response | TriggerDevError | None
Steps = Generator[Step, Reply, T]


class Exchange:
    """Make the steps of calls; holds what the calls of one client share. Safe to use in several threads."""

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
        self._wall = wall
        self._lock = rate_limit.lock
        self.key_is_rejected = False
        """Whether a call got a 401 twice, and no answer since then shows that the key is valid."""
        # In an outage, or a long pause, all calls have the same to say: it is logged now and then.
        self._pause_logged_until = self._retry_logged_at = -math.inf

    def steps(
        self,
        call: Call[T],
        *,
        deadline: Deadline = NEVER,
        patience: float | None = None,
    ) -> Steps[T]:
        """
        Return the steps of one call; its result is the generator's.

        ``patience`` is how long a failed request is repeated after the first one, in seconds, without the
        time spent waiting for a turn; None for ``retry_for``, infinite for until the deadline.
        """
        if denial := self._key.denials.find(call.request, now=self.monotonic()):
            return call.read(denial)  # raises what it did before
        patience = self.retry_for if patience is None else patience
        state = CallState(self.monotonic(), deadline, patience)
        while True:
            failures = len(state.failures)
            try:
                result: Any = yield from self._attempt(call, state)
            except TriggerDevError as not_sent:
                error = not_sent.with_traceback(None)
                break
            if len(state.failures) == failures:
                return result  # type: ignore[no-any-return]
            error, pause = state.last.error, wait(state)
            if stop(state, pause):
                break
            self.log_retry(state.attempt_number, pause, error)
            resume_at = self.monotonic() + pause
            yield Wait(pause, for_turn=False, error=error)
            state.started_at += max(0.0, self.monotonic() - resume_at)  # no thread was free
        error.tries = max(1, len(state.failures))
        raise error  # not in the block above, so that it has no context

    def _attempt(self, call: Call[T], state: CallState) -> Generator[Step, Reply, Any]:
        """Send the request when it has its turn; return its result, or note how it failed."""
        request, begun = call.request, self.monotonic()
        yield from self._turn(request, state)
        state.started_at += self.monotonic() - begun  # waiting for a turn uses up no patience
        version = self._key.version
        error, reply, response, result = None, None, None, None
        try:
            reply = yield Send(request, min(self._timeout(state), call.timeout))
        finally:
            if isinstance(reply, Response):
                response = self._key.hidden_in(reply)
            if request.url is None:
                with self._lock:
                    self._rate_limit.ended(response, monotonic=self.monotonic(), now=self._wall())
        if response is not None:
            try:
                result = call.read(with_trusted_date(response, now=self._wall()))
                self._key.note_shown(_ids_in(request, result), version=version)
            except TriggerDevError as raised:
                error = self._doubted(raised.with_traceback(None), request, version)
        elif isinstance(reply, TriggerDevError):
            error = reply
        if error is not None:
            self._note_failure(request, state, error, response)
        if request.url is None:
            self._note(state, error)
        return result

    def _doubted(self, error: TriggerDevError, request: Request, version: int) -> TriggerDevError:
        """Return the error; that a key of another environment finds nothing is a key that is rejected."""
        is_unknown = isinstance(error, (NotFoundError, UnknownTokenError))
        if not is_unknown or not self._key.is_elsewhere(version, request.path, now=self.monotonic()):
            return error
        sent: dict[str, Any] = {"method": request.method, "path": request.path[:200], "request_id": None}
        detail = "the new secret key is of another environment"
        return AuthenticationError(**sent, status=401, detail=detail, retryable=False)

    def _note_failure(
        self, request: Request, state: CallState, error: TriggerDevError, response: Response | None
    ) -> None:
        error.run_id = request.run_id
        self._key.hide_in(error)
        self._key.denials.note(request, response, error, now=self.monotonic())
        failure = Failure(
            request=request,
            error=error,
            should_retry=should_retry(response),
            server_wait=server_wait(response, now=self._wall()) if response else None,
            has_worked=self.breaker.has_worked and request.url is None,
            is_confirmed=self.key_is_rejected,
        )
        error.tries_allowed, error.server_wait = tries_allowed(failure), failure.server_wait
        state.failures.append(failure)
        state.failed_at = self.monotonic()

    def _turn(self, request: Request, state: CallState) -> Generator[Step, Reply, None]:
        last_error, deadline = state.last.error if state.failures else None, state.deadline
        while True:
            now = self.monotonic()
            if not deadline.remaining(now):
                raise last_error or NotSentError("the time limit was reached", retryable=True)
            if request.url is not None:
                return
            with self._lock:
                if last_error is not None and state.has_doubtful_key and self.key_is_rejected:
                    raise last_error  # another call has confirmed it
                pause = self._rate_limit.delay(monotonic=now)
                delay = max(pause, self.breaker.delay(monotonic=now))
                if not delay:
                    self.breaker.sent(monotonic=now)
                    self._rate_limit.sent()
                    return
                # Where the work has a deadline, that decides how long to wait for the server.
                for_server = state.patience if math.isinf(deadline.at) else math.inf
                failed_too_long = self.breaker.has_failed_too_long(for_server, monotonic=now)
                if pause >= _LOGGED_PAUSE and now >= self._pause_logged_until:
                    self._pause_logged_until = now + pause
                    log.info("Waiting %.0f s for the rate limit", pause)
            if failed_too_long:
                raise last_error or NotSentError(
                    "the server stopped responding",
                    last_error=self.breaker.last_error,
                    retryable=not self.breaker.is_permanent,
                )
            yield Wait(min(delay, TURN_INTERVAL, deadline.remaining(now)), for_turn=True)

    def _timeout(self, state: CallState) -> float:
        remaining = state.deadline.remaining(self.monotonic())
        # A call that fails again and again leaves time for one that shows what came of it.
        longest = remaining / 2 if state.failures else remaining
        timeout = min(self.timeout, longest, max(remaining * SHARE_OF_ONE_STEP, _SHORTEST_TIMEOUT))
        return max(timeout, _LEAST_TIMEOUT)  # the deadline may have passed since the turn came

    def _note(self, state: CallState, error: TriggerDevError | None) -> None:
        """Let other calls know what a request shows of the server and the key."""
        works = shows_that_server_works(error)
        with self._lock:
            if works:
                self.key_is_rejected = False
                self.breaker.succeeded()
            elif isinstance(error, AuthenticationError):
                rejections = sum(isinstance(failure.error, AuthenticationError) for failure in state.failures)
                self.key_is_rejected = self.key_is_rejected or rejections > 1
            elif error is not None and works is False:
                is_permanent = tries_allowed(state.last) <= 1
                self.breaker.failed(error, is_permanent=is_permanent, monotonic=self.monotonic())

    def log_retry(self, attempt: int, pause: float, error: TriggerDevError | None) -> None:
        """Log that a request is repeated: of many in a row, one at a level that is shown."""
        now, level = self.monotonic(), logging.DEBUG
        if now >= self._retry_logged_at + _RETRY_LOG_INTERVAL:
            self._retry_logged_at, level = now, logging.INFO
        text = "Attempt %d failed, the next one follows in %.1f s: %s"
        log.log(level, text, attempt, pause, error)


def _ids_in(request: Request, result: Any) -> Iterator[str]:
    """Yield the ids of the runs and tokens that a result shows."""
    if request.url is not None:
        return
    for one in [request.run_id, *(result if isinstance(result, list) else [result])]:
        shown = getattr(one, "id", one)
        if isinstance(shown, str):
            yield shown
