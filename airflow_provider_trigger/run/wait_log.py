"""What a wait for several runs logs of all of them together. Pure, but for a log."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection

from airflow_provider_trigger.log import Log
from airflow_provider_trigger.run.run_wait import LOG_INTERVAL, RunWait
from airflow_provider_trigger.run.waited import Waited
from airflow_provider_trigger.wording import MAX_NAMED

# Between two lines that count runs as they end, in seconds.
_COUNT_INTERVAL = 30.0


class WaitLog:
    """
    Log the progress of a wait for several runs; of many, those that end as they should are only counted.

    :param logs_progress: whether the number of runs in each status is logged every 30 s
    :param now: the time, in seconds since 1970
    """

    def __init__(self, log: Log, count: int, *, logs_progress: bool, now: float) -> None:
        self._log = log
        self._logs_progress = logs_progress
        self._count = self._open = count
        self._counted_at = self._logged_at = now
        self._are_failing = False
        self._lack_version = False

    @property
    def progress_due(self) -> float:
        """When the next line on the progress is due, in seconds since 1970; infinite for none."""
        return self._counted_at + _COUNT_INTERVAL if self._logs_progress else math.inf

    def note(self, waits: Collection[RunWait], ended: Collection[Waited] = (), *, now: float) -> None:
        """
        Log what is new, and now and then that nothing is.

        :param waits: of the runs that have not ended
        :param ended: what the wait for each of the others came to
        """
        if self._logs_progress:
            self._note_progress(waits, ended, now)
        if self._count > MAX_NAMED:
            if not self._logs_progress:
                self._note_ends(len(waits), now)
            self._note_failures([wait for wait in waits if wait.error is not None])
            self._note_versions(waits)
        if now - self._logged_at >= LOG_INTERVAL:
            self._logged_at = now
            if not self._logs_progress:
                self._log.info("%d of %d runs have not ended yet", len(waits), self._count)
            if self._are_failing:
                last = [wait.error for wait in waits if wait.error is not None]
                text = "%d of %d runs could not be checked; still waiting: %s"
                self._log.warning(text, len(last), self._count, last[-1])

    def _note_progress(self, waits: Collection[RunWait], ended: Collection[Waited], now: float) -> None:
        if waits and now < self.progress_due:
            return
        self._counted_at = now
        runs = [waited.run for waited in ended] + [wait.run for wait in waits]
        counts = Counter("not checked yet" if run is None else run.status for run in runs)
        shown = ", ".join(f"{count} {status}" for status, count in counts.items())
        self._log.info("%d of %d runs have ended: %s", self._count - len(waits), self._count, shown)

    def _note_ends(self, left: int, now: float) -> None:
        if left < self._open and (not left or now - self._counted_at >= _COUNT_INTERVAL):
            self._open, self._counted_at = left, now
            self._log.info("%d of %d runs have ended", self._count - left, self._count)

    def _note_failures(self, failing: list[RunWait]) -> None:
        if failing and not self._are_failing:
            text = "Status checks of %d of %d runs failed; still waiting: %s"
            self._log.warning(text, len(failing), self._count, failing[-1].error)
        elif self._are_failing and not failing:
            self._log.info("All runs can be checked again")
        self._are_failing = bool(failing)

    def _note_versions(self, waits: Collection[RunWait]) -> None:
        waiting = [(wait, wait.run) for wait in waits if wait.run is not None and wait.run.waits_for_version]
        if waiting and not self._lack_version:
            wait, run = waiting[0]
            wait.warn_of_version(run, others=len(waiting) - 1)
        self._lack_version = bool(waiting)
