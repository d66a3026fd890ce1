"""Remember the run that a task has started, and cancel it if the task ends first."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from airflow_provider_trigger.api.deadline import Deadline
from airflow_provider_trigger.api.endpoints.runs import cancel_run, retrieve_run
from airflow_provider_trigger.api.models.runs import Run
from airflow_provider_trigger.cancel.outcome import CancelOutcome, CancelResult, not_canceled
from airflow_provider_trigger.cancel.settings import TIME_LIMIT
from airflow_provider_trigger.run.describe import unconfirmed_cancel
from airflow_provider_trigger.run.drive import StoppedError, pause
from airflow_provider_trigger.run.request import TaskRequest
from airflow_provider_trigger.run.start import cancel_by_key

if TYPE_CHECKING:
    from airflow_provider_trigger.api.client import TriggerDevClient
    from airflow_provider_trigger.api.errors import ResponseError


@dataclass(kw_only=True, slots=True)
class Stop:
    """What came of one cancel by the task itself."""

    results: list[CancelResult] = field(default_factory=list)
    count: int = 0
    """Of the runs to cancel, where some have no check of their own, and so no result."""
    accepted: int = 0
    bulk_ids: list[str] = field(default_factory=list)
    unknown: int = 0
    """How many runs there may be whose ids are not known."""
    parts: list[str] = field(default_factory=list)
    """The items of the requests that may have started these."""
    answer: ResponseError | None = None
    """To the first such request that was answered."""
    tag: str | None = None
    search_error: Exception | None = None
    """Why the runs of an earlier try could not be searched."""


class CancelGuard:
    """
    The run that a task has started; an error that leaves the ``with`` statement cancels it.

    ``client`` is for canceling only: when the task is stopped, another one may be in use and hold its locks.
    ``time_limit`` is for a cancel after a signal, in seconds. ``tell`` logs what came of each cancel.
    """

    def __init__(
        self,
        client: TriggerDevClient,
        *,
        cancels: bool,
        time_limit: float,
        tell: Callable[[Stop], object],
    ) -> None:
        self.run_id: str | None = None
        self.request: TaskRequest | None = None
        """What was sent, while the run's id is not known."""
        self.is_stopped = False
        self._is_killed = False
        self._canceled_id: str | None = None
        self._untold: list[Stop] = []
        self._client = client
        self._cancels = cancels
        self._time_limit = time_limit
        self._tell = tell

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            # What ends a task from outside, such as Airflow's timeout, is no Exception.
            self.is_stopped = self.is_stopped or not isinstance(error, Exception)
            # After a signal, Airflow 3 kills the process while a cancel that failed is tried again.
            self._tell_all()
            self.cancel()
        self._tell_all()
        self._client.close()

    def take_up(self, pushed: Any) -> None:
        """Cancel the run that an earlier process of the task has started, and whose id is in this XCom."""
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
        """Wait; a ``StoppedError`` ends the work of a task that was stopped."""
        pause(seconds, is_stopped=lambda: self.is_stopped)

    def raise_if_stopped(self) -> None:
        """End the work of a task that was stopped, by a ``StoppedError``."""
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
            self._untold.append(Stop(results=[not_canceled(self.run_id or "of this task", error)]))
        else:
            # Not all that the task may start: a request in flight continues, and can end with another run.
            self._canceled_id = self.run_id
            self._untold.append(Stop(results=[self._check(str(self.run_id), deadline)]))

    def _deadline(self) -> Deadline:
        # Without a signal, nothing has announced that the process is killed.
        seconds = self._time_limit if self._is_killed else TIME_LIMIT
        return Deadline.after(seconds, now=time.monotonic())

    def _check(self, run_id: str, deadline: Deadline) -> CancelResult:
        """Check once what became of a canceled run: the answer to a cancel does not show it (measured)."""
        try:
            return seen(run_id, self._client.call(retrieve_run(run_id), deadline=deadline, patience=0.0))
        except Exception as error:
            # Any error, as above.
            return seen(run_id, error)

    def _tell_all(self) -> None:
        while self._untold:
            self._tell(self._untold.pop(0))


def seen(run_id: str, check: Run | Exception) -> CancelResult:
    """Return what became of a run whose cancel was accepted, as a check shows it, or why the check failed."""
    if isinstance(check, Run) and check.is_final:
        outcome = CancelOutcome.CANCELED if check.is_canceled else CancelOutcome.ALREADY_COMPLETED
        return CancelResult(run_id=run_id, outcome=outcome, status=check.status)
    return CancelResult(
        run_id=run_id,
        outcome=CancelOutcome.FAILED,
        request=unconfirmed_cancel(check),
        is_unconfirmed=True,
    )


@contextmanager
def _logging_disabled() -> Iterator[None]:
    """Let no thread log anything: a handler could wait for a lock that the interrupted code holds."""
    before = logging.root.manager.disable
    logging.disable()
    try:
        yield
    finally:
        logging.disable(before)
