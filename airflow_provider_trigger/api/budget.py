"""How long a piece of work may take, and whether it was stopped."""

from __future__ import annotations

import math
import threading
import time

from airflow_provider_trigger.api.errors import NotSentError


class Budget:
    """
    The time for a piece of work, shared by all threads that do it.

    :param seconds: how long the work may take from now on; None for as long as it needs
    """

    def __init__(self, *, seconds: float | None = None) -> None:
        self._seconds = seconds
        self._ends_at = math.inf if seconds is None else time.monotonic() + seconds
        self._stopped = threading.Event()

    def stop(self) -> None:
        """End the work: nothing new is begun, and whoever sleeps wakes."""
        self._stopped.set()

    @property
    def stopped(self) -> bool:
        """Whether :meth:`stop` was called."""
        return self._stopped.is_set()

    def remaining(self) -> float:
        """Return the seconds left: 0 when stopped, infinite without a limit."""
        return 0.0 if self.stopped else max(0.0, self._ends_at - time.monotonic())

    def check(self) -> None:
        """
        Do nothing while there is time.

        :raises NotSentError: the work was stopped, or its time is over
        """
        if self.remaining():
            return
        # Only now, as another thread may stop the work at any moment.
        if self.stopped:
            raise NotSentError("not sent: the work was stopped", retryable=True)
        raise NotSentError(f"not sent: the time limit of {self._seconds:g} s was reached", retryable=True)

    def sleep(self, seconds: float) -> None:
        """
        Sleep, but no longer than there is time.

        :param seconds: how long
        :raises NotSentError: the work was stopped, or its time is over
        """
        self._stopped.wait(min(seconds, self.remaining()))
        self.check()
