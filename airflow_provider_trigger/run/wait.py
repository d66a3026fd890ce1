"""
Wait for runs, as a generator without I/O: what to check, what to cancel, and when to stop waiting.

It yields the steps of :mod:`airflow_provider_trigger.run.steps`; a driver takes each one, and hands back what
came of it. So a driver that blocks, and one on an event loop, share all there is to waiting.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from airflow_provider_trigger.api.errors import (
    NotFoundError,
    NotSentError,
    TriggerDevError,
    is_internal_error,
    is_rejection,
)
from airflow_provider_trigger.api.models.runs import Run
from airflow_provider_trigger.cancel.outcome import CancelOutcome, CancelResult
from airflow_provider_trigger.log import Log
from airflow_provider_trigger.run.checks import Otherwise, check_otherwise
from airflow_provider_trigger.run.steps import Cancel, Check, LastSeen, News, Step, Steps
from airflow_provider_trigger.run.wait_log import LOG_INTERVAL, WaitLog
from airflow_provider_trigger.run.wait_settings import WaitSettings
from airflow_provider_trigger.run.waited import Waited, WaitEnd

UNKNOWN_AFTER = 30.0
"""
How long a run may be answered with 401, 403, 404 or 500 at least, in seconds.

A replica of the database lags behind (measured), and a gateway may reject a few requests.
"""


class RunWait:
    """What is known of one run that is waited for; times are in seconds since 1970."""

    __slots__ = (
        "_broken_since",
        "_created_at",
        "_failing_since",
        "_log",
        "_logged_at",
        "_rejected_since",
        "_settings",
        "_version_shown_at",
        "_without_version_since",
        "error",
        "otherwise_at",
        "run",
        "run_id",
    )

    def __init__(self, run_id: str, settings: WaitSettings, log: WaitLog, *, now: float) -> None:
        self.run_id = run_id
        self.run: Run | None = None
        self.error: TriggerDevError | None = None
        self.otherwise_at = -math.inf
        """When it may be checked in another way, at the earliest."""
        self._settings = settings
        self._log = log
        self._created_at = self._logged_at = now
        self._failing_since: float | None = None
        self._rejected_since: float | None = None
        self._broken_since: float | None = None
        self._without_version_since: float | None = None
        self._version_shown_at: datetime | None = None  # by the server's clock

    def take(self, reply: Run | TriggerDevError, now: float) -> Waited | None:
        """Take in a check; return what the wait came to, None while it continues; raise what ends all."""
        if isinstance(reply, Run):
            self.saw(reply, now)
            return Waited(end=WaitEnd.FINAL, run=reply) if reply.is_final else None
        if isinstance(reply, NotSentError) and not reply.retryable:
            raise reply
        if self._failed(reply, now):
            return Waited(end=WaitEnd.REJECTED, run=self.run, error=str(reply))
        return None

    def saw(self, run: Run, now: float) -> None:
        """Take in how the run was seen."""
        before = self.run
        self._created_at = min(self._created_at, now - run.age)  # by the local clock
        if self._failing_since is not None:
            self._log.works_again(run.id, now - self._failing_since)
        self._failing_since = self._rejected_since = self._broken_since = self.error = None
        shown = (run.status, run.attempt_count)
        if before is None or shown != (before.status, before.attempt_count):
            self._log.changed(run)
            self._logged_at = now
        self.run = run
        self._note_version(run, now)

    def _note_version(self, run: Run, now: float) -> None:
        """Its own check corrects what a query has shown."""
        if not run.waits_for_version:
            self._without_version_since = self._version_shown_at = None
        elif self._without_version_since is None or run.updated_at not in (None, self._version_shown_at):
            self._without_version_since = now - _seconds_between(run.updated_at, run.seen_at)
            self._version_shown_at = run.updated_at

    def _failed(self, error: TriggerDevError, now: float) -> bool:
        """Note a check that failed; return whether to stop."""
        if self._failing_since is None:
            self._failing_since = self._logged_at = now
            self._log.failed(self.run_id, error)
        self.error = error
        if not is_internal_error(error):
            if not isinstance(error, NotSentError):
                self._broken_since = None
        elif self._broken_since is None:
            self._broken_since = now
        # A wrong key, or a run of another environment.
        if not is_rejection(error) and not isinstance(error, NotFoundError):
            self._rejected_since = None
            return False
        if self._rejected_since is None:
            self._rejected_since = now
        return now - self._rejected_since >= max(self._settings.patience, UNKNOWN_AFTER)

    def is_broken(self, now: float) -> bool:
        """Return whether the checks answer 500 for so long that the run is to be checked otherwise."""
        least = max(self._settings.patience, UNKNOWN_AFTER)
        return self._broken_since is not None and now - self._broken_since >= least

    def take_otherwise(self, reply: Otherwise) -> Waited | None:
        """Take in another kind of check of a broken run; return as :meth:`take` does."""
        if isinstance(reply, Run) and reply.is_final:
            self._log.changed(reply)
            return Waited(end=WaitEnd.FINAL, run=reply, error=str(self.error))
        if isinstance(reply, TriggerDevError):
            error = f"{self.error}; its realtime feed does not show it either: {reply}"
            return Waited(end=WaitEnd.UNCHECKABLE, run=self.run, error=error)
        return None

    def log_progress(self, now: float) -> None:
        """Log now and then that nothing is new."""
        if now - self._logged_at < LOG_INTERVAL:
            return
        self._logged_at = now
        if self._failing_since is not None:
            self._log.still_fails(self.run_id, self.error, now - self._failing_since)
        elif self.run is not None:
            self._log.is_still(self.run, now - self._created_at)

    def why_to_stop(self, now: float) -> WaitEnd | None:
        """Return why the wait for the run ends although the run has not ended; None where it continues."""
        if self._settings.deadline is not None and now >= self._settings.deadline:
            return WaitEnd.TIMED_OUT
        return WaitEnd.NO_VERSION if now >= self.version_due else None

    @property
    def version_due(self) -> float:
        """Until when the run may be without a version; infinite for no limit, or if it may have one."""
        since, timeout = self._without_version_since, self._settings.pending_version_timeout
        is_unseen = self._failing_since is not None
        return math.inf if since is None or timeout is None or is_unseen else since + timeout


def _seconds_between(earlier: datetime | None, later: datetime | None) -> float:
    """By the server's clock; 0 if one of the times is not known."""
    return max(0.0, (later - earlier).total_seconds()) if earlier and later else 0.0


# Between two checks of runs in another way, as their own checks answer 500, in seconds.
_OTHERWISE_INTERVAL = 30.0


def wait_for_runs(
    run_ids: Sequence[str], settings: WaitSettings, *, log: Log, now: Callable[[], float] = time.time
) -> Steps:
    """
    Return the steps of a wait; its result is what became of each run, by run id.

    It ends when the wait for each run has ended, or for one without success by the settings: then the others
    are missing. An error of a check does not end it, unless the server rejects the checks for the settings'
    ``patience``, or shows the run in no way although it works otherwise. ``now`` is in seconds since 1970.
    """
    return _Wait(list(dict.fromkeys(run_ids)), settings, log, now).steps()


class _Wait:
    def __init__(
        self, run_ids: list[str], settings: WaitSettings, log: Log, now: Callable[[], float]
    ) -> None:
        self._run_ids = run_ids
        self._settings = settings
        self._now = now
        begun_at = now()
        self._log = WaitLog(log, settings, len(run_ids), now=begun_at)
        self._open = {run_id: RunWait(run_id, settings, self._log, now=begun_at) for run_id in run_ids}
        self._ended: dict[str, Waited] = {}
        self._is_useless = False
        self._otherwise_at = -math.inf

    def steps(self) -> Steps:
        self._log.begin(self._run_ids)
        while self._open and not self._is_useless:
            check = self._check()
            news = yield check
            now = self._now()
            if any(isinstance(reply, Run) for reply in news.values()):
                self._log.worked_at = now
            for run_id, reply in news.items():
                if (run := self._open.get(run_id)) and (waited := run.take(reply, now)):
                    self._close(run_id, waited)
            yield from self._check_otherwise(news)
            now = self._now()
            yield from self._log_progress(now)
            stopping = self._confirmed(self._stopping(now), check, news)
            if stopping and not self._is_useless:
                yield from self._stop(stopping)
        if self._open and self._settings.cancels_others:
            yield from self._stop(dict.fromkeys(self._open, WaitEnd.NOT_NEEDED))
        return {run_id: self._ended[run_id] for run_id in self._run_ids if run_id in self._ended}

    def _check(self) -> Check:
        deadline = math.inf if self._settings.deadline is None else self._settings.deadline
        stopping = self._stopping(self._now())
        if stopping and self._needs_check(stopping):
            return Check(run_ids=tuple(stopping), is_fresh=True)
        return Check(
            run_ids=tuple(self._open),
            until=min(deadline, self._log.progress_due, *(run.version_due for run in self._open.values())),
            poll_interval=self._settings.poll_interval,
        )

    def _stopping(self, now: float) -> dict[str, WaitEnd]:
        return {run_id: end for run_id, run in self._open.items() if (end := run.why_to_stop(now))}

    def _needs_check(self, ends: Mapping[str, WaitEnd]) -> bool:
        """Whether runs are checked once more before they are no longer waited for."""
        # The cancel of one that has ended changes nothing; of one that has a version by now, it does.
        return not self._settings.cancels or WaitEnd.NO_VERSION in ends.values()

    def _confirmed(self, ends: dict[str, WaitEnd], check: Check, news: News) -> dict[str, WaitEnd]:
        """Return those for which a check was new enough, where one is needed."""
        if WaitEnd.NO_VERSION in ends.values():
            # A query does not show since when a run waits for a version, nor that it has one since just now.
            checked = set(check.run_ids if check.is_fresh else ())
            return {run_id: end for run_id, end in ends.items() if run_id in checked}
        is_known = check.is_fresh or ends.keys() <= news.keys()
        return ends if is_known or not self._needs_check(ends) else {}

    def _close(self, run_id: str, waited: Waited) -> None:
        del self._open[run_id]
        self._ended[run_id] = waited
        self._is_useless = self._is_useless or not self._settings.counts_as_success(waited)

    def _check_otherwise(self, news: News) -> Generator[Step, Any, None]:
        """Check those whose check has just failed: an earlier failure can be of an outage that is over."""
        for run in [self._open[run_id] for run_id in news if run_id in self._open]:
            now = self._now()
            if not run.is_broken(now) or now < max(run.otherwise_at, self._otherwise_at):
                continue
            reply = yield from check_otherwise(run.run_id)
            run.otherwise_at = self._now() + _OTHERWISE_INTERVAL
            if waited := run.take_otherwise(reply):
                self._close(run.run_id, waited)
            if reply is None:  # perhaps an outage, in which one run shows as much as all
                self._otherwise_at = run.otherwise_at
            if reply is None or self._is_useless:
                break

    def _log_progress(self, now: float) -> Generator[Step, Any, None]:
        for run in self._open.values():
            run.log_progress(now)
        if len(self._run_ids) > 1:
            waits = self._open.items()
            errors = {one: wait.error for one, wait in waits if wait.error is not None}
            may_be_outage = errors and now >= self._log.next_line_at
            seen_ago = (yield LastSeen(run_ids=tuple(self._open))) if may_be_outage else None
            self._log.note({one: wait.run for one, wait in waits}, errors, self._ended, seen_ago, now=now)

    def _stop(self, ends: dict[str, WaitEnd]) -> Generator[Step, Any, None]:
        """Cancel runs that are no longer waited for, unless one ended just now after all."""
        if not self._settings.cancels and WaitEnd.NOT_NEEDED not in ends.values():
            for run_id, end in ends.items():
                self._close(run_id, Waited(end=end, run=self._open[run_id].run))
            return
        self._log.canceling(ends)
        results: Mapping[str, CancelResult] = yield Cancel(run_ids=tuple(ends))
        late = tuple(one for one in ends if results[one].outcome is CancelOutcome.ALREADY_COMPLETED)
        checked: News = (yield Check(run_ids=late, is_fresh=True)) if late else {}
        for run_id, end in ends.items():
            self._close(run_id, self._after_cancel(end, results[run_id], checked.get(run_id)))

    def _after_cancel(
        self, end: WaitEnd, result: CancelResult, check: Run | TriggerDevError | None
    ) -> Waited:
        """Return what a wait came to that has canceled its run; of one that had ended, the result counts."""
        wait = self._open[result.run_id]
        if isinstance(check, Run) and check.is_final:
            wait.saw(check, self._now())
            is_late = not check.is_canceled
            return Waited(end=WaitEnd.FINAL if is_late else end, run=check, is_canceled=not is_late)
        if error := result.as_error():
            return Waited(end=end, run=wait.run, error=str(error))
        run = _as_canceled(wait.run, result)
        wait.saw(run, self._now())
        if result.outcome is CancelOutcome.CANCELED:
            return Waited(end=end, run=run, is_canceled=True)
        why = f"its check shows it as {check.status}" if isinstance(check, Run) else str(check)
        return Waited(end=WaitEnd.FINAL, run=run, error=why)


def _as_canceled(seen: Run | None, result: CancelResult) -> Run:
    """Return a run, as last seen if it was, with the status that its cancel found."""
    if seen is not None:
        return replace(seen, status=str(result.status))
    shown = {"id": result.run_id, "status": result.status, "taskIdentifier": result.task_identifier}
    return Run.from_answer(shown)
