"""Is no answer of Trigger.dev's to be had, for all runs and not for a few: then nobody goes on asking."""

from __future__ import annotations

import math
import time

from airflow_provider_trigger.api.client import TriggerDevClient
from airflow_provider_trigger.api.errors import TriggerDevError, is_foreign

# So many runs in a row without an answer are the server's fault; fewer may be their own.
SILENT_RUNS = 3
# So many without a single answer of Trigger.dev's are the host's fault; fewer may be those of odd ids.
FOREIGN_RUNS = 10


class Silence:
    """
    Watches one piece of work after another, such as all cancels and then all looks.

    :param client: what the work is done with
    """

    def __init__(self, client: TriggerDevClient) -> None:
        self._client = client
        self._errors: dict[str, TriggerDevError] = {}
        self._heard_at = 0.0
        self._unheard = 0
        self._foreign = 0
        self._given_up_at = -math.inf

    @property
    def lasts(self) -> bool:
        """Whether the server was given up, and has not answered since."""
        return self._client.last_answer_at < self._given_up_at

    @property
    def is_likely(self) -> bool:
        """Whether a call was given up, and the server has long been silent: then one more try is enough."""
        return bool(self._unheard) and self._client.last_answer_at <= self._heard_at and self._is_long

    @property
    def _is_long(self) -> bool:
        # A call ends before its time is over, since it does not begin a wait that would be too long; where
        # none is repeated, it lasts as long as one request.
        return (self._client.retry_for / 2 or self._client.timeout) <= time.monotonic() - self._heard_at

    def error(self, doing: str) -> TriggerDevError | None:
        """
        Return what was met when a piece of work was given up, None if it was not.

        :param doing: the name of the work
        """
        return self._errors.get(doing)

    def begin(self) -> None:
        """Begin the next piece of work; a silence that lasts goes on in it."""
        if not self.lasts:
            self._heard_at, self._unheard = time.monotonic(), 0

    def ends_work(self, doing: str, error: TriggerDevError) -> bool:
        """
        Count a failure, and tell whether the rest of the work is to be given up.

        :param doing: the name of the work
        :param error: what a call ended with
        """
        if self._is_enough(error):
            self._errors[doing] = error
            self._given_up_at = time.monotonic()
            return True
        return False

    def _is_enough(self, error: TriggerDevError) -> bool:
        if is_foreign(error) and self._client.last_answer_at == -math.inf:
            self._foreign += 1
            return self._foreign >= FOREIGN_RUNS
        if not error.retryable:
            return False
        if self._client.last_answer_at > self._heard_at:
            self._heard_at, self._unheard = self._client.last_answer_at, 0
        self._unheard += 1
        return self._unheard >= SILENT_RUNS and self._is_long
