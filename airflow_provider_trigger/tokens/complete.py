"""Complete waitpoint tokens, and wait for them; only a check shows the outcome, no 200 does (measured)."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow_provider_trigger.api import errors
from airflow_provider_trigger.api.answers import well_formed
from airflow_provider_trigger.api.limits import Deadline
from airflow_provider_trigger.api.plain import plain
from airflow_provider_trigger.api.runs import UNKNOWN_RUN_ID, check_run
from airflow_provider_trigger.api.tokens import (
    WAITING,
    WaitpointToken,
    complete_token,
    ended_token,
    retrieve_token,
)
from airflow_provider_trigger.defaults import MAX_CONCURRENCY
from airflow_provider_trigger.log import LOG_INTERVAL, Log
from airflow_provider_trigger.run.checks import UNKNOWN_AFTER, reply_of
from airflow_provider_trigger.run.stop import CHECK_INTERVAL, StoppedError, pause

if TYPE_CHECKING:
    from airflow_provider_trigger.api.client import TriggerDevClient
    from airflow_provider_trigger.api.http import Call

# How long a check may take after the last completion, or the last token that was shown, in seconds.
_TIME_FOR_CHECK = 10.0
# How long requests in flight may take after a stop, in seconds: Airflow 3 kills the task 5 s after it.
_STOP_TIME = 1.0

TokenReply = WaitpointToken | errors.TriggerDevError | None
"""The result of a check or a completion, or its error; a completion returns None."""

_NO_ANSWER = errors.TriggerDevError("the work ended before an answer", retryable=True)


class CompletionOutcome(StrEnum):
    """
    What became of a token, decided by checks of the token.

    - ``completed``: a check shows that it has our data, since now or since an earlier try; equal data of
      somebody else count as ours
    - ``already_completed``: somebody had completed it with other data, so this completion had no effect
    - ``timed_out``: its time limit was reached first, and what waited for it went on without our data
    - ``not_found``: this key's environment has no such token
    - ``accepted``: no check after the completion has shown what it has: our data, unless it had ended before
    - ``failed``: it is not known to be completed; the error says why
    """

    COMPLETED = "completed"
    ALREADY_COMPLETED = "already_completed"
    TIMED_OUT = "timed_out"
    NOT_FOUND = "not_found"
    ACCEPTED = "accepted"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True, slots=True)
class CompletionResult:
    """
    What became of one token.

    :param token_id: the token id as it was given
    :param outcome: see :class:`CompletionOutcome`
    :param status: Trigger.dev's word as last seen, None if the token was not seen
    :param error: where it failed or is not confirmed, why, and what to do; None otherwise
    :param retryable: for these, whether trying again later may succeed
    """

    token_id: str
    outcome: CompletionOutcome
    status: str | None = None
    error: str | None = None
    retryable: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON; ``error`` only where there is one."""
        result = {"token_id": self.token_id, "outcome": self.outcome.value, "status": self.status}
        return result if self.error is None else {**result, "error": self.error}


@dataclass(eq=False)
class Completion:
    """Complete tokens; :attr:`results` can be read at any time, also when it was cut short."""

    client: TriggerDevClient
    data: Any
    deadline: Deadline
    action_for: errors.ActionFor
    is_stopped: Callable[[], bool]
    rejection: errors.AuthenticationError | None = None  # of the key: nothing more is sent then
    _replies: dict[str, list[TokenReply]] = field(default_factory=dict)  # to the completion, to the check
    _progressed_at: float = 0.0  # when a completion ended, or a token was shown, by the monotonic clock

    @property
    def results(self) -> list[CompletionResult]:
        """In the ids' order; a token that was not reached is ``failed``."""
        return [
            _outcome_of(token_id, replies, self.data, self.action_for)
            for token_id, replies in self._replies.items()
        ]

    def run(self, token_ids: Sequence[str]) -> list[CompletionResult]:
        """
        Complete the tokens, several at a time, then check them; it ends within a second after a stop.

        A completion of a token that has ended changes nothing (measured), so that no check comes before it.
        """
        self._replies = {token_id: [] for token_id in token_ids}
        executor = ThreadPoolExecutor(MAX_CONCURRENCY, "trigger-dev-call")
        try:
            completing = {executor.submit(self._complete, token_id): token_id for token_id in self._replies}
            pending: set[Future[None]] = set(completing)
            while pending and not self.is_stopped():
                done, pending = wait(pending, timeout=CHECK_INTERVAL)
                for request in done:
                    request.result()  # an error that is not Trigger.dev's
                    if token_id := completing.pop(request, None):  # its check comes after all completions
                        pending.add(executor.submit(self._check, token_id))
            wait(pending, timeout=_STOP_TIME)
        finally:
            executor.shutdown(wait=False, cancel_futures=True)
        return self.results

    def _complete(self, token_id: str) -> None:
        self._replies[token_id].append(self._reply(complete_token(token_id, self.data), self.deadline))
        self._progressed_at = time.monotonic()

    def _check(self, token_id: str) -> None:
        is_accepted = self._replies[token_id][0] is None
        # With a deadline, it has its turn although a completion has opened the circuit breaker.
        deadline = Deadline(min(self._progressed_at + _TIME_FOR_CHECK, self.deadline.at))
        call = ended_token(retrieve_token(token_id)) if is_accepted else retrieve_token(token_id)
        reply = self._reply(call, deadline, patience=None if is_accepted else 0.0)
        if isinstance(reply, WaitpointToken):
            self._progressed_at = time.monotonic()
        self._replies[token_id].append(reply)

    def _reply(self, call: Call[Any], deadline: Deadline, *, patience: float | None = None) -> TokenReply:
        if self.rejection is not None:
            return self.rejection
        sleep = partial(pause, is_stopped=self.is_stopped)
        try:
            reply: TokenReply = reply_of(
                self.client.call, call, deadline=deadline, patience=patience, sleep=sleep
            )
        except StoppedError:
            return errors.TriggerDevError("Airflow stopped the task", retryable=True)
        if isinstance(reply, errors.AuthenticationError):
            self.rejection = reply
        return reply


def _outcome_of(
    token_id: str, replies: Sequence[TokenReply], data: Any, action_for: errors.ActionFor
) -> CompletionResult:
    """Decide the outcome of a token from the replies so far: to its completion, to the check after it."""
    sent, shown = [*replies, *[_NO_ANSWER] * 2][:2]
    if isinstance(shown, WaitpointToken) and shown.status != WAITING:
        return _of_ended(shown, data)
    if isinstance(sent, errors.NotFoundError) and not isinstance(shown, WaitpointToken):
        return CompletionResult(token_id=token_id, outcome=CompletionOutcome.NOT_FOUND)
    outcome, error = (CompletionOutcome.ACCEPTED, shown) if sent is None else (CompletionOutcome.FAILED, sent)
    assert isinstance(error, errors.TriggerDevError)
    text = "; ".join(filter(None, (str(error), action_for(error))))
    # A 404 may pass: a check has shown the token.
    retryable = error.retryable or isinstance(error, errors.NotFoundError)
    return CompletionResult(token_id=token_id, outcome=outcome, error=text, retryable=retryable)


def _of_ended(token: WaitpointToken, data: Any) -> CompletionResult:
    outcome, error = CompletionOutcome.ALREADY_COMPLETED, None
    if token.has_timed_out:
        outcome = CompletionOutcome.TIMED_OUT
    elif not token.is_completed:  # a status that is not known yet
        outcome, error = CompletionOutcome.FAILED, f"it is {token.status}"
    # The server returns nothing for an empty text (measured).
    elif not token.output_error and _form(token.output) == _form(None if data == "" else data):
        outcome = CompletionOutcome.COMPLETED
    return CompletionResult(token_id=token.id, outcome=outcome, status=token.status, error=error)


def _form(data: Any) -> str:
    """Return a text that is the same for equal data: of 1 and 1.0, but not of 1 and true, unlike ``==``."""
    text = well_formed(json.dumps(data, ensure_ascii=False, default=plain))
    return json.dumps(json.loads(text, parse_int=float), sort_keys=True)


class TokenLostError(Exception):
    """A token has timed out or is unknown, or its data cannot be read: to wait longer is useless."""


@dataclass(eq=False)
class TokenWait:
    """The wait for a token; times are in seconds since 1970."""

    token_id: str
    conn_id: str
    patience: float  # how long the server may not know the token, or reject the checks, in seconds
    begun_at: float
    log: Log
    was_shown: bool = False  # whether a check has shown the token before
    is_deferred: bool = False  # then an error that is not retryable does not end the wait at once
    _logged_at: float = field(default=-math.inf, init=False)
    _failing_since: float = field(default=math.inf, init=False)
    _rejected_since: float = field(default=math.inf, init=False)

    @property
    def is_in_doubt(self) -> bool:
        """Whether the checks may soon show that waiting longer is useless."""
        is_new = not self.was_shown and time.time() - self.begun_at < max(self.patience, UNKNOWN_AFTER)
        return self._rejected_since < math.inf or (is_new and self._failing_since < math.inf)

    def __str__(self) -> str:
        return f"Waitpoint token {self.token_id} of connection {self.conn_id!r}"

    def check(self, call: Callable[..., Any], **how: Any) -> WaitpointToken | None:
        """Return the token once it is completed, None while it is not; ``how`` is for the first check."""
        reply = reply_of(call, retrieve_token(self.token_id), **how)
        patience = max(self.patience, UNKNOWN_AFTER)
        is_late = not self.was_shown and time.time() - self.begun_at >= patience
        if is_late and isinstance(reply, errors.UnknownTokenError):
            proof = reply_of(call, check_run(UNKNOWN_RUN_ID))
            # A 403, for a key that may not read runs, also shows that the server works.
            works = isinstance(proof, (errors.NotFoundError, errors.PermissionDeniedError))
            if works:  # check again: it may work only since then, and was_shown is lost by a reschedule
                reply = reply_of(call, retrieve_token(self.token_id))
            if works and isinstance(reply, errors.UnknownTokenError):
                raise TokenLostError(
                    f"{self} was not shown by any check for {patience:g} s (retry_for): the server "
                    "answers 500 for a token that the key's environment does not have. Check the token's id, "
                    f"the connection, and whether its secret key is of the token's environment: {reply}"
                )
        if isinstance(reply, WaitpointToken):
            return self._saw(reply)
        self.failed(reply)
        return None

    def _saw(self, token: WaitpointToken) -> WaitpointToken | None:
        if self._failing_since < math.inf:
            self.log.info("%s can be checked again after %.0f s", self, time.time() - self._failing_since)
        self.was_shown, self._logged_at = True, -math.inf
        self._failing_since = self._rejected_since = math.inf
        if token.has_timed_out:
            raise TokenLostError(
                f"{self} has timed out before anybody completed it: a run that waits for it has continued "
                "without an answer, and no completion has an effect any more. Create a new token"
            )
        if not token.is_completed:
            return None
        if token.output_error:
            raise TokenLostError(f"{self} is {token.status}, but {token.output_error}")
        self.log.info("%s is %s", self, token.status)
        return token

    def failed(self, error: errors.TriggerDevError) -> None:
        """Note a failed check; raise its error if that ends the wait."""
        now = time.time()
        self._failing_since = min(self._failing_since, now)
        is_rejected = errors.is_rejection(error) or isinstance(error, errors.NotFoundError)
        self._rejected_since = min(self._rejected_since, now) if is_rejected else math.inf
        is_useless = not (self.was_shown or self.is_deferred or error.retryable)
        if is_useless or now - self._rejected_since >= max(self.patience, UNKNOWN_AFTER):
            raise error
        if now - self._logged_at >= LOG_INTERVAL:
            self._logged_at = now
            self.log.warning("Check of %s failed; still waiting: %s", self, error)
