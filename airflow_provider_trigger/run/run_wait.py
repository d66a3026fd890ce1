"""What a wait knows of one of its runs, and when it no longer waits for it. Pure."""

from __future__ import annotations

import math
from datetime import datetime

from airflow_provider_trigger.api.errors import (
    NotFoundError,
    NotSentError,
    TriggerDevError,
    is_internal_error,
    is_rejection,
)
from airflow_provider_trigger.api.models.runs import Run
from airflow_provider_trigger.run.otherwise import Otherwise
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
        "run",
        "run_id",
    )

    def __init__(self, run_id: str, settings: WaitSettings, log: WaitLog, *, now: float) -> None:
        self.run_id = run_id
        self.run: Run | None = None
        self.error: TriggerDevError | None = None
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

    def interval(self, now: float) -> float:
        """Return how long to wait before the next check of this run by itself, in seconds."""
        return self._settings.interval(now - self._created_at)


def _seconds_between(earlier: datetime | None, later: datetime | None) -> float:
    """By the server's clock; 0 if one of the times is not known."""
    return max(0.0, (later - earlier).total_seconds()) if earlier and later else 0.0
