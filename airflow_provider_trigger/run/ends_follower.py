"""What one watcher was given of the ends of runs, and what waits for it. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from datetime import datetime, timedelta

from airflow_provider_trigger.api.models.runs import Run
from airflow_provider_trigger.api.models.statuses import RunStatus
from airflow_provider_trigger.run.ends import OVERLAP, EndFilter, Position, mark_of, shifted, time_text

MOST_AT_ONCE = 50
"""As many ends as are handed over at once."""

NEVER = "9999"
"""Later than the text of any time."""

# Where there is no query: a run that is found after a restart was created so long before at most.
_LISTED_BACK = timedelta(days=1)

Key = tuple[str, str]
"""The place of an end in their order: when it was, and the run's id."""


class Follower:
    """Ends that fit a filter, from a position on. Times are texts, in the server's time."""

    def __init__(self, end_filter: EndFilter, position: Position | None = None) -> None:
        self.filter = end_filter
        self.wants_canceled = RunStatus.CANCELED in end_filter.statuses
        self.position: Position | None = None
        """What is true once all that was handed over has arrived; None before the first one."""
        self.listed_to: datetime
        """Where there is no query: up to when runs were created that were listed."""
        # The newest end that was read; the position may have to stay behind it.
        self._read_to = self._until = ""
        self._last_of_page: Key | None = None
        # The time of the first of several pages: what becomes visible behind them is read after them.
        self._paged_at = ""
        # What waits, with its mark, and how far the position moves with it.
        self._queue = deque[tuple[Run, str, str]]()
        # The mark of each end that was taken, and its time; None if it is not known or not in order.
        self._marks: dict[str, str | None] = {}
        self._earlier: tuple[str, ...] = ()
        if position is not None:
            self.begin(position)

    def begin(self, position: Position) -> None:
        """Begin at a position."""
        self.position = position
        self._until = self._read_to = position.until
        self.listed_to = datetime.fromisoformat(position.until) - _LISTED_BACK
        self._earlier = position.seen
        self._marks = dict.fromkeys(position.lost) | dict.fromkeys(position.seen, NEVER)

    @property
    def low(self) -> Key:
        """All ends after it are read next."""
        return self._last_of_page or (shifted(self._read_to, -OVERLAP), "")

    @property
    def waiting(self) -> int:
        """How many ends wait to be handed over."""
        return len(self._queue)

    @property
    def has_news(self) -> bool:
        """Whether an end waits, or the position has moved."""
        return self.position is not None and (bool(self._queue) or self._until > self.position.until)

    def take_page(self, runs: Iterable[Run], *, is_last: bool, now: str, at_most: str) -> None:
        """
        Take in runs that have ended, in order.

        The position does not move beyond ``at_most``, nor beyond now: a wrong clock hides no other end.
        """
        assert self.position is not None
        # An earlier process has handed these over; its clock may differ.
        self._marks |= dict.fromkeys(self._earlier, shifted(now, OVERLAP))
        self._earlier = ()
        if self._last_of_page is None:
            self._paged_at = now
        low = last = self.low
        for run in runs:
            assert run.finished_at is not None
            key = time_text(run.finished_at), run.id
            if key > low:
                last, ended_at = key, key[0]
                self._read_to = max(self._read_to, min(ended_at, self._paged_at))
                self._until = max(self._until, min(self._read_to, at_most))
                if ended_at > self.position.start:
                    self._take(run, ended_at)
        self._until = max(self._until, min(self._read_to, at_most))
        self._last_of_page = None if is_last else last

    def take_canceled(self, run: Run, ended_at: str | None) -> None:
        """Take in a run that has no end; None where nothing says when it was: rather twice than never."""
        if self.position is None:
            return
        before = max(self.position.start, shifted(self.position.until, -OVERLAP))
        if ended_at is None or ended_at > before:
            self._take(run, ended_at)

    def take_lost(self, run: Run) -> None:
        """Take in an end that the query does not show."""
        ended_at = time_text(run.finished_at) if run.finished_at else None
        if self.position and (ended_at is None or ended_at > self.position.start):
            self._take(run, None)

    def _take(self, run: Run, ended_at: str | None) -> None:
        if self.filter.wants(run) and (mark := mark_of(run.id)) not in self._marks:
            self._marks[mark] = ended_at
            self._queue.append((run, mark, self._until))

    def hand_over(self) -> tuple[list[Run], Position]:
        """Return the ends that come next, and what is true once they have arrived."""
        assert self.position is not None
        ends, until = list[Run](), self.position.until
        while self._queue and len(ends) < MOST_AT_ONCE:
            run, _, until = self._queue.popleft()
            ends.append(run)
        if not self._queue:
            until = self._until
        read_again = shifted(until, -OVERLAP)
        self._marks = {mark: time for mark, time in self._marks.items() if time is None or time >= read_again}
        waiting = {mark for _, mark, _ in self._queue}
        handed = {mark: time for mark, time in self._marks.items() if mark not in waiting}
        lost = tuple(mark for mark, time in handed.items() if time is None)
        seen = tuple(mark for mark, time in handed.items() if time is not None)
        self.position = Position(until=until, start=self.position.start, seen=seen, lost=lost)
        return ends, self.position
