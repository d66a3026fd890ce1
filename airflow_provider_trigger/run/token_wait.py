"""Wait for a waitpoint token, without I/O: what to request next, and what its reply means."""

from __future__ import annotations

from datetime import UTC
from enum import StrEnum
from typing import Any

from airflow_provider_trigger.api.endpoints.runs import UNKNOWN_RUN_ID, check_run
from airflow_provider_trigger.api.endpoints.waitpoint_tokens import retrieve_token
from airflow_provider_trigger.api.errors import (
    NotFoundError,
    TriggerDevError,
    UnknownTokenError,
    is_rejection,
)
from airflow_provider_trigger.api.http import Call
from airflow_provider_trigger.api.models.waitpoint_tokens import WaitpointToken
from airflow_provider_trigger.log import Log
from airflow_provider_trigger.run.wait import UNKNOWN_AFTER
from airflow_provider_trigger.run.wait_log import LOG_INTERVAL
from airflow_provider_trigger.run.wait_settings import check_interval


class TokenEnd(StrEnum):
    """
    Why a wait for a token ended.

    - ``COMPLETED``, ``TIMED_OUT``: the token's status
    - ``UNKNOWN``: no check has shown it, although the server works
    - ``REJECTED``: the server rejects the checks
    """

    COMPLETED = "COMPLETED"
    TIMED_OUT = "TIMED_OUT"
    UNKNOWN = "UNKNOWN"
    REJECTED = "REJECTED"


class TokenWait:
    """
    What is known of a token that is waited for: make :attr:`call`, :meth:`take` its reply, :meth:`pause`.

    :param token_id: the token
    :param conn_id: the id of the connection, for messages
    :param patience: how long the server may not know the token, or reject the checks, in seconds
    :param begun_at: when the wait began, in seconds since 1970, as all times here
    :param was_shown: whether a check has shown the token before
    """

    def __init__(
        self,
        token_id: str,
        *,
        conn_id: str,
        patience: float,
        begun_at: float,
        log: Log,
        was_shown: bool = False,
    ) -> None:
        self.token_id = token_id
        self.begun_at = self._logged_at = begun_at
        self.was_shown = was_shown
        self.token: WaitpointToken | None = None
        self.error: TriggerDevError | None = None
        """Why the last check failed, None if it did not."""
        self._name = f"Waitpoint token {token_id} of connection {conn_id!r}"
        self._patience = patience
        self._log = log
        self._failing_since: float | None = None
        self._rejected_since: float | None = None
        self._asks_otherwise = self._works_otherwise = False

    @property
    def call(self) -> Call[Any]:
        """What to request next."""
        return check_run(UNKNOWN_RUN_ID) if self._asks_otherwise else retrieve_token(self.token_id)

    def pause(self, now: float) -> float:
        """Return how many seconds to wait before the next call."""
        return 0.0 if self._asks_otherwise or self._works_otherwise else check_interval(now - self.begun_at)

    def take(self, reply: Any, now: float) -> TokenEnd | None:
        """Take in what a call returned, or the error that it ended with; return why the wait ends, if so."""
        if self._asks_otherwise:
            self._asks_otherwise, self._works_otherwise = False, isinstance(reply, NotFoundError)
            return None
        # Between two checks that did not show the token: so it was no outage.
        works_otherwise, self._works_otherwise = self._works_otherwise, False
        if isinstance(reply, WaitpointToken):
            return self._saw(reply, now)
        self._failed(reply, now)
        is_rejected = self._is_rejected(reply, now)
        if isinstance(reply, UnknownTokenError):
            is_doubtful = not self.was_shown and now - self.begun_at >= self._patience
            self._asks_otherwise = is_doubtful and not works_otherwise
            return TokenEnd.UNKNOWN if is_doubtful and works_otherwise else None
        return TokenEnd.REJECTED if is_rejected else None

    def _saw(self, token: WaitpointToken, now: float) -> TokenEnd | None:
        if self._failing_since is not None:
            self._log.info("%s can be checked again after %.0f s", self._name, now - self._failing_since)
        self.was_shown, self.token = True, token
        self.error = self._failing_since = self._rejected_since = None
        if token.is_completed:
            self._log.info("%s is %s", self._name, token.status)
            return TokenEnd.COMPLETED
        if token.has_timed_out:
            return TokenEnd.TIMED_OUT
        if self._is_time_to_log(now):
            text = "%s is still %s after %.0f minutes"
            self._log.info(text, self._name, token.status, (now - self.begun_at) / 60)
        return None

    def _failed(self, error: TriggerDevError, now: float) -> None:
        self.error = error
        if self._failing_since is None:
            self._failing_since = self._logged_at = now
            self._log.warning("Check of %s failed; still waiting: %s", self._name, error)
        elif self._is_time_to_log(now):
            text = "%s could not be checked for %.0f minutes; still waiting: %s"
            self._log.warning(text, self._name, (now - self._failing_since) / 60, error)

    def _is_time_to_log(self, now: float) -> bool:
        is_time = now - self._logged_at >= LOG_INTERVAL
        self._logged_at = now if is_time else self._logged_at
        return is_time

    def _is_rejected(self, error: TriggerDevError, now: float) -> bool:
        if not is_rejection(error) and not isinstance(error, NotFoundError):
            self._rejected_since = None
            return False
        self._rejected_since = now if self._rejected_since is None else self._rejected_since
        return now - self._rejected_since >= max(self._patience, UNKNOWN_AFTER)

    def why(self, end: TokenEnd) -> str:
        """Return in one line why the wait ended without the token's completion, and what to check."""
        if end is TokenEnd.TIMED_OUT:
            since = self.token and (self.token.timeout_at or self.token.completed_at)
            when = f" at {since.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if since else ""
            return (
                f"{self._name} has timed out{when}, before anybody completed it: a run that waits for it has "
                "continued without an answer, and no completion has an effect any more. Create a new token"
            )
        if end is TokenEnd.REJECTED:
            return f"The server rejects the checks of waitpoint token {self.token_id}: {self.error}"
        return (
            f"{self._name} was not shown by any check for {self._patience:g} s (retry_for): the server "
            "answers 500 for a token that the key's environment does not have. Check the token's id, the "
            f"connection, and whether its secret key is of the token's environment: {self.error}"
        )
