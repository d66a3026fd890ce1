"""Which ends of runs an asset watcher sends, and how they are read, page by page. Pure."""

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

# Airflow's stores take some 64 KB. Ends of runs that are left out may be sent again after a restart.
_MOST_SEEN = 1000
_PLAIN = re.compile(r"[^'\\]+")  # a text that needs no escape in SQL


@dataclass(frozen=True, kw_only=True, slots=True)
class EndFilter:
    """The ends that a watcher wants; task identifiers or tags are given."""

    task_identifiers: tuple[str, ...] = ()  # the run has one of these
    tags: tuple[str, ...] = ()  # the run has all of these
    statuses: tuple[str, ...] = ("COMPLETED",)  # the run ended with one of these, in today's words

    def wants(self, run: Run) -> bool:
        """Return whether a run fits, and has ended with a wanted status."""
        is_task = not self.task_identifiers or run.task_identifier in self.task_identifiers
        return is_task and set(self.tags).issubset(run.tags) and run.status in self.statuses

    @property
    def condition(self) -> str:
        """The filter in SQL. It lets more runs pass where a text needs an escape: :meth:`wants` is exact."""
        parts = [f"has(tags, '{tag}')" for tag in self.tags if _PLAIN.fullmatch(tag)]
        if self.task_identifiers and all(map(_PLAIN.fullmatch, self.task_identifiers)):
            parts.append(f"task_identifier IN ({_quoted(self.task_identifiers)})")
        # The query has its own words for statuses (measured).
        words = (status.replace("_", " ").capitalize() for status in self.statuses)
        return " AND ".join([*parts, f"status IN ({_quoted(words)})"])


@dataclass(frozen=True, kw_only=True, slots=True)
class Position:
    """How far ends were handed over. Times are the server's, as ISO texts to the millisecond."""

    until: str  # each end up to this time was handed over, or did not fit
    start: str  # of the watcher: ends at or before this time are not handed over
    seen: tuple[str, ...] = ()  # ids of runs that will be read again, the newest last

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON, some 33 KB, with the newest 1,000 ids."""
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
    # A value that XCom cannot store ends the triggerer's process (measured).
    return dict(for_xcom(payload, f"The event of run {run.id}", log=log))


def time_text(time: datetime) -> str:
    """Return a time as an ISO text in UTC, to the millisecond; such texts are in the order of their times."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def shifted(text: str, seconds: float) -> str:
    """Return the text of a time that is some seconds later."""
    return time_text(datetime.fromisoformat(text) + timedelta(seconds=seconds))


def _quoted(texts: Iterable[str]) -> str:
    return ", ".join(f"'{text}'" for text in texts)


# Each poll reads the ends of the last seconds again: the query's database lags by up to 60 s, and
# `completed_at` is set up to 0.5 s before it is committed (measured).
_OVERLAP = 61.0
_DATE_PRECISION = timedelta(seconds=1)  # of the header Date of an answer
_NEVER = "9999"  # sorts after all times
_PAGE_SIZE = 1000  # rows of a query; a row has up to 10 tags of 128 characters
_MOST_WAITING = 1000  # no page is read while this number of ends waits to be handed over
_AT_ONCE = 50  # ends that are handed over together


class Follower:
    """Reads the ends that fit a filter, from a position on. Times are texts, in the server's time."""

    def __init__(self, end_filter: EndFilter, position: Position | None = None) -> None:
        self.filter = end_filter
        self.position: Position | None = None  # after all that was handed over; None until the first poll
        self._read_to = ""  # the newest end that was read
        self._last_of_page: tuple[str, str] | None = None
        self._paged_at = ""  # when the first of several pages was read; newer ends are read later
        # By run id: a run whose end waits to be handed over, and how far the position moves then.
        self._waiting: dict[str, tuple[Run, str]] = {}
        # By run id: the end of a run that was handed over and may be read again.
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
        """Whether to read the next page: a position is known, and not too many ends wait."""
        return self.position is not None and len(self._waiting) < _MOST_WAITING

    @property
    def condition(self) -> str:
        """The condition of the next page, in SQL."""
        ended_at, run_id = self._low
        time = ended_at.replace("T", " ").removesuffix("Z")
        after = f"(completed_at, run_id) > (toDateTime64('{time}', 3), '{run_id}')"
        return f"({self.filter.condition} AND {after})"

    @property
    def _low(self) -> tuple[str, str]:
        return self._last_of_page or (shifted(self._read_to, -_OVERLAP), "")

    def take(self, runs: Sequence[Run], *, is_last: bool, now: str) -> None:
        """Take in a page of runs, in the order of their ends."""
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
            # Not beyond now: an end in the future (a wrong clock) must not hide others.
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
        """Return the next ends, 50 at most, and the position after them."""
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
    """Return the call that reads a page for all followers, and what takes in its answer; None for no call."""
    if new := [follower for follower in followers if follower.position is None]:
        newest = query_where("completed_at IS NOT NULL", order="completed_at DESC, run_id DESC", limit=1)
        return newest, partial(_begin, new)
    if reading := [follower for follower in followers if follower.is_read]:
        condition = " OR ".join(sorted({follower.condition for follower in reading}))
        page = query_where(condition, order="completed_at, run_id", limit=_PAGE_SIZE)
        return page, partial(_take, reading)
    return None


def _begin(followers: Sequence[Follower], runs: Sequence[Run]) -> None:
    at = time_text(datetime(2000, 1, 1, tzinfo=UTC))  # no run has ended yet
    for run in runs:
        assert run.finished_at is not None
        # Not beyond now, as above.
        at = min(time_text(run.finished_at), _now(runs))
    for follower in followers:
        follower.begin(Position(until=at, start=at, seen=tuple(run.id for run in runs)))


def _take(followers: Sequence[Follower], runs: Sequence[Run]) -> None:
    for follower in followers:
        follower.take(runs, is_last=len(runs) < _PAGE_SIZE, now=_now(runs))


def _now(runs: Sequence[Run]) -> str:
    """Return the server's time of an answer; later than all times if it is not known."""
    seen_at = runs[0].seen_at if runs else None
    return time_text(seen_at + _DATE_PRECISION) if seen_at else _NEVER
