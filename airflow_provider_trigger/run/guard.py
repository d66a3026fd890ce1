"""Decide when the runs that a task has started are canceled: if the task ends before them."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from enum import Enum, auto
from types import TracebackType
from typing import TYPE_CHECKING, Self

from airflow_provider_trigger.api.limits import Deadline
from airflow_provider_trigger.run.cancel_started import (
    AFTER_A_STOP,
    AFTER_AN_ERROR,
    CancelOfStarted,
    Stop,
    announcement,
)
from airflow_provider_trigger.run.started import StartedRuns
from airflow_provider_trigger.run.stop import CHECK_INTERVAL, StopNote, pause

if TYPE_CHECKING:
    from airflow_provider_trigger.api.client import TriggerDevClient

# How long the log of a cancel may come after its deadline, in seconds.
_GRACE = 0.8
_INTERVAL = 0.05


class Phase(Enum):
    """What the guard does with the runs; see :class:`Guard`."""

    WORKING = auto()
    RELEASED = auto()
    CANCELING = auto()
    LEAVING = auto()
    DONE = auto()


class Guard:
    """
    Cancels the runs that a task has started, if the ``with`` statement ends before them.

    ::

        WORKING ───── an error, a stop, cancel() ─────> CANCELING ──┐
         │    └─ the same, with cancels=False ──┐                   ├──> DONE
         │    └─ the end without an error ──────┼─────> LEAVING ────┘
        release()                               │
         └──> RELEASED ─ the end, or a stop ────┘

    CANCELING cancels what is left; if a stop comes meanwhile, it begins again, within the time of a stop.
    LEAVING cancels nothing: it waits for requests in flight, so that the log names those without an answer.
    Both are done by a thread, as the main thread may wait for Airflow when a stop comes.

    :param client: for canceling only, as another one may be busy with the requests of the task
    :param stop_time: how long a cancel may take after a stop, in seconds
    :param log_stop: logs that a cancel begins after a stop, and what came of each cancel
    """

    def __init__(
        self,
        client: TriggerDevClient,
        note: StopNote,
        started: StartedRuns,
        *,
        cancels: bool,
        stop_time: float,
        log_stop: Callable[[Stop], object],
    ) -> None:
        self._client = client
        self._note = note
        self._started = started
        self._cancels = cancels
        self._stop_time = stop_time
        self._log_stop = log_stop
        self._phase = Phase.WORKING

    def __enter__(self) -> Self:
        threading.Thread(target=self._run, name="trigger-dev-guard", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or self._phase is Phase.RELEASED:
            self._phase = Phase.LEAVING
        else:
            # An end from outside, such as Airflow's timeout, is no Exception.
            self._started.is_cut_off |= not isinstance(error, Exception)
            self.cancel()

    @property
    def _is_over(self) -> bool:
        return self._phase not in (Phase.WORKING, Phase.RELEASED)

    def release(self) -> None:
        """Cancel nothing from now on: the runs have ended, or something else cancels them."""
        self._note.check()
        self._phase = Phase.RELEASED

    def sleep(self, seconds: float) -> None:
        """Wait in a thread that starts runs; a ``StoppedError`` ends it once the work is over."""
        pause(seconds, is_stopped=lambda: self._note.is_set or self._is_over)

    def cancel(self) -> None:
        """Cancel the runs that have not ended, and wait until that is done. Raises no error of its own."""
        self._end_work()
        try:
            self._wait_until_done()
        finally:  # where a signal handler of Airflow's has raised something, the cancel comes to its end, too
            self._wait_until_done()

    def _end_work(self) -> None:
        if not self._is_over:
            is_canceling = self._cancels and self._phase is Phase.WORKING
            self._phase = Phase.CANCELING if is_canceling else Phase.LEAVING

    def _wait_until_done(self) -> None:
        while self._phase is not Phase.DONE:
            if self._note.at is not None and time.monotonic() > self._note.at + self._stop_time + _GRACE:
                return
            time.sleep(_INTERVAL)

    def _run(self) -> None:
        """Wait until the work is over or stopped, and then cancel, or leave."""
        while not (self._is_over or self._note.is_set):
            time.sleep(CHECK_INTERVAL)
        time.sleep(_INTERVAL)  # then a request that another thread is just sending counts as sent
        self._end_work()
        try:
            if not self._note.is_set:
                self._conclude(is_stop=False)
            if self._note.is_set:
                self._conclude(is_stop=True)
        finally:
            self._client.close()
            self._phase = Phase.DONE

    def _conclude(self, *, is_stop: bool) -> None:
        """Cancel what is left, or only wait for answers; log what came of it."""
        started, way = self._started, AFTER_A_STOP if is_stop else AFTER_AN_ERROR
        started.is_cut_off |= is_stop
        seconds = self._stop_time if way.time_limit is None else way.time_limit
        deadline = Deadline.after(seconds, now=self._note.at or time.monotonic())
        work = CancelOfStarted(
            started, self._client, way, deadline, is_stopped=lambda: self._note.is_set and not is_stop
        )
        if self._phase is Phase.LEAVING:
            deque(work.answers(), maxlen=0)
        else:
            if way.is_announced and (begins := announcement(started)):
                self._log_stop(begins)
            work.run()
        if is_stop or not self._note.is_set:  # else the cancel after the stop says the rest
            work.count_unknown()
        else:
            work.stop.results = [result for result in work.stop.results if result.run_id in started.ended]
        self._log_stop(work.stop)
