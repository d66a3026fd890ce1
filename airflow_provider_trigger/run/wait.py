"""
Wait for runs, as a generator without I/O: what to check, what to cancel, and when to stop waiting.

It yields the steps of :mod:`airflow_provider_trigger.run.waited`; a driver takes each one, and hands back
what came of it. So a driver that blocks, and one on an event loop, share all there is to waiting.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from airflow_provider_trigger.api.errors import NotFoundError, NotSentError, TriggerDevError, is_rejection
from airflow_provider_trigger.api.models import Run
from airflow_provider_trigger.cancel.outcome import CancelOutcome, CancelResult
from airflow_provider_trigger.log import Log
from airflow_provider_trigger.run.checks import UNKNOWN_AFTER, call_of_others, is_answer, shows_an_outage
from airflow_provider_trigger.run.wait_log import WaitLog
from airflow_provider_trigger.run.wait_settings import WaitSettings
from airflow_provider_trigger.run.waited import Cancel, Check, News, Step, Steps, Waited, WaitEnd


@dataclass(slots=True, eq=False)
class RunWait:
    """What is known of one run that is waited for; times are in seconds since 1970."""

    run_id: str
    settings: WaitSettings
    log: WaitLog
    run: Run | None = None
    error: TriggerDevError | None = None
    """Why the last check failed, None if it did not."""
    rejected_since: float = math.inf
    """Since when each check was answered with 401, 403 or 404; infinite if the last one was not."""
    answered_since: float = math.inf
    """Since when each check was answered, in whatever way, but not with the run."""
    without_version_since: float | None = None

    def take(self, reply: Run | TriggerDevError, now: float) -> Waited | None:
        """Take in a check; return what the wait came to, None while it continues; raise what ends all."""
        if isinstance(reply, Run):
            self.saw(reply, now)
            return Waited(end=WaitEnd.FINAL, run=reply) if reply.is_final else None
        self.error = reply
        if isinstance(reply, NotSentError):
            if not reply.retryable:
                raise reply
            self.rejected_since = math.inf  # an outage may begin and end with a rejection
            return None
        # A wrong key, or a run of another environment.
        is_rejected = is_rejection(reply) or isinstance(reply, NotFoundError)
        self.rejected_since = min(self.rejected_since, now) if is_rejected else math.inf
        self.answered_since = min(self.answered_since, now) if is_answer(reply) else math.inf
        return self.rejected() if self.is_too_long(self.rejected_since, now) else None

    def saw(self, run: Run, now: float) -> None:
        """Take in how the run was seen."""
        before, self.run = self.run, run
        self.error, self.rejected_since, self.answered_since = None, math.inf, math.inf
        if before is None or (run.status, run.attempt_count) != (before.status, before.attempt_count):
            self.log.changed(run, now)
        if not run.waits_for_version:
            self.without_version_since = None
        elif self.without_version_since is None:
            self.without_version_since = now

    def is_too_long(self, since: float, now: float) -> bool:
        """Return whether that is so for longer than the wait for a run lasts that no check shows."""
        return now - since >= max(self.settings.patience, UNKNOWN_AFTER)

    def rejected(self) -> Waited:
        """Return what the wait has come to, as no check shows the run."""
        return Waited(end=WaitEnd.REJECTED, run=self.run, error=str(self.error))

    def why_to_stop(self, now: float) -> WaitEnd | None:
        """Return why the wait for the run ends although the run has not ended; None where it continues."""
        if self.settings.deadline is not None and now >= self.settings.deadline:
            return WaitEnd.TIMED_OUT
        return WaitEnd.NO_VERSION if now >= self.version_due else None

    @property
    def version_due(self) -> float:
        """Until when the run may be without a version; infinite for no limit, or if it may have one."""
        since, timeout = self.without_version_since, self.settings.pending_version_timeout
        return math.inf if since is None or timeout is None or self.error is not None else since + timeout


# After an outage was seen, in seconds, before it is looked again whether only some runs are not shown.
_OUTAGE_INTERVAL = 30.0


def wait_for_runs(
    run_ids: Sequence[str], settings: WaitSettings, *, log: Log, now: Callable[[], float] = time.time
) -> Steps:
    """
    Return the steps of a wait; its result is what became of each run, by run id.

    It ends when the wait for each run has ended, or for one without success by the settings: then the others
    are missing. An error of a check does not end it, unless the server answers the checks without the run
    for the settings' ``patience``, although it works otherwise. ``now`` is in seconds since 1970.
    """
    return _Wait(list(dict.fromkeys(run_ids)), settings, log, now).steps()


class _Wait:
    def __init__(
        self, run_ids: list[str], settings: WaitSettings, log: Log, now: Callable[[], float]
    ) -> None:
        self._run_ids = run_ids
        self._settings = settings
        self._now = now
        self._log = WaitLog(log, settings, len(run_ids), now=now())
        self._open = {run_id: RunWait(run_id, settings, self._log) for run_id in run_ids}
        self._ended: dict[str, Waited] = {}
        self._is_useless = False
        self._outage_until = -math.inf

    def steps(self) -> Steps:
        self._log.begin(self._run_ids)
        while self._open and not self._is_useless:
            check = self._check()
            news = yield check
            now = self._now()
            for run_id, reply in news.items():
                if (run := self._open.get(run_id)) and (waited := run.take(reply, now)):
                    self._close(run_id, waited)
            yield from self._end_unseen(news)
            now = self._now()
            self._log_progress(now)
            stopping = self._confirmed(self._stopping(now), check)
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

    def _confirmed(self, ends: dict[str, WaitEnd], check: Check) -> dict[str, WaitEnd]:
        """Return those that were just checked, where that is needed."""
        if not self._needs_check(ends):
            return ends
        # A query does not show that a run has a version since just now.
        checked = set(check.run_ids if check.is_fresh else ())
        return {run_id: end for run_id, end in ends.items() if run_id in checked}

    def _close(self, run_id: str, waited: Waited) -> None:
        del self._open[run_id]
        self._ended[run_id] = waited
        self._is_useless = self._is_useless or not self._settings.counts_as_success(waited)

    def _end_unseen(self, news: News) -> Generator[Step, Any, None]:
        """End the wait for runs whose checks have been answered for long, but not with the run: no outage."""
        now = self._now()
        failing = [self._open[one] for one in news if one in self._open]
        unseen = {run.run_id: run for run in failing if run.is_too_long(run.answered_since, now)}
        if not unseen or now < self._outage_until:
            return
        error = next(iter(unseen.values())).error
        assert error is not None
        if shows_an_outage((yield call_of_others(error))):
            self._outage_until = now + _OUTAGE_INTERVAL
            return
        # Once more, as an outage may have ended in between.
        checked: News = yield Check(run_ids=tuple(unseen), is_fresh=True)
        now = self._now()
        for run_id, run in unseen.items():
            waited = run.take(checked[run_id], now)
            if waited is None and run.is_too_long(run.answered_since, now):
                waited = run.rejected()
            if waited and not self._is_useless:
                self._close(run_id, waited)

    def _log_progress(self, now: float) -> None:
        errors = {one: wait.error for one, wait in self._open.items() if wait.error is not None}
        runs = {one: wait.run for one, wait in self._open.items()}
        self._log.note(runs, errors, self._ended, now=now)

    def _stop(self, ends: dict[str, WaitEnd]) -> Generator[Step, Any, None]:
        """Cancel runs that are no longer waited for, unless one ended just now after all."""
        if not self._settings.cancels and WaitEnd.NOT_NEEDED not in ends.values():
            for run_id, end in ends.items():
                run = self._open[run_id]
                error = f"its last check failed: {run.error}" if run.error else ""
                self._close(run_id, Waited(end=end, run=run.run, error=error))
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
