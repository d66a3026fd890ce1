"""The wait of a task for its runs: how it waits, what it logs, and when it ends. Without I/O."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import islice
from typing import Any

from airflow_provider_trigger import defaults
from airflow_provider_trigger.api.errors import NotSentError, TriggerDevError
from airflow_provider_trigger.api.models import Run
from airflow_provider_trigger.api.statuses import SUCCESS_STATUSES
from airflow_provider_trigger.cancel.outcome import CancelOutcome, CancelResult
from airflow_provider_trigger.log import (
    LOG_INTERVAL,
    MAX_LINES,
    MAY_RUN,
    OUTAGE_INTERVAL,
    Log,
    capitalized,
    named,
)
from airflow_provider_trigger.run.checks import UNKNOWN_AFTER
from airflow_provider_trigger.run.facts import missing_version, progress_of, state_of
from airflow_provider_trigger.run.polled import PolledRun
from airflow_provider_trigger.run.wait_outcome import WaitEnd, WaitOutcome

_COUNT_INTERVAL = 30.0  # between two lines about several runs, in seconds

_WHY_CANCELED = {
    WaitEnd.TIMED_OUT: "the time limit was reached",
    WaitEnd.NO_VERSION: "no deployed version has the task or the queue",
    WaitEnd.NOT_NEEDED: "another run has failed",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class WaitSettings:
    """
    How to wait.

    :param run_url: the run's page in the dashboard, for the log
    :param poll_interval: between two status checks, in seconds; None for a tenth of the run's age, but at
        least 2 s and up to 30 s
    :param deadline: when to stop waiting, in seconds since 1970; None for never
    :param timeout: how old the oldest run that has not ended may be, in seconds by the server's clock; None
        for no limit
    :param pending_version_timeout: how long a run may wait for a version that has its task, in seconds; None
        for no limit
    :param patience: how long the server may answer the checks without the run, in seconds; the wait ends
        after :data:`airflow_provider_trigger.run.checks.UNKNOWN_AFTER` at the earliest
    :param cancels: whether a run that is no longer waited for is canceled
    :param success_statuses: the final statuses that count as success: a run that ends otherwise ends the
        wait for all runs; None to wait for each run in any case
    :param cancels_others: whether a run that ends the wait for all runs cancels the others
    :param logs_progress: whether it is logged each 30 s how many runs have which status, not each 5 minutes
    :param logs_end: whether it is logged how a run has ended; else the resumed task logs it
    :param run_progress: whether the log shows the metadata of runs when it has changed
    :param tag: the tag of all runs, to find them in the dashboard
    """

    run_url: str = ""
    poll_interval: float | None = None
    deadline: float | None = None
    timeout: float | None = None
    pending_version_timeout: float | None = defaults.PENDING_VERSION_TIMEOUT
    patience: float = defaults.RETRY_FOR
    cancels: bool = True
    success_statuses: Sequence[str] | None = None
    cancels_others: bool = False
    logs_progress: bool = False
    logs_end: bool = True
    run_progress: bool = True
    tag: str = ""

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> WaitSettings:
        """Read the JSON of any version: a missing field gets its default, an unknown one is ignored."""
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in stored.items() if name in known})

    def to_json(self) -> dict[str, Any]:
        """Return the settings as plain JSON."""
        return asdict(self)

    def ends_by(self, now: float) -> float:
        """Return when a wait that begins now ends at the latest, in seconds since 1970."""
        limits = (self.deadline, None if self.timeout is None else now + self.timeout)
        return min((limit for limit in limits if limit is not None), default=math.inf)

    def counts_as_success(self, outcome: WaitOutcome) -> bool:
        """Return whether the wait for other runs continues."""
        if self.success_statuses is None:
            return True
        if outcome.end is not WaitEnd.FINAL or outcome.run is None:
            return False
        return outcome.run.status in self.success_statuses


class WaitLog:
    """Log the progress of a wait: each change of a single run; how many of several runs have which status."""

    def __init__(self, log: Log, settings: WaitSettings, count: int) -> None:
        self._log, self._settings, self._count = log, settings, count
        self._interval = _COUNT_INTERVAL if settings.logs_progress and count > 1 else LOG_INTERVAL
        self._begun_at = self._logged_at = self._progress_at = 0.0
        self.progress: dict[str, str] = {}  # what was logged last of the metadata of each run
        self._failed: dict[str, None] = {}  # the runs whose checks have failed in this outage
        self._failing_since: float | None = None
        self._warned_at = -math.inf
        self._lack_version = False

    @property
    def due(self) -> float:
        """When the next line is due."""
        due = self._logged_at + self._interval
        return due if self._failing_since is None else min(due, self._warned_at + OUTAGE_INTERVAL)

    def begin(self, run_ids: Sequence[str], now: float) -> None:
        """Log which runs are waited for."""
        self._begun_at = self._logged_at = self._progress_at = now
        url = f" {self._settings.run_url}" if len(run_ids) == 1 else ""
        self._log.info("Waiting for %s%s", named(run_ids), url)

    def changed(self, run: Run, now: float) -> None:
        """Log a new status or attempt of a single run; of several runs, only an end without success."""
        if self._count == 1:
            self._logged_at, self._begun_at = now, min(self._begun_at, now - run.age)
        if run.waits_for_version or (run.is_final and not self._settings.logs_end):
            return
        expected = self._settings.success_statuses or SUCCESS_STATUSES
        if self._count == 1 or (run.is_final and run.status not in expected):
            self._log.info("%s%s", state_of(run), self._new_progress(run))

    def _new_progress(self, run: Run) -> str:
        if not self._settings.run_progress:
            return ""
        text = progress_of(run, self.progress.get(run.id, ""))
        self.progress[run.id] = run.progress
        return text

    def canceling(self, run_ids: Sequence[str], end: WaitEnd) -> None:
        """Log why runs are canceled."""
        self._log.warning("Canceling %s: %s", named(run_ids), _WHY_CANCELED[end])

    def not_canceled(self, run_id: str, error: str) -> None:
        """Log that a cancel failed: at its ``execution_timeout``, Airflow 2 does not resume the task."""
        self._log.error("Run %s %s: %s", run_id, MAY_RUN, error)

    def note(
        self,
        left: Mapping[str, Run | None],
        errors: Mapping[str, TriggerDevError],
        ended: Mapping[str, WaitOutcome],
        now: float,
        *,
        unseen: float,
    ) -> None:
        """
        Log what is new, and at intervals that nothing is; ``left`` have not ended, and have ``errors``.

        ``unseen``: for how many seconds no check has shown one of them.
        """
        self._note_failures(errors, ended, now)
        waiting = [run for run in left.values() if run and run.waits_for_version]
        if waiting and not self._lack_version:
            self._warn_of_version(waiting)
        self._lack_version = bool(waiting)
        if now < self._logged_at + self._interval and (left or self._count == 1):
            return
        self._logged_at = now
        if errors:  # what was seen before them is not logged as if it was seen now
            return
        if self._count > 1:
            statuses = Counter(map(_status, [*(outcome.run for outcome in ended.values()), *left.values()]))
            shown = ", ".join(f"{count} {status}" for status, count in statuses.items())
            self._log.info("%d of %d runs have ended: %s", self._count - len(left), self._count, shown)
            if now >= self._progress_at + LOG_INTERVAL:
                self._progress_at = now
                self._log_progress(filter(None, islice(left.values(), MAX_LINES)))
            return
        for run_id, run in left.items():
            minutes = (now - self._begun_at) / 60
            late = f"; no check has shown it for {unseen / 60:.0f} minutes" if unseen >= LOG_INTERVAL else ""
            text = "Run %s is still %s after %.0f minutes%s%s"
            progress = self._new_progress(run) if run else ""
            self._log.info(text, run_id, _status(run), minutes, late, progress)

    def _log_progress(self, runs: Iterable[Run]) -> None:
        for run in runs:
            if progress := self._new_progress(run):
                self._log.info("%s%s", state_of(run), progress)

    def _warn_of_version(self, runs: Sequence[Run]) -> None:
        limit = self._settings.pending_version_timeout
        then = "a cancel follows" if self._settings.cancels else "the wait ends"
        until = "" if limit is None else f". After {limit:g} s (pending_version_timeout) {then}"
        who, why = capitalized(named([run.id for run in runs])), missing_version(runs[0])
        self._log.warning("%s cannot start (%s): %s%s", who, runs[0].status, why, until)

    def _note_failures(
        self, errors: Mapping[str, TriggerDevError], ended: Mapping[str, WaitOutcome], now: float
    ) -> None:
        if not errors and self._failing_since is None:
            return
        since = self._failing_since = now if self._failing_since is None else self._failing_since
        self._failed |= dict.fromkeys(errors)
        if not errors:
            if seen := [run_id for run_id in self._failed if run_id not in ended or not ended[run_id].error]:
                text = "%s can be checked again after %.0f s"
                self._log.info(text, capitalized(named(seen)), now - since)
            self._failed, self._failing_since, self._warned_at = {}, None, -math.inf
            self._logged_at = now
        elif now >= self._warned_at + OUTAGE_INTERVAL:
            self._warned_at = now
            *_, last_error = errors.values()
            text = "Status checks of %s have failed for %.0f s; still waiting: %s"
            self._log.warning(text, named(list(errors)), now - since, last_error)


def _status(run: Run | None) -> str:
    return "not checked yet" if run is None else run.status


WaitResult = dict[str, WaitOutcome] | Exception
"""The outcome of each run, or the error that has ended the wait."""


class Wait:
    """
    The wait of one task for its runs; a watch calls it, always in the same thread.

    It ends when each run has an outcome, or when a run without success ends it (see ``success_statuses``):
    then the result lacks the other runs. ``report`` is called once, with the result; ``on_ended`` with the id
    of each run that has ended. ``ends_early``: also a run ends it that no check has shown, if another check
    is useless.
    """

    def __init__(
        self,
        run_ids: Iterable[str],
        settings: WaitSettings,
        log: Log,
        *,
        report: Callable[[WaitResult], object],
        on_ended: Callable[[str], object] = lambda run_id: None,
        ends_early: bool = False,
    ) -> None:
        self.run_ids: Sequence[str] = list(dict.fromkeys(run_ids))
        self.settings = settings
        self.is_over = False
        self.due = 0.0  # when `proceed` is called although nothing is new
        self._report, self._on_ended = report, on_ended
        self._log = WaitLog(log, settings, len(self.run_ids))
        self._begun_at = 0.0
        self._stops_at: float | None = None  # None for never
        self._left: dict[str, PolledRun] = {}
        self._shown: dict[str, tuple[str, int]] = {}
        self._ended: dict[str, WaitOutcome] = {}
        self._canceling: dict[str, WaitEnd] = {}  # the runs that are being canceled, and why
        self._is_useless = False
        self._ends_early = ends_early

    @property
    def left(self) -> list[str]:
        """The runs that are still waited for."""
        return list(self._left)

    def begin(self, runs: Mapping[str, PolledRun], *, now: float, wall: float) -> None:
        """Begin; other waits may know the runs already. ``wall`` is in seconds since 1970."""
        self._begun_at = now
        if self.settings.deadline is not None:
            self._stops_at = now + self.settings.deadline - wall
        self._log.begin(self.run_ids, now)
        self._left = {run_id: runs[run_id] for run_id in self.run_ids}
        for polled in list(self._left.values()):
            self.heard(polled, now)

    def is_too_long(self, since: float | None, now: float) -> bool:
        """Return whether a wait ends for a run that no check has shown since then."""
        patience = max(self.settings.patience, UNKNOWN_AFTER)
        return since is not None and now - max(since, self._begun_at) >= patience

    def heard(self, polled: PolledRun, now: float) -> None:
        """Take in what is known of a run."""
        run, error = polled.run, polled.error
        if polled.run_id not in self._left:
            return
        is_new = self._ends_early and run is None
        if error is None and run is not None:
            self._saw(polled, run, now)
        elif error and not error.retryable and (is_new or isinstance(error, NotSentError)):
            self.end(error)
        elif self.is_too_long(polled.rejected_since, now) or (
            polled.is_lost and self.is_too_long(polled.answered_since, now)
        ):
            self._close(polled, WaitEnd.REJECTED, error=str(error))

    def _saw(self, polled: PolledRun, run: Run, now: float) -> None:
        shown = (run.status, run.attempt_count)
        if self._shown.get(run.id) != shown:
            self._shown[run.id] = shown
            self._log.changed(run, now)
        if run.is_final:
            end = self._canceling.get(polled.run_id) if run.is_canceled else None
            self._close(polled, end or WaitEnd.FINAL, is_canceled=end is not None)

    def _close(
        self,
        polled: PolledRun,
        end: WaitEnd,
        *,
        run: Run | None = None,
        error: str = "",
        is_canceled: bool = False,
    ) -> None:
        run = run or polled.run
        del self._left[polled.run_id]
        progress = self._log.progress.get(polled.run_id, "")
        outcome = WaitOutcome(end=end, run=run, error=error, is_canceled=is_canceled, progress=progress)
        self._ended[polled.run_id] = outcome
        self._is_useless = self._is_useless or not self.settings.counts_as_success(outcome)
        if run is not None and run.is_final:
            self._on_ended(polled.run_id)

    def proceed(self, now: float) -> list[str]:
        """Log the progress, and apply the limits; return which runs to cancel."""
        runs = {run_id: polled.run for run_id, polled in self._left.items()}
        errors = {run_id: polled.error for run_id, polled in self._left.items() if polled.error is not None}
        seen_at = (max(polled.seen_at or 0.0, self._begun_at) for polled in self._left.values())
        self._log.note(runs, errors, self._ended, now, unseen=now - min(seen_at, default=now))
        end, over = self._over(now)
        run_ids: list[str] = []
        for run_id, at in over.items():
            polled = self._left[run_id]
            if self._needs_check(end) and (polled.checked_at is None or polled.checked_at < at):
                polled.must_check = True  # also with one in flight, whose result the wait may not get
            else:
                run_ids.append(run_id)
        is_canceled = self.settings.cancels or self._is_useless
        if run_ids and is_canceled:
            self._log.canceling(run_ids, end)
            self._canceling |= dict.fromkeys(run_ids, end)
        for run_id in run_ids if not is_canceled else ():
            polled = self._left[run_id]
            self._close(polled, end, error=f"its last check failed: {polled.error}" if polled.error else "")
        is_canceling = not self._left.keys().isdisjoint(self._canceling)
        if not self._left or (self._is_useless and not is_canceling):
            self.end({run_id: self._ended[run_id] for run_id in self.run_ids if run_id in self._ended})
        limits = [self._deadline, *self._version_limits.values()]
        # After a limit, nothing is due: the answer to the cancel or check continues the wait.
        self.due = min([self._log.due, *(at for at in limits if at is not None and at > now)])
        return run_ids if is_canceled else []

    def _over(self, now: float) -> tuple[WaitEnd, dict[str, float]]:
        """Return why runs that have not ended are no longer waited for, and since when for each."""
        left = [run_id for run_id in self._left if run_id not in self._canceling]
        if self._is_useless:
            return WaitEnd.NOT_NEEDED, dict.fromkeys(left if self.settings.cancels_others else (), now)
        deadline, limits = self._deadline, self._version_limits
        if deadline is not None and now >= deadline:
            return WaitEnd.TIMED_OUT, dict.fromkeys(left, deadline)
        late = [run_id for run_id in left if run_id in limits and now >= limits[run_id]]
        return WaitEnd.NO_VERSION, {run_id: limits[run_id] for run_id in late if not self._left[run_id].error}

    @property
    def _deadline(self) -> float | None:
        """When the wait for all runs ends; None for never."""
        deadlines = [] if self._stops_at is None else [self._stops_at]
        if self._left and self.settings.timeout is not None:
            deadlines.append(min(polled.born_at for polled in self._left.values()) + self.settings.timeout)
        return min(deadlines, default=None)

    @property
    def _version_limits(self) -> dict[str, float]:
        """The time until which each run without a version may wait for one."""
        since = {run_id: polled.without_version_since for run_id, polled in self._left.items()}
        limit = self.settings.pending_version_timeout
        return {} if limit is None else {run_id: at + limit for run_id, at in since.items() if at is not None}

    def _needs_check(self, end: WaitEnd) -> bool:
        """Return whether a check after the limit must show first that nothing has changed."""
        # Before a cancel, only the version is checked: a cancel of a run that has ended changes nothing.
        return end is WaitEnd.NO_VERSION or (end is WaitEnd.TIMED_OUT and not self.settings.cancels)

    def take_cancel(self, run_id: str, result: CancelResult, now: float) -> None:
        """Take in the outcome of a cancel; if the run had ended before, the wait ends as usual."""
        if (polled := self._left.get(run_id)) is None:
            return
        is_canceled, end = result.outcome is CancelOutcome.CANCELED, self._canceling[run_id]
        if not is_canceled and result.outcome is not CancelOutcome.ALREADY_COMPLETED:
            error = result.error or "this key's environment has no such run"
            self._log.not_canceled(run_id, error)
            self._close(polled, end, error=error)
            return
        shown = {"id": run_id, "status": result.status, "taskIdentifier": result.task_identifier}
        run = replace(polled.run, status=str(result.status)) if polled.run else Run.from_answer(shown)
        self._log.changed(run, now)
        # The resumed task checks the run again if it needs more than the status.
        run = run.without_contents()
        self._close(polled, end if is_canceled else WaitEnd.FINAL, run=run, is_canceled=is_canceled)

    def end(self, result: WaitResult) -> None:
        """End the wait, once."""
        if not self.is_over:
            self.is_over = True
            self._report(result)
