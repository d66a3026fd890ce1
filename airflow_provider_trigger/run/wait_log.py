"""What a wait logs of its runs, each of a few, many together; and what is logged of work that fails."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from airflow_provider_trigger.api.errors import TriggerDevError
from airflow_provider_trigger.api.models import Run
from airflow_provider_trigger.api.statuses import SUCCESS_STATUSES
from airflow_provider_trigger.log import MAX_NAMED, Log, counted, enumeration
from airflow_provider_trigger.run.facts import missing_version, state_of
from airflow_provider_trigger.run.waited import Waited, WaitEnd, WaitSettings

LOG_INTERVAL = 300.0
"""Between two lines of which nothing is new, in seconds."""

NOT_ENDED_YET = "%d of %d runs have not ended yet"

# Between two lines that count runs as they end, in seconds.
_COUNT_INTERVAL = 30.0
# Between two lines of an outage, in seconds.
_OUTAGE_INTERVAL = 60.0

_WHY_CANCELED = {
    WaitEnd.TIMED_OUT: ("it did not end in time", "they did not end in time"),
    WaitEnd.NO_VERSION: (
        "no deployed version has its task or its queue",
        "no deployed version has their task or their queue",
    ),
    WaitEnd.NOT_NEEDED: ("another run has failed", "another run has failed"),
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
        if len(run_ids) == 1:
            self._log.info("Waiting for run %s %s", run_ids[0], self._settings.run_url)
        else:
            self._log.info("Waiting for %d runs", len(run_ids))

    def changed(self, run: Run, now: float) -> None:
        """Log that the status or the attempt of a run is new."""
        if self._count == 1:
            self._logged_at, self._begun_at = now, min(self._begun_at, now - run.age)
        if run.waits_for_version:
            if self._names_each:
                self._warn_of_version([run])
        elif run.is_final and not self._settings.logs_end:
            return
        elif self._count == 1 or (run.is_final and (self._names_each or not self._is_expected(run))):
            self._log.info("%s", state_of(run))

    def _is_expected(self, run: Run) -> bool:
        return run.status in (self._settings.success_statuses or SUCCESS_STATUSES)

    def _warn_of_version(self, runs: Sequence[Run]) -> None:
        run, others = runs[0], len(runs) - 1
        why = missing_version(run)
        who = f"Run {run.id} is {run.status}" + (f", as are {others} others" if others else "")
        limit = self._settings.pending_version_timeout
        then = "the run is canceled" if self._settings.cancels else "the wait ends"
        until = "" if limit is None else f". After {limit:g} s (pending_version_timeout) {then}"
        self._log.warning("%s: %s%s", who, why, until)

    def canceling(self, ends: Mapping[str, WaitEnd]) -> None:
        """Log why runs are canceled."""
        if len(ends) <= MAX_NAMED:
            for run_id, end in ends.items():
                self._log.warning("Canceling run %s: %s", run_id, _WHY_CANCELED[end][0])
            return
        for end, count in Counter(ends.values()).items():
            self._log.warning("Canceling %d runs: %s", count, _WHY_CANCELED[end][1])

    def note(
        self,
        left: Mapping[str, Run | None],
        errors: Mapping[str, TriggerDevError],
        ended: Mapping[str, Waited],
        now: float,
    ) -> None:
        """Log what is new, and now and then that nothing is; ``left`` have not ended, and have ``errors``."""
        if errors or self._failed:
            self._note_failures(errors, ended, now)
        if self._logs_progress and not (left and now < self._counted_at + _COUNT_INTERVAL):
            self._counted_at = now
            if not errors:  # what was seen before is not said as if it was seen now
                runs = [*(waited.run for waited in ended.values()), *left.values()]
                statuses = Counter(map(_status, runs)).items()
                shown = ", ".join(f"{count} {status}" for status, count in statuses)
                self._log.info("%d of %d runs have ended: %s", self._count - len(left), self._count, shown)
        if not self._names_each:
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
            self._log.info("Run %s is still %s after %.0f minutes", run_id, _status(run), minutes)

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
            named = f" ({enumeration(errors)})" if self._count > 1 and len(errors) <= MAX_NAMED else ""
            text, several = "Status check%s of %s failed%s; still waiting: %s", "s" * (self._count > 1)
            self._log.warning(text, several, who, named, last_error)
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
