"""What is known of runs that are waited for, and what the wait of a task comes to. Without I/O."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from airflow_provider_trigger.api.errors import (
    NotFoundError,
    NotSentError,
    TriggerDevError,
    is_rejection,
    root_of,
)
from airflow_provider_trigger.api.models import Run
from airflow_provider_trigger.api.statuses import SUCCESS_STATUSES
from airflow_provider_trigger.cancel.outcome import CancelOutcome, CancelResult
from airflow_provider_trigger.log import MAX_NAMED, MAY_RUN, Log, counted
from airflow_provider_trigger.run.checks import QUERY_LAG, UNKNOWN_AFTER, is_answer
from airflow_provider_trigger.run.facts import missing_version, state_of
from airflow_provider_trigger.run.waited import Waited, WaitEnd, WaitSettings, check_interval

# Between two lines, in seconds: of which nothing is new, that count runs as they end, of an outage.
LOG_INTERVAL = 300.0
_COUNT_INTERVAL = 30.0
_OUTAGE_INTERVAL = 60.0

NOT_ENDED_YET = "%d of %d runs have not ended yet"

_WHY_CANCELED = {
    WaitEnd.TIMED_OUT: "it did not end in time",
    WaitEnd.NO_VERSION: "no deployed version has its task or its queue",
    WaitEnd.NOT_NEEDED: "another run has failed",
}


class WaitLog:
    """Log the progress of a wait; of many runs, those that end as they should are only counted."""

    def __init__(self, log: Log, settings: WaitSettings, count: int) -> None:
        self._log, self._settings, self._count = log, settings, count
        self._logs_progress = settings.logs_progress and count > 1
        self._names_each = count <= MAX_NAMED
        self._begun_at = self._counted_at = self._logged_at = math.inf
        self._failed: set[str] = set()  # since checks fail
        self._failing_since = self._warned_at = math.inf
        self._lack_version = False

    @property
    def due(self) -> float:
        """When the next line is due."""
        count_due = self._counted_at + _COUNT_INTERVAL if self._logs_progress else math.inf
        return min(count_due, self._warned_at + _OUTAGE_INTERVAL, self._logged_at + LOG_INTERVAL)

    def begin(self, run_ids: Sequence[str], now: float) -> None:
        """Log which runs are waited for."""
        self._begun_at = self._counted_at = self._logged_at = now
        what = f"run {run_ids[0]} {self._settings.run_url}" if len(run_ids) == 1 else f"{len(run_ids)} runs"
        self._log.info("Waiting for %s", what)

    def changed(self, run: Run, now: float) -> None:
        """Log that the status or the attempt of a run is new."""
        if self._count == 1:
            self._logged_at, self._begun_at = now, min(self._begun_at, now - run.age)
        if run.waits_for_version or (run.is_final and not self._settings.logs_end):
            return
        expected = self._settings.success_statuses or SUCCESS_STATUSES
        if self._count == 1 or (run.is_final and (self._names_each or run.status not in expected)):
            self._log.info("%s", state_of(run))

    def _warn_of_version(self, runs: Sequence[Run]) -> None:
        run, others = runs[0], len(runs) - 1
        who = f"Run {run.id} is {run.status}" + (f", as are {others} others" if others else "")
        limit = self._settings.pending_version_timeout
        then = "the run is canceled" if self._settings.cancels else "the wait ends"
        until = "" if limit is None else f". After {limit:g} s (pending_version_timeout) {then}"
        self._log.warning("%s: %s%s", who, missing_version(run), until)

    def canceling(self, ends: Mapping[str, WaitEnd]) -> None:
        """Log why runs are canceled."""
        each = [(f"run {run_id}", end) for run_id, end in ends.items()]
        together = [(f"each of {count} runs", end) for end, count in Counter(ends.values()).items()]
        for who, end in each if len(ends) <= MAX_NAMED else together:
            self._log.warning("Canceling %s: %s", who, _WHY_CANCELED[end])

    def not_canceled(self, run_id: str, error: str) -> None:
        """Log that a cancel failed: at its ``execution_timeout``, Airflow 2 does not resume the task."""
        self._log.error("Run %s %s: %s", run_id, MAY_RUN, error)

    def note(
        self,
        left: Mapping[str, Run | None],
        errors: Mapping[str, TriggerDevError],
        ended: Mapping[str, Waited],
        now: float,
        *,
        unseen: float,
    ) -> None:
        """
        Log what is new, and now and then that nothing is; ``left`` have not ended, and have ``errors``.

        ``unseen``: for how many seconds no check has shown one of them.
        """
        if errors or self._failed:
            self._note_failures(errors, ended, now)
        if self._logs_progress and not (left and now < self._counted_at + _COUNT_INTERVAL):
            self._counted_at = now
            if not errors:  # what was seen before is not said as if it was seen now
                runs = [*(waited.run for waited in ended.values()), *left.values()]
                statuses = Counter(map(_status, runs)).items()
                shown = ", ".join(f"{count} {status}" for status, count in statuses)
                self._log.info("%d of %d runs have ended: %s", self._count - len(left), self._count, shown)
        waiting = [run for run in left.values() if run and run.waits_for_version]
        if waiting and not self._lack_version:
            self._warn_of_version(waiting)
        self._lack_version = bool(waiting)
        if now < self._logged_at + LOG_INTERVAL:
            return
        self._logged_at = now
        if self._count > 1 and not (errors or self._logs_progress):
            self._log.info(NOT_ENDED_YET, len(left), self._count)
        for run_id, run in left.items() if self._count == 1 and not errors else ():
            minutes = (now - self._begun_at) / 60
            late = f"; no check has shown it for {unseen / 60:.0f} minutes" if unseen >= LOG_INTERVAL else ""
            text = "Run %s is still %s after %.0f minutes%s"
            self._log.info(text, run_id, _status(run), minutes, late)

    def _note_failures(
        self, errors: Mapping[str, TriggerDevError], ended: Mapping[str, Waited], now: float
    ) -> None:
        seconds = now - self._failing_since
        if not errors:
            if seen := [one for one in self._failed if one not in ended or not ended[one].error]:
                who = f"Run {seen[0]}" if self._count == 1 else counted(len(seen), "run")
                self._log.info("%s can be checked again after %.0f s", who, seconds)
            self._failing_since = self._warned_at = math.inf
            self._logged_at = now
            self._failed.clear()
            return
        *_, last_error = errors.values()
        who = f"run {next(iter(errors))}" if self._count == 1 else f"{len(errors)} of {self._count} runs"
        if not self._failed:
            self._failing_since = self._warned_at = now
            self._log.warning("Status checks of %s failed; still waiting: %s", who, last_error)
        elif now >= self._warned_at + _OUTAGE_INTERVAL:
            self._warned_at = now
            text = "Status checks of %s have failed for %.0f s; still waiting: %s"
            self._log.warning(text, who, seconds, last_error)
        self._failed.update(errors)


def _status(run: Run | None) -> str:
    return "not checked yet" if run is None else run.status


class Outage:
    """Log that something fails, once a minute, and when it works again; ``then`` is what it does then."""

    def __init__(self, what: str, log: Log, *, then: str = "continues where it was") -> None:
        self._failures = 0  # in a row
        self._what, self._log, self._then = what, log, then
        self._since = self._logged_at = -math.inf

    def failed(self, error: object, now: float) -> None:
        """Take in a failure; a single one is not worth a line."""
        self._since = now if not self._failures else self._since
        self._failures += 1
        if self._failures > 1 and now - self._logged_at >= _OUTAGE_INTERVAL:
            self._logged_at = now
            text = "%s for %.0f s now; it is tried again, and %s: %s"
            self._log.warning(text, self._what, now - self._since, self._then, error)

    def worked(self, now: float) -> None:
        """Take in that it works."""
        if self._logged_at >= self._since and self._failures:
            self._log.info("%s: over after %.0f s", self._what, now - self._since)
        self._failures = 0


# A query that shows an end so many seconds late has lost it: 4.6 s was the longest (measured), with a margin.
_LOST_AFTER = 10.0
# A run that the query does not list, or whose check failed, is checked by itself after so many seconds.
_MISSING_AFTER = 10.0

Result = dict[str, Waited] | Exception
"""What became of each run, or the error that has ended the wait."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check of one run came to."""

    reply: Run | TriggerDevError
    server_works: bool | None = None
    """Whether another call was answered where the check was not with the run; None: that was not asked."""


@dataclass(slots=True, eq=False)
class Watched:
    """What is known of one run, for all waits. All times are in seconds by the watch's clock."""

    run_id: str
    added_at: float
    born_at: float  # when it was created, as far as that is known: by the server's clock, once it was seen
    waits: list[Wait] = field(default_factory=list)
    poll_interval: float = math.inf  # the shortest one that a wait has, infinite for none
    run: Run | None = None
    error: TriggerDevError | None = None  # of its last check, if nothing was seen since
    failing_since: float = math.inf  # infinite if its last check did not fail
    rejected_since: float = math.inf
    """Since when each check was answered with 401, 403 or 404: an outage may begin and end with one."""
    answered_since: float = math.inf
    """Since when each check was answered, in whatever way, but not with the run."""
    without_version_since: float = math.inf
    # When requests were sent: its last check that has ended, the last one and the last query that showed it.
    checked_at: float = -math.inf
    seen_at: float = -math.inf
    listed_at: float = -math.inf
    is_listed: bool = True  # by the last query; before the first one, whether that may
    checking_since: float = math.inf  # when the check in flight was sent, infinite for none
    must_check: bool = False
    is_lost: bool = False
    """Whether its checks are answered without it although the server works otherwise."""

    @property
    def unchecked_since(self) -> float:
        """Since when it was not checked by itself."""
        return max(self.added_at, self.checked_at)

    def is_broken(self, now: float) -> bool:
        """Return whether its checks fail for so long that no check may ever show its end."""
        return now - self.failing_since >= UNKNOWN_AFTER

    def due(self, *, is_queried: bool) -> float:
        """Return when it is checked by itself, although nothing else says so."""
        if self.must_check:
            return -math.inf
        if self.poll_interval < math.inf:
            return max(self.added_at, self.checked_at + self.poll_interval)
        is_failing = self.failing_since < math.inf
        if is_queried and self.is_listed and not is_failing:
            return math.inf
        last = self.unchecked_since if is_queried else max(self.seen_at, self.checked_at)
        if math.isinf(last):
            return self.added_at
        # A single fault does not cost a long interval.
        interval = check_interval(last - (self.failing_since if is_failing else self.born_at))
        return last + (max(_MISSING_AFTER, interval) if is_queried else interval)

    def may_learn_from(self, run: Run, queried_at: float, now: float) -> bool:
        """Return whether a query can show something newer than the last check."""
        if run.is_final:
            return True
        if self.is_broken(now):
            return False
        is_later = queried_at - QUERY_LAG >= self.checked_at
        return self.run is None or (is_later and run.attempt_count >= self.run.attempt_count)

    def has_lost_end(self, run: Run, now: float) -> bool:
        """Return whether a query showed it as alive long after the end that a check of it shows now."""
        ended_at = run.finished_at or run.updated_at
        if not run.is_final or ended_at is None or run.seen_at is None:
            return False
        return (run.seen_at - ended_at).total_seconds() - (now - self.listed_at) >= _LOST_AFTER

    def take_check(
        self, checked: Checked, *, sent_at: float, now: float, is_wanted: bool, is_queried: bool
    ) -> bool:
        """
        Take in a check that has ended; return whether the waits have to know.

        | the check came to      | it counts           | the waits have to know                         |
        | ---------------------- | ------------------- | ---------------------------------------------- |
        | the run                | always              | if status or attempt is new, or they wanted it |
        | an error               | always              | if they wanted it, if queries do not show the  |
        |                        |                     | run, or if its checks have failed for 30 s     |
        | it could not be sent   | if they wanted it   | as for an error                                |
        """
        reply = checked.reply
        is_unsent = isinstance(reply, NotSentError) and reply.retryable
        if is_wanted or not is_unsent:  # a check that does not count comes first again
            self.checked_at = sent_at
            self.failing_since = math.inf if isinstance(reply, Run) else min(self.failing_since, now)
        if isinstance(reply, Run):
            return self.saw(reply, sent_at=sent_at, now=now) or is_wanted
        if not is_wanted and is_queried and self.is_listed and not self.is_broken(now):
            return False
        self.failed(reply, now)
        self.is_lost = checked.server_works is True and is_answer(root_of(reply))
        return True

    def saw(self, run: Run, *, sent_at: float, now: float) -> bool:
        """Take in how it was seen; return whether that is new."""
        before = None if self.error else self.run
        self.run, self.error, self.seen_at, self.is_lost = run, None, sent_at, False
        self.rejected_since = self.answered_since = math.inf
        self.born_at = min(self.born_at, now - run.age)
        since = min(self.without_version_since, now)
        self.without_version_since = since if run.waits_for_version else math.inf
        return before is None or (before.status, before.attempt_count) != (run.status, run.attempt_count)

    def failed(self, error: TriggerDevError, now: float) -> None:
        """Take in that a check failed, and no query shows it."""
        self.error = error
        is_rejected = is_rejection(error) or isinstance(error, NotFoundError)
        self.rejected_since = min(self.rejected_since, now) if is_rejected else math.inf
        if not isinstance(error, NotSentError):
            self.answered_since = min(self.answered_since, now) if is_answer(error) else math.inf


class Wait:
    """
    The wait of one task for its runs; a watch calls it, always in the same thread.

    It ends when the wait for each run has ended, or for one without success by the settings: then the others
    are missing. ``report`` is called once, with its result; ``on_ended`` with each run that has ended. With
    ``ends_early`` it ends also if a run was never seen and another check of it is useless.
    """

    def __init__(
        self,
        run_ids: Iterable[str],
        settings: WaitSettings,
        log: Log,
        *,
        report: Callable[[Result], object],
        on_ended: Callable[[str], object] = lambda run_id: None,
        ends_early: bool = False,
    ) -> None:
        self.run_ids: Sequence[str] = list(dict.fromkeys(run_ids))
        self.settings = settings
        self.is_over = False
        self.due = -math.inf  # when it is to proceed, although nothing is new
        self._report, self._on_ended = report, on_ended
        self._log = WaitLog(log, settings, len(self.run_ids))
        self._begun_at, self._stops_at = -math.inf, math.inf
        limits = settings.timeout, settings.pending_version_timeout
        self._max_age, self._version_limit = (math.inf if one is None else one for one in limits)
        self._left: dict[str, Watched] = {}
        self._shown: dict[str, tuple[str, int]] = {}
        self._ended: dict[str, Waited] = {}
        self._canceling: dict[str, WaitEnd] = {}  # and why
        self._is_useless = False
        self._ends_early = ends_early

    @property
    def left(self) -> list[str]:
        """The runs that are still waited for."""
        return list(self._left)

    def begin(self, runs: Mapping[str, Watched], *, now: float, wall: float) -> None:
        """Begin with runs, of which something may be known; ``wall`` is in seconds since 1970."""
        self._begun_at = now
        if self.settings.deadline is not None:
            self._stops_at = now + self.settings.deadline - wall
        self._log.begin(self.run_ids, now)
        self._left = {run_id: runs[run_id] for run_id in self.run_ids}
        for one in list(self._left.values()):
            self.heard(one, now)

    @property
    def _deadline(self) -> float:
        born_at = min((one.born_at for one in self._left.values()), default=math.inf)
        return min(self._stops_at, born_at + self._max_age)

    def is_too_long(self, since: float, now: float) -> bool:
        """Return whether that is so for longer than the wait for a run lasts that no check shows."""
        return now - max(since, self._begun_at) >= max(self.settings.patience, UNKNOWN_AFTER)

    def heard(self, one: Watched, now: float) -> None:
        """Take in what is known of a run."""
        run, error = one.run, one.error
        if one.run_id not in self._left:
            return
        is_new = self._ends_early and run is None
        if error is None and run is not None:
            self._saw(one, run, now)
        elif error and not error.retryable and (is_new or isinstance(error, NotSentError)):
            self.end(error)
        elif self.is_too_long(one.rejected_since, now) or (
            one.is_lost and self.is_too_long(one.answered_since, now)
        ):
            self._close(one, WaitEnd.REJECTED, error=str(error))

    def _saw(self, one: Watched, run: Run, now: float) -> None:
        shown = (run.status, run.attempt_count)
        if self._shown.get(run.id) != shown:
            self._shown[run.id] = shown
            self._log.changed(run, now)
        if run.is_final:
            end = self._canceling.get(one.run_id) if run.is_canceled else None
            self._close(one, end or WaitEnd.FINAL, is_canceled=end is not None)

    def _close(
        self,
        one: Watched,
        end: WaitEnd,
        *,
        run: Run | None = None,
        error: str = "",
        is_canceled: bool = False,
    ) -> None:
        run = run or one.run
        del self._left[one.run_id]
        waited = Waited(end=end, run=run, error=error, is_canceled=is_canceled)
        self._ended[one.run_id] = waited
        self._is_useless = self._is_useless or not self.settings.counts_as_success(waited)
        if run is not None and run.is_final:
            self._on_ended(one.run_id)

    def proceed(self, now: float) -> list[str]:
        """Log the progress, and end what is over; return which runs are to be canceled."""
        runs = {run_id: one.run for run_id, one in self._left.items()}
        errors = {run_id: one.error for run_id, one in self._left.items() if one.error is not None}
        unseen = now - min((max(one.seen_at, self._begun_at) for one in self._left.values()), default=now)
        self._log.note(runs, errors, self._ended, now, unseen=unseen)
        ends = {one: end for one, (end, at) in self._limits(now).items() if self._is_sure(one, end, at)}
        is_canceled = self.settings.cancels or self._is_useless
        if ends and is_canceled:
            self._log.canceling(ends)
            self._canceling |= ends
        for run_id, end in ends.items() if not is_canceled else ():
            one = self._left[run_id]
            self._close(one, end, error=f"its last check failed: {one.error}" if one.error else "")
        is_canceling = not self._left.keys().isdisjoint(self._canceling)
        if not self._left or (self._is_useless and not is_canceling):
            self.end({run_id: self._ended[run_id] for run_id in self.run_ids if run_id in self._ended})
        # After a limit, what is canceled or checked once more is heard of.
        versions = (one.without_version_since + self._version_limit for one in self._left.values())
        self.due = min([self._log.due, *(at for at in (self._deadline, *versions) if at > now)])
        return list(ends) if is_canceled else []

    def _limits(self, now: float) -> dict[str, tuple[WaitEnd, float]]:
        """Return which runs are no longer waited for although they have not ended, why, and since when."""
        left = [run_id for run_id in self._left if run_id not in self._canceling]
        if self._is_useless:
            return dict.fromkeys(left, (WaitEnd.NOT_NEEDED, now)) if self.settings.cancels_others else {}
        if now >= (deadline := self._deadline):
            return dict.fromkeys(left, (WaitEnd.TIMED_OUT, deadline))
        ends = ((one, self._left[one].without_version_since + self._version_limit) for one in left)
        return {one: (WaitEnd.NO_VERSION, at) for one, at in ends if now >= at and not self._left[one].error}

    def _is_sure(self, run_id: str, end: WaitEnd, at: float) -> bool:
        """Return whether a check has shown it since then, if it needs one; else let the run be checked."""
        one = self._left[run_id]
        # The cancel of one that has ended changes nothing; of one that has a version by now, it does.
        needs_check = end is WaitEnd.NO_VERSION or (end is WaitEnd.TIMED_OUT and not self.settings.cancels)
        if not needs_check or one.checked_at >= at:
            return True
        one.must_check = True  # also with one in flight: of that one the wait hears only what is new
        return False

    def take_cancel(self, run_id: str, result: CancelResult, now: float) -> None:
        """Take in what became of a canceled run; of one that had ended, its result counts."""
        if (one := self._left.get(run_id)) is None:
            return
        is_canceled, end = result.outcome is CancelOutcome.CANCELED, self._canceling[run_id]
        if not is_canceled and result.outcome is not CancelOutcome.ALREADY_COMPLETED:
            error = result.error or "this key's environment has no such run"
            self._log.not_canceled(run_id, error)
            self._close(one, end, error=error)
            return
        shown = {"id": run_id, "status": result.status, "taskIdentifier": result.task_identifier}
        run = replace(one.run, status=str(result.status)) if one.run else Run.from_answer(shown)
        self._log.changed(run, now)
        # Who needs more of it than its status checks it again.
        run = run.without_contents()
        self._close(one, end if is_canceled else WaitEnd.FINAL, run=run, is_canceled=is_canceled)

    def end(self, result: Result) -> None:
        """End the wait, once."""
        if not self.is_over:
            self.is_over = True
            self._report(result)
