"""Read the ends of runs, one page a poll, for all who follow them. Pure: it makes no call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from itertools import islice

from airflow_provider_trigger.api.http import Call
from airflow_provider_trigger.api.models import Run
from airflow_provider_trigger.api.query import query_where
from airflow_provider_trigger.ends.position import EndFilter, Position, shifted, time_text

Answer = tuple[list[Run], datetime, datetime]
"""
Runs, and the local clock and the server's as they came: that which is behind comes first.

As either may be wrong, the first one says what has certainly been read, the second one what may be an end.
"""

# So many seconds of ends are read again with each poll: 60 for the lag of the query's database, 0.5 as
# `completed_at` is set before it is committed (measured).
_OVERLAP = 61.0
# How precise the time of an answer is.
_DATE_IS_TO = timedelta(seconds=1)
# As many rows as are queried at once; a row has 10 tags of 128 characters at most.
_PAGE_SIZE = 1000
# The ends of more than so many runs are not read before those that wait were handed over.
_MOST_WAITING = 1000
_AT_ONCE = 50


class Follower:
    """Ends that fit a filter, from a position on. Times are texts, in the server's time."""

    def __init__(self, end_filter: EndFilter, position: Position | None = None) -> None:
        self.filter = end_filter
        self.position: Position | None = None
        """What is true once all that was handed over has arrived; None before the first one."""
        self._read_to = ""  # the newest end that was read
        self._last_of_page: tuple[str, str] | None = None
        # The time of the first of several pages: what becomes visible behind them is read after them.
        self._paged_at = ""
        # What waits to be handed over, and how far the position moves with it.
        self._waiting: dict[str, tuple[Run, str]] = {}
        # What was handed over and may be read again, and when it ended.
        self._seen: dict[str, str] = {}
        if position is not None:
            self.begin(position)

    def begin(self, position: Position) -> None:
        """Begin at a position."""
        self.position = position
        self._read_to = position.until
        self._seen = dict.fromkeys(position.seen, position.until)

    @property
    def is_read(self) -> bool:
        """Whether its ends are read: not before it begins, nor while too many wait."""
        return self.position is not None and len(self._waiting) < _MOST_WAITING

    @property
    def condition(self) -> str:
        """What is read next, in SQL."""
        ended_at, run_id = self._low
        time = ended_at.replace("T", " ").removesuffix("Z")
        after = f"(completed_at, run_id) > (toDateTime64('{time}', 3), '{run_id}')"
        return f"({self.filter.condition} AND {after})"

    @property
    def _low(self) -> tuple[str, str]:
        return self._last_of_page or (shifted(self._read_to, -_OVERLAP), "")

    def take(self, runs: Sequence[Run], *, is_last: bool, now: str) -> None:
        """
        Take in a page of runs that have ended, in order.

        The position does not move beyond now: a wrong clock hides no other end.
        """
        assert self.position is not None
        if self._last_of_page is None:
            self._paged_at = now
        low = last = self._low
        for run in runs:
            assert run.finished_at is not None
            ended_at = time_text(run.finished_at)
            if (ended_at, run.id) <= low:
                continue
            last = ended_at, run.id
            self._read_to = max(self._read_to, min(ended_at, self._paged_at))
            if run.id in self._seen:
                self._seen[run.id] = ended_at
            elif ended_at > self.position.start and self.filter.wants(run):
                self._waiting.setdefault(run.id, (run, self._read_to))
        self._last_of_page = None if is_last else last

    @property
    def is_empty(self) -> bool:
        """Whether no end waits to be handed over."""
        return not self._waiting

    def hand_over(self) -> tuple[list[Run], Position]:
        """Return the ends that come next, 50 at most, and what is true once they have arrived."""
        assert self.position is not None
        until, runs = self.position.until, list[Run]()
        for run_id in list(islice(self._waiting, _AT_ONCE)):
            run, until = self._waiting.pop(run_id)
            assert run.finished_at is not None
            self._seen[run_id] = time_text(run.finished_at)
            runs.append(run)
        if not self._waiting:
            until = self._read_to
        read_again = shifted(until, -_OVERLAP)
        self._seen = {run_id: time for run_id, time in self._seen.items() if time >= read_again}
        self.position = Position(until=until, start=self.position.start, seen=tuple(self._seen))
        return runs, self.position


def next_poll(followers: Sequence[Follower]) -> tuple[Call[list[Run]], Callable[[Answer], None]] | None:
    """Return the call that reads a page for all followers, and what takes in its answer; None for nothing."""
    if new := [one for one in followers if one.position is None]:
        newest = query_where("completed_at IS NOT NULL", order="completed_at DESC, run_id DESC", limit=1)
        return newest, partial(_begin, new)
    if reading := [one for one in followers if one.is_read]:
        condition = " OR ".join(sorted({one.condition for one in reading}))
        page = query_where(condition, order="completed_at, run_id", limit=_PAGE_SIZE)
        return page, partial(_take, reading)
    return None


def _begin(followers: Sequence[Follower], answer: Answer) -> None:
    """Let followers begin at the newest end."""
    runs, behind, ahead = answer
    latest = ahead + _DATE_IS_TO
    ends = [run.finished_at for run in runs if run.finished_at and run.finished_at <= latest]
    at = time_text(max(ends, default=behind))
    for one in followers:
        one.begin(Position(until=at, start=at, seen=tuple(run.id for run in runs)))


def _take(followers: Sequence[Follower], answer: Answer) -> None:
    runs, behind, _ = answer
    for one in followers:
        one.take(runs, is_last=len(runs) < _PAGE_SIZE, now=time_text(behind + _DATE_IS_TO))
