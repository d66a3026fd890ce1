"""What one watcher was given of a feed of ends, and what waits for it. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from datetime import datetime

from airflow_provider_trigger.api.models.runs import TERMINATES_WITHIN, Run
from airflow_provider_trigger.api.models.statuses import RunStatus
from airflow_provider_trigger.run.ends import (
    OVERLAP,
    EndedRun,
    EndFilter,
    Position,
    mark_of,
    shifted,
    time_text,
)

MOST_AT_ONCE = 50
"""As many ends as are handed over at once."""

NEVER = "9999"
"""Later than the text of any time."""

# By how much the clocks of a server may differ, in seconds.
_SKEW = 60.0

Key = tuple[str, str]
"""The place of an end in their order: when it was, and the run's id."""


class Follower:
    """Ends that fit a filter, from a position on. Times are texts, in the server's time."""

    def __init__(self, end_filter: EndFilter, position: Position | None = None) -> None:
        self.filter = end_filter
        self.wants_canceled = RunStatus.CANCELED in end_filter.statuses
        self.position: Position | None = None
        """What is true once all that was handed over has arrived."""
        self.is_behind = False
        self.cursor: Key | None = None
        """The last end of a full page, until the pages after it were read."""
        self.start = self.until = self.since = ""
        self.read_to = ""
        """The newest end that was read; :attr:`until` waits for canceled runs that are still unsure."""
        self.listed_to: datetime | None = None
        """Where there is no query: from when on runs are new to it, by their creation."""
        self.checked_at = ""
        """Where there is no query: when the last check began of runs that were alive."""
        self.was_there = self.is_swept = False
        """Whether all canceled runs without an end are being read for it, and whether they were read."""
        self.unsure: dict[str, Run] = {}
        """Of these, those of which only the list shows when they were canceled."""
        self._unstarted = set[str]()
        # Those whose worker may have them: since when, and up to where the position may move meanwhile.
        self._pending: dict[str, tuple[float, str]] = {}
        self._latest = NEVER  # no page after the first one moves the position beyond
        self._queue = deque[tuple[EndedRun, str | None, str]]()
        # The mark of each end -> its time, None if it is not known or not in order: what was taken, what was
        # handed over.
        self._taken: dict[str, str | None] = {}
        self._handed: dict[str, str | None] = {}
        self._has_earlier_marks = False
        if position is not None:
            self.begin(position)

    def begin(self, position: Position) -> None:
        """Begin at a position."""
        self.position, self.start = position, position.start
        self.until = self.read_to = position.until
        self.since = self.low[0]
        self._handed = dict.fromkeys(position.lost) | dict.fromkeys(position.seen, NEVER)
        self._taken, self._has_earlier_marks = dict(self._handed), True

    @property
    def low(self) -> Key:
        """All ends after it are read next."""
        return self.cursor or (shifted(self.read_to, -OVERLAP), "")

    @property
    def waiting(self) -> int:
        """How many ends wait to be handed over."""
        return len(self._queue)

    @property
    def has_news(self) -> bool:
        """Whether an end waits, or the position has moved."""
        return bool(self._queue) or (self.position is not None and self.until > self.position.until)

    def take_page(
        self,
        runs: Iterable[Run],
        *,
        is_last: bool = True,
        seen_at: datetime | None = None,
        at_most: str,
        read_at_most: str = NEVER,
    ) -> None:
        """
        Take in runs that have ended, in order.

        The position does not move beyond ``at_most``, nor does what is read next beyond ``read_at_most``.
        """
        low = last = self.low
        for run in runs:
            ended_at = time_text(run.finished_at) if run.finished_at else ""
            if (ended_at, run.id) > low:
                last = (ended_at, run.id)
                self.read_to = max(self.read_to, min(ended_at, self._latest, read_at_most))
                self.until = max(self.until, min(self.read_to, at_most))
                self._pending.pop(run.id, None)
                if ended_at > self.start:
                    self._take(run, ended_at)
        self.until = max(self.until, min(self.read_to, at_most))
        if seen_at:
            self._limit_marks(shifted(time_text(seen_at), _SKEW))
        self.cursor = None if is_last else last
        if is_last:
            self._latest = NEVER
        elif self._latest == NEVER:
            # What becomes visible behind the cursor is read with the next poll, from here on.
            self._latest = time_text(seen_at) if seen_at else last[0]
        _forget(self._taken, min(self.low[0], shifted(self.until, -OVERLAP)))

    def _limit_marks(self, now: str) -> None:
        """Take in that marks without a time, of an earlier process, are those of ends before now."""
        for marks in (self._taken, self._handed) if self._has_earlier_marks else ():
            marks |= {mark: now for mark, time in marks.items() if time == NEVER}
        self._has_earlier_marks = False

    def take_unstarted(self, runs: Iterable[Run], *, seen_at: datetime | None, now: float) -> None:
        """Take in runs that are canceled and have no end: a worker may still have them, or none ever had."""
        for run in runs:
            if not self.filter.wants(run):
                continue
            ended_at = time_text(seen_at) if seen_at else None
            if run.id not in self._unstarted:
                self._unstarted.add(run.id)
                created_at = time_text(run.created_at) if run.created_at else ""
                if self.is_swept or created_at > max(self.since, self.start):
                    self._take_canceled(run, ended_at, ended_at or self.until, now)
                else:
                    self.unsure[run.id] = run
            elif run.id in self._pending and now - self._pending[run.id][0] >= TERMINATES_WITHIN:
                del self._pending[run.id]
                self._take(run, ended_at)
        forgotten = now - 3 * TERMINATES_WITHIN  # it has completed in spite of its cancel
        self._pending = {run_id: one for run_id, one in self._pending.items() if one[0] > forgotten}

    def know_when_canceled(self, run_id: str, finished_at: datetime | None, *, now: float) -> None:
        """Take in when a run was canceled; None where nothing says it: rather twice than never."""
        run = self.unsure.pop(run_id)
        ended_at = time_text(finished_at) if finished_at else None
        if ended_at is None or (ended_at >= self.since and ended_at > self.start):
            self._take_canceled(run, ended_at, "", now)

    def _take_canceled(self, run: Run, ended_at: str | None, at_most: str, now: float) -> None:
        if run.attempt_count:  # its worker may still let it complete
            self._pending[run.id] = now, at_most
        else:
            self._take(run, ended_at)

    def at_most(self, swept_at: str) -> str:
        """Return how far the position may move; all canceled runs had been seen by ``swept_at``."""
        if not self.wants_canceled:
            return NEVER
        is_sure = self.is_swept and not self.unsure
        return min([swept_at, *(at_most for _, at_most in self._pending.values())]) if is_sure else ""

    def take_lost(self, run: Run, ended_at: datetime | None) -> None:
        """Take in an end that the query does not show."""
        if self.position and (ended_at is None or time_text(ended_at) > self.start):
            self._take(run, None)

    def _take(self, run: Run, time: str | None) -> None:
        if self.filter.wants(run) and (mark := mark_of(run.id)) not in self._taken:
            self._taken[mark] = time
            self._queue.append((EndedRun.of(run), time, self.until))

    def hand_over(self) -> tuple[list[EndedRun], Position]:
        """Return the ends that come next, and what is true once they have arrived."""
        assert self.position is not None
        ends, until = list[EndedRun](), self.position.until
        while self._queue and len(ends) < MOST_AT_ONCE:
            end, time, until = self._queue.popleft()
            self._handed[mark_of(end.run_id)] = time
            ends.append(end)
        until = until if self._queue else self.until
        _forget(self._handed, shifted(until, -OVERLAP))
        lost = tuple(mark for mark, time in self._handed.items() if time is None)
        seen = tuple(mark for mark, time in self._handed.items() if time is not None)
        self.position = Position(until=until, start=self.position.start, seen=seen, lost=lost)
        return ends, self.position


def _forget(marks: dict[str, str | None], before: str) -> None:
    for mark in [mark for mark, time in marks.items() if time is not None and time < before]:
        del marks[mark]
