"""The ends of runs, for asset watchers: which ones, up to where they were handed over, their reader. Pure."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from typing import Any

from airflow_provider_trigger.api.answers import read_time
from airflow_provider_trigger.api.http import Call
from airflow_provider_trigger.api.models import Run
from airflow_provider_trigger.api.runs import query_where
from airflow_provider_trigger.run.facts import for_xcom

log = logging.getLogger(__name__)

# Airflow's stores take some 64 KB. What is left out may be handed over again after a restart.
_MOST_SEEN = 1000
_PLAIN = re.compile(r"[^'\\]+")  # what a query takes as it is


@dataclass(frozen=True, kw_only=True, slots=True)
class EndFilter:
    """What a run must have, so that its end is handed over; at least one of the first two is given."""

    task_identifiers: tuple[str, ...] = ()  # one of these
    tags: tuple[str, ...] = ()  # all of these, exactly
    statuses: tuple[str, ...] = ("COMPLETED",)  # one of these, in today's words

    def wants(self, run: Run) -> bool:
        """Return whether a run belongs, and has ended so."""
        is_task = not self.task_identifiers or run.task_identifier in self.task_identifiers
        return is_task and set(self.tags).issubset(run.tags) and run.status in self.statuses

    @property
    def condition(self) -> str:
        """What belongs, in SQL, and perhaps more: texts are left out that are not plain."""
        parts = [f"has(tags, '{tag}')" for tag in self.tags if _PLAIN.fullmatch(tag)]
        if self.task_identifiers and all(map(_PLAIN.fullmatch, self.task_identifiers)):
            parts.append(f"task_identifier IN ({_quoted(self.task_identifiers)})")
        # The query has words of its own (measured).
        words = (status.replace("_", " ").capitalize() for status in self.statuses)
        return " AND ".join([*parts, f"status IN ({_quoted(words)})"])


@dataclass(frozen=True, kw_only=True, slots=True)
class Position:
    """Up to where ends were handed over. All times are the server's, as ISO texts to the millisecond."""

    until: str  # the newest end that was passed
    start: str  # the first start of the watcher: an end at or before it is not handed over
    seen: tuple[str, ...] = ()  # runs that were handed over and would be read again, the newest last

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON with the newest 1,000 of the runs, some 33 KB."""
        return {"until": self.until, "start": self.start, "seen": list(self.seen[-_MOST_SEEN:])}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Position | None:
        """Read what :meth:`to_json` has returned; None for anything else."""
        until, start, seen = read_time(found.get("until")), read_time(found.get("start")), found.get("seen")
        if not (until and start):
            return None
        run_ids = (run_id for run_id in seen if isinstance(run_id, str)) if isinstance(seen, list) else ()
        return cls(until=time_text(until), start=time_text(start), seen=tuple(run_ids))


def event_payload(run: Run, run_url: str | None) -> dict[str, Any]:
    """Return what an asset event says of a run that has ended; times are ISO texts in UTC, or None."""
    payload = {
        "run_id": run.id,
        "run_url": run_url,
        "status": run.status,
        "task_identifier": run.task_identifier,
        "tags": run.tags,
        "created_at": run.created_at and time_text(run.created_at),
        "finished_at": run.finished_at and time_text(run.finished_at),
        "is_repeat": False,
    }
    # What XCom cannot store cannot be an event either: it ends the triggerer's process (measured).
    return dict(for_xcom(payload, f"The event of run {run.id}", log=log))


def time_text(time: datetime) -> str:
    """Return a time as an ISO text in UTC, to the millisecond; such texts are in the order of their times."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def shifted(text: str, seconds: float) -> str:
    """Return the text of a time that is some seconds later."""
    return time_text(datetime.fromisoformat(text) + timedelta(seconds=seconds))


def _quoted(texts: Iterable[str]) -> str:
    return ", ".join(f"'{text}'" for text in texts)


# The seconds of ends that are read again with each poll: 60 for the lag of the query's database, 0.5 as
# `completed_at` is set before it is committed (measured).
_OVERLAP = 61.0
_DATE_IS_TO = timedelta(seconds=1)  # how precise the time of an answer is
_NEVER = "9999"  # after all other times
# The number of rows of one query; a row has 10 tags of 128 characters at most.
_PAGE_SIZE = 1000
# While this number of ends waits to be handed over, no more are read.
_MOST_WAITING = 1000
_AT_ONCE = 50


class Follower:
    """Ends that fit a filter, from a position on. Times are texts, in the server's time."""

    def __init__(self, end_filter: EndFilter, position: Position | None = None) -> None:
        self.filter = end_filter
        # What is true once all that was handed over has arrived; None before the first one.
        self.position: Position | None = None
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
        """Take in a page of runs that have ended, in order."""
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
            # Not beyond now: an end in the future hides no other one.
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


def next_poll(followers: Sequence[Follower]) -> tuple[Call[list[Run]], Callable[[list[Run]], None]] | None:
    """Return the call that reads a page for all followers, and what takes in its answer; None for nothing."""
    if new := [follower for follower in followers if follower.position is None]:
        newest = query_where("completed_at IS NOT NULL", order="completed_at DESC, run_id DESC", limit=1)
        return newest, partial(_begin, new)
    if reading := [follower for follower in followers if follower.is_read]:
        condition = " OR ".join(sorted({follower.condition for follower in reading}))
        page = query_where(condition, order="completed_at, run_id", limit=_PAGE_SIZE)
        return page, partial(_take, reading)
    return None


def _begin(followers: Sequence[Follower], runs: Sequence[Run]) -> None:
    at = time_text(datetime(2000, 1, 1, tzinfo=UTC))  # without any end there is none to leave out
    for run in runs:
        assert run.finished_at is not None
        # Not beyond now: where a clock is wrong, it is not to hide the next one.
        at = min(time_text(run.finished_at), _now(runs))
    for follower in followers:
        follower.begin(Position(until=at, start=at, seen=tuple(run.id for run in runs)))


def _take(followers: Sequence[Follower], runs: Sequence[Run]) -> None:
    for follower in followers:
        follower.take(runs, is_last=len(runs) < _PAGE_SIZE, now=_now(runs))


def _now(runs: Sequence[Run]) -> str:
    """Return the server's clock as runs came; after all times where it differs from ours: either is wrong."""
    seen_at = runs[0].seen_at if runs else None
    return time_text(seen_at + _DATE_IS_TO) if seen_at else _NEVER
