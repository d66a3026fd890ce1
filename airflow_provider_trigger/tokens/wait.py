"""Wait for a waitpoint token: check it, and decide what the reply means."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC
from typing import Any

from airflow_provider_trigger.api.errors import (
    NotFoundError,
    PermissionDeniedError,
    TriggerDevError,
    UnknownTokenError,
    is_rejection,
)
from airflow_provider_trigger.api.runs import UNKNOWN_RUN_ID, check_run
from airflow_provider_trigger.api.tokens import WaitpointToken, retrieve_token
from airflow_provider_trigger.log import Log
from airflow_provider_trigger.run.checks import UNKNOWN_AFTER, reply_of
from airflow_provider_trigger.run.wait import LOG_INTERVAL


class TokenLostError(Exception):
    """A token has timed out or is unknown, or its data cannot be read: to wait longer is useless."""


@dataclass(eq=False)
class TokenWait:
    """
    What is known of a token that is waited for; times are in seconds since 1970.

    :param conn_id: the id of the connection, for messages
    :param patience: how long the server may not know the token, or reject the checks, in seconds
    :param was_shown: whether a check has shown the token before
    :param is_deferred: whether a check that may be useless is made again, as one in the worker was not
    """

    token_id: str
    conn_id: str
    patience: float
    begun_at: float
    log: Log
    was_shown: bool = False
    is_deferred: bool = False
    _logged_at: float = field(default=-math.inf, init=False)
    _failing_since: float = field(default=math.inf, init=False)
    _rejected_since: float = field(default=math.inf, init=False)

    def __str__(self) -> str:
        return f"Waitpoint token {self.token_id} of connection {self.conn_id!r}"

    def check(self, call: Callable[..., Any], **how: Any) -> WaitpointToken | None:
        """
        Return the token once it is completed, None while it is not.

        A TokenLostError, or the error of a check that is rejected, ends the wait. ``how`` the call is made
        concerns the first check: before the token counts as unknown, more patience is due.
        """
        reply = reply_of(call, retrieve_token(self.token_id), **how)
        is_late = not self.was_shown and time.time() - self.begun_at >= self.patience
        if is_late and isinstance(reply, UnknownTokenError):
            proof = reply_of(call, check_run(UNKNOWN_RUN_ID))
            # Also a key that may not read runs shows by its 403 that the server works.
            if isinstance(proof, (NotFoundError, PermissionDeniedError)):
                # Once more, as an outage may have ended in between, and a rescheduled sensor does not know
                # what it has seen.
                reply = reply_of(call, retrieve_token(self.token_id))
                if isinstance(reply, UnknownTokenError):
                    raise TokenLostError(
                        f"{self} was not shown by any check for {self.patience:g} s (retry_for): the "
                        "server answers 500 for a token that the key's environment does not have. Check the "
                        "token's id, the connection, and whether its secret key is of the token's "
                        f"environment: {reply}"
                    )
        if isinstance(reply, WaitpointToken):
            return self._saw(reply)
        self.failed(reply)
        return None

    def _saw(self, token: WaitpointToken) -> WaitpointToken | None:
        if self._failing_since < math.inf:
            seconds = time.time() - self._failing_since
            self.log.info("%s can be checked again after %.0f s", self, seconds)
        self.was_shown, self._logged_at = True, -math.inf
        self._failing_since = self._rejected_since = math.inf
        if token.has_timed_out:
            since = token.timeout_at or token.completed_at
            when = f" at {since.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if since else ""
            raise TokenLostError(
                f"{self} has timed out{when}, before anybody completed it: a run that waits for it has "
                "continued without an answer, and no completion has an effect any more. Create a new token"
            )
        if not token.is_completed:
            return None
        if token.output_error:
            raise TokenLostError(f"{self} is {token.status}, but {token.output_error}")
        self.log.info("%s is %s", self, token.status)
        return token

    def failed(self, error: TriggerDevError) -> None:
        """Take in that a check failed; it is raised where that ends the wait."""
        now = time.time()
        self._failing_since = min(self._failing_since, now)
        is_rejected = is_rejection(error) or isinstance(error, NotFoundError)
        self._rejected_since = min(self._rejected_since, now) if is_rejected else math.inf
        is_useless = not (self.was_shown or self.is_deferred or error.retryable)
        if is_useless or now - self._rejected_since >= max(self.patience, UNKNOWN_AFTER):
            raise error
        if now - self._logged_at >= LOG_INTERVAL:
            self._logged_at = now
            self.log.warning("Check of %s failed; still waiting: %s", self, error)
