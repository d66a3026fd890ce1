"""Remember the run that a task has started, and cancel it if the task ends first."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from airflow_provider_trigger.api.deadline import Deadline
from airflow_provider_trigger.api.endpoints.runs import cancel_run, retrieve_run
from airflow_provider_trigger.api.models.runs import Run
from airflow_provider_trigger.cancel.settings import TIME_LIMIT
from airflow_provider_trigger.log import Log
from airflow_provider_trigger.run.describe import ENDED_BEFORE_CANCEL, unconfirmed_cancel
from airflow_provider_trigger.run.drive import StoppedError, pause
from airflow_provider_trigger.run.request import TaskRequest
from airflow_provider_trigger.run.start import cancel_by_key

if TYPE_CHECKING:
    from airflow_provider_trigger.api.client import TriggerDevClient


class CancelGuard:
    """
    The run that a task has started; an error that leaves the ``with`` statement cancels it.

    ``client`` is for canceling only: when the task is stopped, another one may be in use and hold its locks.
    ``time_limit`` is for a cancel after a signal, in seconds.
    """

    def __init__(self, client: TriggerDevClient, *, cancels: bool, time_limit: float, log: Log) -> None:
        self.run_id: str | None = None
        self.request: TaskRequest | None = None
        """What was sent, while the run's id is not known."""
        self.is_stopped = False
        self._is_killed = False
        self._canceled_id: str | None = None
        self._unlogged: list[Callable[[], object]] = []
        self._client = client
        self._cancels = cancels
        self._time_limit = time_limit
        self._log = log

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            # What ends a task from outside, such as Airflow's timeout, is no Exception.
            self.is_stopped = self.is_stopped or not isinstance(error, Exception)
            # After a signal, Airflow 3 kills the process while a cancel that failed is tried again.
            self._write_log()
            self.cancel()
        self._write_log()
        self._client.close()

    def take_up(self, pushed: Any) -> None:
        """Cancel the run that an earlier process of the task has started, whose XCom has its id."""
        self.run_id = pushed if isinstance(pushed, str) else None

    def know(self, run_id: str | None) -> None:
        """Take in the run's id as soon as an answer shows it; None where the next one may show another."""
        self.run_id = run_id

    def release(self) -> None:
        """Cancel nothing from now on: the run has ended, or something else cancels it."""
        self._cancels = False

    def stop(self) -> None:
        """
        Cancel the run, within the time limit. Raises nothing.

        Safe in a signal handler, as Airflow 3 calls it: the interrupted thread may hold a lock of the log, so
        what is to be logged follows when the task's work continues. No connection is fetched there.
        """
        self.is_stopped = self._is_killed = True
        self._client.may_fetch_key = False
        try:
            with _logging_disabled():
                self.cancel()
        finally:
            self._client.may_fetch_key = True

    def sleep(self, seconds: float) -> None:
        """Wait so many seconds, or raise StoppedError as soon as the task is stopped."""
        pause(seconds, is_stopped=lambda: self.is_stopped)

    def raise_if_stopped(self) -> None:
        """End the work of a task that was stopped, by a StoppedError."""
        if self.is_stopped:
            raise StoppedError

    def cancel(self) -> None:
        """Cancel the run, within the time limit after a signal, else for longer. Raises no error."""
        request = self.request if self.is_stopped else None
        if not self._cancels or not (self.run_id or (request and request.key)):
            return
        if self._canceled_id and self._canceled_id == self.run_id:
            return
        deadline = self._deadline()
        try:
            if self.run_id:
                self._client.exchange.breaker.has_worked = True  # a page in place of an answer passes
                self._client.call(cancel_run(self.run_id), deadline=deadline)
            elif request:
                self.run_id = cancel_by_key(self._client, request, deadline=deadline)
        except Exception as error:
            # Any error: the task ends all the same, for its own reason.
            self._may_run(self._log.error, self.run_id or "of this task", error)
        else:
            # Not all that the task may start: a request in flight continues, and can end with another run.
            self._canceled_id = self.run_id
            self._check(str(self.run_id), deadline)

    def _deadline(self) -> Deadline:
        # Without a signal, nothing has announced that the process is killed.
        seconds = self._time_limit if self._is_killed else TIME_LIMIT
        return Deadline.after(seconds, now=time.monotonic())

    def _check(self, run_id: str, deadline: Deadline) -> None:
        """Check once what became of a canceled run: the answer to a cancel does not show it (measured)."""
        run: Run | Exception
        try:
            run = self._client.call(retrieve_run(run_id), deadline=deadline, patience=0.0)
        except Exception as error:
            run = error
        self._note(run_id, run)

    def _note(self, run_id: str, run: Run | Exception) -> None:
        """Log later: a signal handler must not log."""
        if isinstance(run, Run) and run.is_canceled:
            self._later(self._log.info, "Canceled run %s", run_id)
        elif isinstance(run, Run) and run.is_final:
            self._later(self._log.info, ENDED_BEFORE_CANCEL, run_id, run.status)
        else:
            self._may_run(self._log.warning, run_id, unconfirmed_cancel(run))

    def _may_run(self, write: Callable[..., object], run: str, why: object) -> None:
        text = "Run %s may still be running: %s. Unless a retry waits for it, cancel it in the dashboard"
        self._later(write, text, run, str(why).rstrip("."))

    def _later(self, write: Callable[..., object], *texts: object) -> None:
        self._unlogged.append(partial(write, *texts))

    def _write_log(self) -> None:
        while self._unlogged:
            self._unlogged.pop(0)()


@contextmanager
def _logging_disabled() -> Iterator[None]:
    """Let no thread log anything: a handler could wait for a lock that the interrupted code holds."""
    before = logging.root.manager.disable
    logging.disable()
    try:
        yield
    finally:
        logging.disable(before)
