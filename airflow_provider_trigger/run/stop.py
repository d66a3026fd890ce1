"""Note that Airflow has stopped a task; each wait of the task checks this note."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import wait
from typing import TypeVar

from airflow_provider_trigger.threads import begin

T = TypeVar("T")

CHECK_INTERVAL = 0.2  # between two checks whether the work was stopped, in seconds


class StoppedError(Exception):
    """The work was stopped from outside."""


def pause(seconds: float, *, is_stopped: Callable[[], bool]) -> None:
    """Wait for some seconds, or raise StoppedError; ``is_stopped`` is called several times a second."""
    until = time.monotonic() + seconds
    while not is_stopped():
        if (left := until - time.monotonic()) <= 0:
            return
        time.sleep(min(left, CHECK_INTERVAL))
    raise StoppedError


class StopNote:
    """
    Says whether Airflow has stopped a task, and ends what the task waits for then, by a ``StoppedError``.

    Airflow 3 calls ``on_kill`` in a signal handler, and raises nothing. The main thread makes no request, as
    nothing could end its wait for the answer.
    """

    def __init__(self, stopped_at: Callable[[], float | None] = lambda: None) -> None:
        self._stopped_at = stopped_at

    @property
    def at(self) -> float | None:
        """When the task was stopped, by the monotonic clock; None while it was not."""
        return self._stopped_at()

    @property
    def is_set(self) -> bool:
        """Whether the task was stopped."""
        return self.at is not None

    def check(self) -> None:
        """End the work of a task that was stopped."""
        if self.is_set:
            raise StoppedError("Airflow stopped the task")

    def wait_for(self, work: Callable[[], T], *, meanwhile: Callable[[], object] = lambda: None) -> T:
        """Run ``work`` in a thread and return its result; ``meanwhile`` is called here every 0.2 s."""
        self.check()
        reply = begin(work)
        while not wait([reply], timeout=CHECK_INTERVAL).done:
            self.check()
            meanwhile()
        return reply.result()
