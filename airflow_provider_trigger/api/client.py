"""The client: makes calls, and repeats them, at the pace that the rate limit and an outage allow."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from operator import attrgetter
from typing import Any, TypeVar

from tenacity import Retrying

from airflow_provider_trigger import defaults
from airflow_provider_trigger.api import errors, limits
from airflow_provider_trigger.api.answers import server_wait, should_retry, with_trusted_date
from airflow_provider_trigger.api.http import Call, Request, Response, ServerSettings
from airflow_provider_trigger.api.limits import Deadline, RateLimit
from airflow_provider_trigger.api.secret_key import SecretKey
from airflow_provider_trigger.api.transport import Reply, Transport

log = logging.getLogger(__name__)

T = TypeVar("T")
Sleep = Callable[[float], None]

# A call waits this long for its turn, in seconds, and checks again whether it may be sent.
_TURN_INTERVAL = 0.1
# A shorter pause for the rate limit is not worth a line in the log, in seconds.
_LOGGED_PAUSE = 2.0
# In an outage many calls are repeated: one line within this time, in seconds, is above debug level.
_RETRY_LOG_INTERVAL = 5.0


class TriggerDevClient:
    """
    A client for one Trigger.dev environment, safe to share between threads.

    :param settings: how to reach the server
    :param max_connections: how many connections are kept open
    :param rate_limit: a pace that is shared with other clients, or has another reserve; None for its own
    :param secret_key: a key that is shared with other clients, or can be fetched again; None for that of the
        settings
    """

    sleep: Sleep | None = None  # for calls without one of their own
    deadline = limits.NEVER  # of all calls, also of those with a later one of their own
    fetches_key = True  # after a 401

    def __init__(
        self,
        settings: ServerSettings,
        *,
        max_connections: int = defaults.MAX_CONCURRENCY,
        rate_limit: RateLimit | None = None,
        secret_key: SecretKey | None = None,
    ) -> None:
        self.settings = settings
        self.breaker = limits.CircuitBreaker()
        self.key_is_rejected = False
        """Whether a call got a 401 twice, and no answer since then has shown that the key is valid."""
        self._key = secret_key or SecretKey(settings.secret_key)
        self.transport = Transport(settings, self._key, max_connections=max_connections)
        self._rate_limit = rate_limit or RateLimit()
        self._lock = self._rate_limit.lock
        self._pause_logged_until = self._retry_logged_at = -math.inf
        self._is_closed = False

    def __enter__(self) -> TriggerDevClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; calls in other threads send nothing more."""
        self._is_closed = True
        self.transport.close()

    def call(
        self,
        call: Call[T],
        *,
        deadline: Deadline = limits.NEVER,
        patience: float | None = None,
        sleep: Callable[[float], None] | None = None,
    ) -> T:
        """
        Make one call. Repeat it if that is safe and may help, after a 401 also with a changed key.

        :param call: from :mod:`airflow_provider_trigger.api`
        :param deadline: the deadline of the work that the call belongs to
        :param patience: how long to repeat it after the first request, in seconds; None for ``retry_for``
        :param sleep: waits for a number of seconds, 0 before each request: an error that it raises ends the
            call before anything more is sent. None for the client's own, or ``time.sleep``
        :raises TriggerDevError: the last error
        """
        version, sleep = self._key.version, sleep or self.sleep
        deadline = min(deadline, self.deadline, key=attrgetter("at"))
        patience = self.settings.retry_for if patience is None else patience
        try:
            return self._repeat(call, deadline, patience, sleep)
        except errors.AuthenticationError as error:
            rejected = error.with_traceback(None)
            if not (self.fetches_key and self._key.renew(version, call)):
                raise
        self.key_is_rejected = False
        return self._repeat(call, deadline, patience, sleep, last_error=rejected)

    def _repeat(
        self,
        call: Call[T],
        deadline: Deadline,
        patience: float,
        sleep: Sleep | None,
        last_error: errors.TriggerDevError | None = None,
    ) -> T:
        # Tenacity is the loop; Tries decides.
        tries = limits.Tries(time.monotonic(), deadline, patience, last_error)
        retrying = Retrying(
            sleep=sleep or time.sleep,
            retry=tries.may_help,
            wait=tries.pause,
            stop=tries.are_over,
            before_sleep=lambda state: self.log_retry(
                state.attempt_number, state.upcoming_sleep, tries.last_error
            ),
            reraise=True,
        )
        try:
            result: T = retrying(self._try, call, tries, sleep)
        except errors.TriggerDevError as raised:
            # The error's traceback refers to this frame, so the frame must not refer to the error.
            error, tries.last_error = tries.last_error or raised, None
        else:
            return result
        raise error.with_traceback(None)

    def _try(self, call: Call[T], tries: limits.Tries, sleep: Sleep | None) -> T:
        reply = self._send_in_turn(call, tries, sleep)
        try:
            if isinstance(reply, errors.TriggerDevError):
                raise reply
            result = call.read(with_trusted_date(reply, now=time.time()))
        except errors.TriggerDevError as raised:
            error = raised.with_traceback(None)
        else:
            if call.request.url is None:
                self._note_success()
            return result
        self._note_failure(call.request, reply, error, tries)
        raise error  # not in the block above, so that it has no context

    def _send_in_turn(self, call: Call[Any], tries: limits.Tries, sleep: Sleep | None) -> Reply:
        """Send a request when its turn has come; return its response, or its error."""
        request, begun, response = call.request, time.monotonic(), None
        while pause := self._turn(request, tries):
            (sleep or time.sleep)(pause)
        tries.started_at += time.monotonic() - begun  # to wait for a turn uses up no patience
        try:
            if sleep:
                sleep(0)
            if self._is_closed:
                raise errors.NotSentError("the client was closed")
            timeout = min(self.settings.timeout, call.timeout)
            reply = self.transport.send(request, tries.timeout_within(timeout, now=time.monotonic()))
            response = reply if isinstance(reply, Response) else None
            return reply
        finally:
            if request.url is None:
                with self._lock:
                    self._rate_limit.ended(response, monotonic=time.monotonic(), now=time.time())

    def _turn(self, request: Request, tries: limits.Tries) -> float:
        """Return how many seconds to wait for a turn, 0 to send now; a NotSentError ends the call."""
        now, deadline = time.monotonic(), tries.deadline
        if not deadline.remaining(now):
            raise errors.NotSentError("the time limit was reached", retryable=True)
        if request.url is not None:
            return 0.0
        with self._lock:
            pause = self._rate_limit.delay(monotonic=now, is_last=deadline.is_for_one)
            delay = max(pause, self.breaker.delay(monotonic=now))
            if not delay:
                self.breaker.sent(monotonic=now)
                self._rate_limit.sent()
                return 0.0
            # A deadline of the work decides how long to wait for the server.
            for_server = tries.patience if math.isinf(deadline.at) else math.inf
            failed_too_long = self.breaker.has_failed_too_long(for_server, monotonic=now)
            if pause >= _LOGGED_PAUSE and now >= self._pause_logged_until:
                self._pause_logged_until = now + pause
                log.info("Waiting %.0f s for the rate limit", pause)
        if failed_too_long:
            raise errors.NotSentError(
                "the server stopped responding",
                last_error=self.breaker.last_error,
                retryable=not self.breaker.is_permanent,
            )
        return min(delay, _TURN_INTERVAL, deadline.remaining(now))

    def _note_success(self) -> None:
        with self._lock:
            self.key_is_rejected = False
            self.breaker.succeeded()

    def _note_failure(
        self, request: Request, reply: Reply, error: errors.TriggerDevError, tries: limits.Tries
    ) -> None:
        """Complete an error, and note for other calls what it shows about server and key."""
        response, now = reply if isinstance(reply, Response) else None, time.monotonic()
        error.run_id = request.run_id
        self._key.hide_in(error)
        error.server_wait = server_wait(response, now=time.time()) if response else None
        error.tries_allowed = limits.tries_allowed(
            request,
            error,
            should_retry=should_retry(response),
            has_worked=self.breaker.has_worked and request.url is None,
            is_confirmed=self.key_is_rejected,
        )
        similar = tries.note(error, now=now)
        if request.url is not None:
            return
        works = limits.shows_that_server_works(error)
        if works:
            self._note_success()
            return
        with self._lock:
            if isinstance(error, (errors.AuthenticationError, errors.PermissionDeniedError)):
                self.breaker.answered()  # else a rejected key after an outage would keep the breaker open
                self.key_is_rejected |= isinstance(error, errors.AuthenticationError) and similar > 1
            elif works is False:
                self.breaker.failed(error, monotonic=now)

    def log_retry(self, attempt: int, pause: float, error: errors.TriggerDevError | None) -> None:
        """Log that a request is repeated, within an interval only once above debug level."""
        now, level = time.monotonic(), logging.DEBUG
        if now >= self._retry_logged_at + _RETRY_LOG_INTERVAL:
            self._retry_logged_at, level = now, logging.INFO
        log.log(level, "Attempt %d failed, the next one follows in %.1f s: %s", attempt, pause, error)
