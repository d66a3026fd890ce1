"""
Complete waitpoint tokens: one true outcome a token, and no token's failure stops another.

A completion answers 200 whatever became of the token (measured): only checks before and after it show that.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
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
from airflow_provider_trigger.run.checks import in_threads
from airflow_provider_trigger.run.drive import StoppedError, pause

if TYPE_CHECKING:
    from airflow_provider_trigger.api.client import TriggerDevClient
    from airflow_provider_trigger.api.http import Call

T = TypeVar("T")

# How long a completed token may be shown as WAITING, as a replica lags, and between two checks, in seconds.
_LAG, _PAUSE = 10.0, 1.0


class CompletionOutcome(StrEnum):
    """
    What became of a token, decided by checks of the token.

    - ``completed``: it waited before, and has our data now; equal data of somebody else count as ours
    - ``already_completed``: somebody had completed it, so this completion had no effect
    - ``timed_out``: its time limit was reached first, and what waited for it went on without our data
    - ``not_found``: this key's environment has no such token
    - ``failed``: it is not known to be completed; the error says why
    """

    COMPLETED = "completed"
    ALREADY_COMPLETED = "already_completed"
    TIMED_OUT = "timed_out"
    NOT_FOUND = "not_found"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True, slots=True)
class CompletionResult:
    """
    What became of one token.

    :param token_id: the token id as it was given
    :param outcome: see :class:`CompletionOutcome`
    :param status: Trigger.dev's word as last seen, None if the token was not seen
    :param error: for a failure, why, and what to do; None otherwise
    :param retryable: for a failure, whether trying again later may succeed
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

    ``action_for`` says what to do about an error.
    """

    def __init__(
        self,
        client: TriggerDevClient,
        data: Any,
        *,
        deadline: Deadline = NEVER,
        action_for: ActionFor = no_action,
    ) -> None:
        self.rejection: AuthenticationError | None = None
        self._client = client
        self._data = data
        self._deadline = deadline
        self._action_for = action_for
        self._results: dict[str, CompletionResult] = {}
        self._is_stopped = False

    @property
    def results(self) -> list[CompletionResult]:
        """In the ids' order; a token that was not reached is ``failed``."""
        return list(self._results.values())

    def run(self, token_ids: Sequence[str]) -> list[CompletionResult]:
        """Complete the tokens, several at a time; a rejected key ends it, and is the ``rejection`` then."""
        left = partial(_failed, error="the work was ended before", retryable=True)
        self._results = {token_id: left(token_id) for token_id in token_ids}
        for _ in in_threads(self._complete, token_ids):
            pass
        return self.results

    def stop(self) -> None:
        """Send nothing more: what is not done is ``failed``, and can be retried."""
        self._is_stopped = True

    def _complete(self, token_id: str) -> None:
        try:
            self._results[token_id] = self._outcome_of(token_id)
        except StoppedError:
            self._results[token_id] = _failed(token_id, "Airflow stopped the task", retryable=True)
        except TriggerDevError as error:
            if isinstance(error, AuthenticationError):
                self.rejection = error
            action = self._action_for(error)
            text = f"{error}; {action}" if action else str(error)
            self._results[token_id] = _failed(token_id, text, retryable=error.retryable)

    def _outcome_of(self, token_id: str) -> CompletionResult:
        if self.rejection is not None:
            raise self.rejection
        before = self._before(token_id)
        if before is not None and before.status != WAITING:
            return _result(before, is_ours=False)
        lost = None
        try:
            self._send(token_id)
        except NotFoundError:
            return CompletionResult(token_id=token_id, outcome=CompletionOutcome.NOT_FOUND)
        except (TransportError, ServerError, UnexpectedAnswerError) as error:
            lost = error  # the server may have done it
        after = self._after(token_id, lost)
        return _result(after, is_ours=is_same(after.output, self._data))

    def _before(self, token_id: str) -> WaitpointToken | None:
        """Return the token, None where one check does not show it: no outage of checks keeps it waiting."""
        try:
            return self._call(retrieve_token(token_id), patience=0.0)
        except AuthenticationError:
            raise
        except TriggerDevError:
            return None

    def _send(self, token_id: str) -> None:
        try:
            self._call(complete_token(token_id, self._data))
        except NotFoundError:
            self._sleep(_PAUSE)  # a replica may lack a new token at first
            self._call(complete_token(token_id, self._data))

    def _after(self, token_id: str, lost: TriggerDevError | None) -> WaitpointToken:
        """Return the token once it is shown as ended; after a completion without an answer, check once."""
        until = time.monotonic() + _LAG
        # With a deadline, it has its turn although the completion has opened the circuit breaker.
        once = {"patience": 0.0, "deadline": Deadline(min(until, self._deadline.at))}
        while True:
            try:
                token = self._call(retrieve_token(token_id), **once if lost else {})
            except TriggerDevError as error:
                raise (lost or error) from None
            if token.status != WAITING:
                return token
            if lost or time.monotonic() >= until:
                text = "accepted, but the token is still shown as WAITING"
                raise lost or TriggerDevError(text, retryable=True)
            self._sleep(_PAUSE)

    def _call(self, call: Call[T], **limits: Any) -> T:
        return self._client.call(call, **{"deadline": self._deadline} | limits, sleep=self._sleep)

    def _sleep(self, seconds: float) -> None:
        pause(seconds, is_stopped=lambda: self._is_stopped)


def _result(token: WaitpointToken, *, is_ours: bool) -> CompletionResult:
    if token.has_timed_out:
        outcome = CompletionOutcome.TIMED_OUT
    elif not token.is_completed:
        return _failed(token.id, f"it is {token.status}", status=token.status)
    else:
        outcome = CompletionOutcome.COMPLETED if is_ours else CompletionOutcome.ALREADY_COMPLETED
    return CompletionResult(token_id=token.id, outcome=outcome, status=token.status)


def _failed(token_id: str, error: str, **fields: Any) -> CompletionResult:
    return CompletionResult(token_id=token_id, outcome=CompletionOutcome.FAILED, error=error, **fields)


def is_same(output: Any, data: Any) -> bool:
    """Return whether a token's output is what it was completed with, as JSON and as the server keeps it."""
    try:
        return _normalized(output) == _normalized(data)
    except RecursionError:  # data of somebody else, that could not be ours
        return False


def _normalized(data: Any) -> str:
    """Return JSON with all numbers as JavaScript has them: floats, and no sign of a zero."""
    text = json.dumps(None if data == "" else data)  # an empty text comes back as nothing (measured)
    value = json.loads(text, parse_int=float, parse_float=lambda number: float(number) + 0.0)
    return json.dumps(value, sort_keys=True)
