"""
Wait for one run, as a generator without I/O: when to check it, what to log, and when to stop waiting.

A driver makes each :class:`~airflow_provider_trigger.api.http.Call` that the generator yields, and hands back
its result, or the error that came instead; it waits for each :class:`Pause`. So a driver that blocks and one
on an event loop share all there is to waiting.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from airflow_provider_trigger.api.endpoints.runs import cancel_run, retrieve_run
from airflow_provider_trigger.api.errors import NotFoundError, TriggerDevError, is_rejection
from airflow_provider_trigger.api.http import Call
from airflow_provider_trigger.api.models.runs import Run
from airflow_provider_trigger.log import Log
from airflow_provider_trigger.run.describe import missing_version, usage
from airflow_provider_trigger.run.wait_settings import WaitSettings

# Between two lines about a run that has not changed, and between two tries to cancel it, in seconds.
_LOG_INTERVAL = 300.0
_CANCEL_INTERVAL = 2.0

UNKNOWN_AFTER = 30.0
"""How long a run may be answered with 404, in seconds: a replica of the database lags behind (measured)."""


class WaitEnd(StrEnum):
    """
    Why a wait for a run ended.

    - ``final``: the run has ended, in whatever status
    - ``timed_out``: it had not ended at the deadline
    - ``no_version``: no deployed version has its task
    - ``rejected``: the server does not show it any more: the key was rejected, or the run is unknown
    """

    FINAL = "final"
    TIMED_OUT = "timed_out"
    NO_VERSION = "no_version"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Pause:
    """
    Wait before the next call.

    :param seconds: how long
    """

    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Waited:
    """
    What a wait came to.

    :param end: why it ended
    :param run: as last seen, None if it never was
    :param error: the last error in one line, where the run was rejected or its cancel failed
    :param is_canceled: whether the wait has canceled the run
    """

    end: WaitEnd
    run: Run | None
    error: str = ""
    is_canceled: bool = False


Step = Call[Any] | Pause
Steps = Generator[Step, Any, Waited]


def wait_for_run(
    run_id: str, settings: WaitSettings, *, log: Log, now: Callable[[], float] = time.time
) -> Steps:
    """
    Return the steps of a wait; its result is the generator's.

    An error of a check does not end the wait, which continues until the deadline. Only a server that rejects
    the checks for as long as the settings' ``patience`` ends it.

    :param run_id: the run
    :param settings: how to wait
    :param log: where to write changes of the run, and when checks begin and cease to fail
    :param now: the clock, in seconds since 1970
    """
    return _Wait(run_id, settings, log, now).steps()


class _Wait:
    def __init__(self, run_id: str, settings: WaitSettings, log: Log, now: Callable[[], float]) -> None:
        self._run_id = run_id
        self._settings = settings
        self._log = log
        self._now = now
        self._created_at = self._logged_at = now()
        self._run: Run | None = None
        self._failing_since: float | None = None
        self._rejected_since: float | None = None
        self._without_version_since: float | None = None

    def steps(self) -> Steps:
        self._log.info("Waiting for run %s %s", self._run_id, self._settings.run_url)
        while True:
            reply = yield retrieve_run(self._run_id)
            if isinstance(reply, Run):
                self._saw(reply)
                if reply.is_final:
                    return Waited(end=WaitEnd.FINAL, run=reply)
            elif self._failed(reply):
                return Waited(end=WaitEnd.REJECTED, run=self._run, error=str(reply))
            if end := self._why_to_stop():
                return (yield from self._end(end))
            yield Pause(self._interval())

    def _saw(self, run: Run) -> None:
        now, before = self._now(), self._run
        self._created_at = min(self._created_at, now - run.age)  # by the local clock
        if self._failing_since is not None:
            self._log.info("Run %s can be checked again after %.0f s", run.id, now - self._failing_since)
        self._failing_since = self._rejected_since = None
        shown = (run.status, run.attempt_count)
        if before is None or shown != (before.status, before.attempt_count):
            self._log_change(run)
            self._logged_at = now
        elif now - self._logged_at >= _LOG_INTERVAL:
            age = (now - self._created_at) / 60
            self._log.info("Run %s is still %s after %.0f minutes", run.id, run.status, age)
            self._logged_at = now
        self._run = run
        if not run.waits_for_version:
            self._without_version_since = None
        elif self._without_version_since is None:
            self._without_version_since = now - _seconds_between(run.updated_at, run.seen_at)

    def _log_change(self, run: Run) -> None:
        if run.waits_for_version:
            why = missing_version(run, is_development=self._settings.is_development)
            self._log.warning("Run %s is %s: %s%s", run.id, run.status, why, self._version_limit())
            return
        attempt = f", attempt {run.attempt_count}" if run.attempt_count else ""
        used = usage(run) if run.is_final else ""
        self._log.info("Run %s is %s%s%s", run.id, run.status, attempt, f" ({used})" if used else "")

    def _version_limit(self) -> str:
        limit = self._settings.pending_version_timeout
        if limit is None:
            return ""
        then = "the run is canceled" if self._settings.cancels else "the wait ends"
        return f". After {limit:g} s (pending_version_timeout) {then}"

    def _failed(self, error: TriggerDevError) -> bool:
        """Note a check that failed; return whether to stop."""
        now = self._now()
        if self._failing_since is None:
            self._failing_since = now
            self._log.warning("Status check of run %s failed; still waiting: %s", self._run_id, error)
        # A wrong key, or a run of another environment.
        if not is_rejection(error) and not isinstance(error, NotFoundError):
            self._rejected_since = None
            return False
        if self._rejected_since is None:
            self._rejected_since = now
        least = UNKNOWN_AFTER if isinstance(error, NotFoundError) else 0.0
        return now - self._rejected_since >= max(self._settings.patience, least)

    def _why_to_stop(self) -> WaitEnd | None:
        now, due = self._now(), self._version_due()
        if self._settings.deadline is not None and now >= self._settings.deadline:
            return WaitEnd.TIMED_OUT
        if due is not None and now >= due:
            return WaitEnd.NO_VERSION
        return None

    def _end(self, end: WaitEnd) -> Steps:
        """Cancel the run, unless it ended just now after all."""
        if not self._settings.cancels:
            return Waited(end=end, run=self._run)
        self._log.warning("Canceling run %s: %s", self._run_id, _WHY_CANCELED[end])
        reply = yield from self._repeat(cancel_run(self._run_id))
        error = reply if isinstance(reply, TriggerDevError) else None
        # The answer to a cancel does not show what became of the run (measured).
        reply = yield from self._repeat(retrieve_run(self._run_id), is_hopeless=error is not None)
        if isinstance(reply, Run) and reply.is_canceled:
            return Waited(end=end, run=reply, is_canceled=True)
        if isinstance(reply, Run) and reply.is_final:
            # The cancel came too late: its result counts.
            return Waited(end=WaitEnd.FINAL, run=reply)
        if error:
            text = f"the cancel failed: {error}"
        elif isinstance(reply, Run):
            text = f"its cancel was accepted, but it is still {reply.status}"
        else:
            text = f"its cancel was accepted, but its status could not be checked: {reply}"
        return Waited(end=end, run=self._run, error=text)

    def _repeat(self, step: Step, *, is_hopeless: bool = False) -> Generator[Step, Any, Any]:
        """Make a call, repeatedly where it fails or shows that the run is alive; return the last reply."""
        until = self._now() + (0.0 if is_hopeless else self._settings.patience)
        while True:
            reply = yield step
            if isinstance(reply, Run):
                self._saw(reply)
            failed = isinstance(reply, TriggerDevError) and reply.retryable
            is_alive = isinstance(reply, Run) and not reply.is_final
            if not (failed or is_alive) or self._now() >= until:
                return reply
            yield Pause(_CANCEL_INTERVAL)

    def _interval(self) -> float:
        now = self._now()
        interval = self._settings.interval(now - self._created_at)
        if self._settings.deadline is not None:
            interval = min(interval, max(0.0, self._settings.deadline - now))
        if (due := self._version_due()) is not None:
            interval = min(interval, max(0.0, due - now))
        return interval

    def _version_due(self) -> float | None:
        """Return until when the run may be without a version; None for no limit, or if it may have one."""
        since, timeout = self._without_version_since, self._settings.pending_version_timeout
        is_unseen = self._failing_since is not None
        return None if since is None or timeout is None or is_unseen else since + timeout


_WHY_CANCELED = {
    WaitEnd.TIMED_OUT: "it did not end in time",
    WaitEnd.NO_VERSION: "no deployed version has its task or its queue",
}


def _seconds_between(earlier: datetime | None, later: datetime | None) -> float:
    """Return the seconds between two times of the server, 0 if one is not known."""
    return max(0.0, (later - earlier).total_seconds()) if earlier and later else 0.0
