"""The run of one task: known from the moment it may exist, and canceled when the task ends before it."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING

from airflow_provider_trigger.api.deadline import Deadline
from airflow_provider_trigger.api.endpoints.runs import cancel_run
from airflow_provider_trigger.log import Log
from airflow_provider_trigger.run.drive import StoppedError, pause
from airflow_provider_trigger.run.start import TaskRequest, cancel_by_key

if TYPE_CHECKING:
    from airflow_provider_trigger.api.client import TriggerDevClient


class CancelGuard:
    """
    A task's run; use it in a ``with`` statement. An error that leaves it cancels the run.

    :param client: for canceling alone: another one may be in use, and hold its locks, when the task is killed
    :param cancels: whether the run is canceled at all
    :param time_limit: for a cancel, in seconds
    :param log: where to write that it was canceled, or not
    """

    def __init__(self, client: TriggerDevClient, *, cancels: bool, time_limit: float, log: Log) -> None:
        self.run_id: str | None = None
        self.request: TaskRequest | None = None
        """What was sent, while the run's id is not known."""
        self.is_killed = False
        self._canceled_id: str | None = None
        self._client = client
        self._cancels = cancels
        self._time_limit = time_limit
        self._log = log

    def __enter__(self) -> CancelGuard:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            # What ends a task from outside, such as Airflow's timeout, is no Exception.
            self.is_killed = self.is_killed or not isinstance(error, Exception)
            self._cancel()
        self._client.close()

    def release(self) -> None:
        """Leave the run alone from now on: it has ended, or something else cancels it."""
        self._cancels = False

    def kill(self) -> None:
        """Cancel the run, within the time limit. Safe in a signal handler; raises nothing."""
        self.is_killed = True
        self._cancel()

    def sleep(self, seconds: float) -> None:
        """
        Wait.

        :param seconds: how long
        :raises StoppedError: the task was killed
        """
        pause(seconds, is_stopped=lambda: self.is_killed)

    def raise_if_killed(self) -> None:
        """
        End the work of a task that was killed.

        :raises StoppedError: it was
        """
        if self.is_killed:
            raise StoppedError

    def _cancel(self) -> None:
        request = self.request if self.is_killed else None
        if not self._cancels or not (self.run_id or (request and request.key)):
            return
        if self._canceled_id and self._canceled_id == self.run_id:
            return
        deadline = Deadline.after(self._time_limit, now=time.monotonic())
        try:
            if self.run_id:
                self._client.call(cancel_run(self.run_id), deadline=deadline)
            elif request:
                self.run_id = cancel_by_key(self._client, request, deadline=deadline)
        except Exception as error:
            # Any error: the task ends all the same, for its own reason.
            self._log.error("Run %s may still be running: %s", self.run_id or "of this task", error)
        else:
            # Not all that the task may start: a request in flight goes on, and can end with another run.
            self._canceled_id = self.run_id
            self._log.info("Canceled run %s", self.run_id)
