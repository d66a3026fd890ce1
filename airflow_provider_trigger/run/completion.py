"""
Complete waitpoint tokens: one true outcome a token, and no token's failure stops another.

A completion answers 200 whatever became of the token (measured): only checks before and after it show that.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider_trigger.api.deadline import NEVER, Deadline
from airflow_provider_trigger.api.endpoints.waitpoint_tokens import complete_token, retrieve_token
from airflow_provider_trigger.api.errors import (
    AuthenticationError,
    NotFoundError,
    ServerError,
    TransportError,
    TriggerDevError,
    UnexpectedAnswerError,
)
from airflow_provider_trigger.api.models.waitpoint_tokens import WAITING, WaitpointToken
from airflow_provider_trigger.cancel.outcome import ActionFor, no_action
from airflow_provider_trigger.run.checks import CONCURRENCY
from airflow_provider_trigger.run.drive import CHECK_INTERVAL, StoppedError, pause

if TYPE_CHECKING:
    from airflow_provider_trigger.api.client import TriggerDevClient
    from airflow_provider_trigger.api.http import Call

T = TypeVar("T")

# How long a token is checked after its completion, and before a second one, in seconds.
_CHECK_FOR, _PAUSE = 10.0, 1.0
# How long requests in flight have after a stop: Airflow 3 kills the task 5 s after it.
_STOP_TIME = 1.0


class CompletionOutcome(StrEnum):
    """
    What became of a token, decided by checks of the token.

    - ``completed``: it has our data, since now or since an earlier try; equal data of somebody else count as
      ours. Its status is None where it waited before, and no check after its completion has shown it
    - ``already_completed``: somebody had completed it with other data, so this completion had no effect
    - ``timed_out``: its time limit was reached first, and what waited for it went on without our data
    - ``not_found``: this key's environment has no such token
    - ``accepted``: no check has shown it, so that it has our data unless it had ended before
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


class Completion:
    """
    Complete tokens; :attr:`results` can be read at any time, also when it was cut short.

    ``action_for`` says what to do about an error; after a stop, what is not done is ``failed``.
    """

    def __init__(
        self,
        client: TriggerDevClient,
        data: Any,
        *,
        deadline: Deadline = NEVER,
        action_for: ActionFor = no_action,
        is_stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self.rejection: AuthenticationError | None = None
        self._client = client
        self._data = data
        self._deadline = deadline
        self._action_for = action_for
        self._results: dict[str, CompletionResult] = {}
        self._is_stopped = is_stopped

    @property
    def results(self) -> list[CompletionResult]:
        """In the ids' order; a token that was not reached is ``failed``."""
        return list(self._results.values())

    def run(self, token_ids: Sequence[str]) -> list[CompletionResult]:
        """
        Complete the tokens, several at a time; a rejected key ends it, and is the ``rejection`` then.

        After a stop it ends within a second, also where the server does not answer.
        """
        left = partial(_failed, error="the work ended before an answer", retryable=True)
        self._results = {token_id: left(token_id) for token_id in token_ids}
        executor = ThreadPoolExecutor(CONCURRENCY, "trigger-dev-call")
        try:
            pending = {executor.submit(self._complete, token_id) for token_id in token_ids}
            while pending and not self._is_stopped():
                done, pending = wait(pending, timeout=CHECK_INTERVAL)
                for one in done:
                    one.result()  # an error that is not Trigger.dev's
            wait(pending, timeout=_STOP_TIME)
        finally:
            executor.shutdown(wait=False, cancel_futures=True)
        return self.results

    def _complete(self, token_id: str) -> None:
        try:
            self._results[token_id] = self._outcome_of(token_id)
        except (TriggerDevError, StoppedError) as error:
            if isinstance(error, AuthenticationError):
                self.rejection = error
            self._results[token_id] = self._failure(token_id, error)

    def _failure(self, token_id: str, error: Exception, **fields: Any) -> CompletionResult:
        if not isinstance(error, TriggerDevError):
            return _failed(token_id, "Airflow stopped the task", retryable=True, **fields)
        action = self._action_for(error)
        text = f"{error}; {action}" if action else str(error)
        return _failed(token_id, text, retryable=error.retryable, **fields)

    def _outcome_of(self, token_id: str) -> CompletionResult:
        if self.rejection is not None:
            raise self.rejection
        # An outage of checks keeps no token waiting.
        before = self._check(token_id, patience=0.0)
        if isinstance(before, AuthenticationError):
            raise before
        if isinstance(before, WaitpointToken) and before.status != WAITING:
            return self._result(before)
        lost = None
        try:
            self._send(token_id)
        except NotFoundError:
            return CompletionResult(token_id=token_id, outcome=CompletionOutcome.NOT_FOUND)
        except (TransportError, ServerError, UnexpectedAnswerError) as error:
            lost = error  # the server may have done it
        # With a deadline, it has its turn although the completion has opened the circuit breaker.
        deadline = Deadline(min(time.monotonic() + _CHECK_FOR, self._deadline.at))
        after = self._check(token_id, patience=0.0 if lost else None, deadline=deadline)
        if isinstance(after, WaitpointToken) and after.status != WAITING:
            return self._result(after)
        if lost:
            raise lost
        if isinstance(before, WaitpointToken) or isinstance(after, WaitpointToken):  # a replica may lag
            return CompletionResult(token_id=token_id, outcome=CompletionOutcome.COMPLETED)
        return self._failure(token_id, after, outcome=CompletionOutcome.ACCEPTED)

    def _check(self, token_id: str, **limits: Any) -> WaitpointToken | TriggerDevError | StoppedError:
        """Return the token, or why a check does not show it."""
        try:
            return self._call(retrieve_token(token_id), **limits)
        except (TriggerDevError, StoppedError) as error:
            return error

    def _send(self, token_id: str) -> None:
        try:
            self._call(complete_token(token_id, self._data))
        except NotFoundError:
            self._sleep(_PAUSE)  # a replica may lack a new token at first
            self._call(complete_token(token_id, self._data))

    def _result(self, token: WaitpointToken) -> CompletionResult:
        if token.has_timed_out:
            outcome = CompletionOutcome.TIMED_OUT
        elif not token.is_completed:
            return _failed(token.id, f"it is {token.status}", status=token.status)
        elif token.output_error is None and _is_same(token.output, self._data):
            outcome = CompletionOutcome.COMPLETED
        else:
            outcome = CompletionOutcome.ALREADY_COMPLETED
        return CompletionResult(token_id=token.id, outcome=outcome, status=token.status)

    def _call(self, call: Call[T], **limits: Any) -> T:
        return self._client.call(call, **{"deadline": self._deadline} | limits, sleep=self._sleep)

    def _sleep(self, seconds: float) -> None:
        pause(seconds, is_stopped=self._is_stopped)


def _failed(token_id: str, error: str, **fields: Any) -> CompletionResult:
    return CompletionResult(token_id=token_id, error=error, **{"outcome": CompletionOutcome.FAILED, **fields})


def _is_same(output: Any, data: Any) -> bool:
    """Return whether a token's output is this, as JSON."""
    # An empty text comes back as nothing (measured).
    return bool(output == (None if data == "" else json.loads(json.dumps(data))))
