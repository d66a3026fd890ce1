"""Which ends of runs are followed, and up to where they were handed over. Pure."""

from __future__ import annotations

import json
from base64 import b64encode
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha1
from typing import Any

from airflow_provider_trigger.api.models.runs import ListedRun, Run
from airflow_provider_trigger.api.responses import read_time

OVERLAP = 61.0
"""
So many seconds of ends are read again with each poll, as an end can be shown late.

60 for the lag of the query's database (a search finds what it shows later), 0.5 as ``completed_at`` is set
before it is committed (measured).
"""

# A position has 32 KB at most: Airflow's stores take about 64. What is left out is handed over again after a
# restart.
_MOST_SEEN = 3000
_MOST_LOST = 1000
_MARK_LENGTH = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class EndFilter:
    """What a run must have, so that its end is handed over; at least one of the first two is given."""

    task_identifiers: tuple[str, ...] = ()
    """One of these."""
    tags: tuple[str, ...] = ()
    """All of these, exactly."""
    statuses: tuple[str, ...] = ("COMPLETED",)
    """One of these final statuses, in today's words."""

    def wants(self, run: ListedRun) -> bool:
        """Return whether a run belongs, and has ended so."""
        return run.status in self.statuses and self.concerns(run)

    def concerns(self, run: ListedRun) -> bool:
        """Return whether a run belongs, whatever its status is."""
        is_task = not self.task_identifiers or run.task_identifier in self.task_identifiers
        return is_task and set(self.tags).issubset(run.tags)


@dataclass(frozen=True, kw_only=True, slots=True)
class Position:
    """
    Up to where ends were handed over. All times are the server's, as ISO texts to the millisecond.

    :param until: the newest end that was passed
    :param start: the first start of the watcher: an end at or before it is not handed over
    :param seen: marks (:func:`mark_of`) of what was handed over and would be read again, the newest last
    :param lost: marks of ends that were handed over and that the query does not show, the newest last
    """

    until: str
    start: str
    seen: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()

    def to_json(self) -> str:
        """
        Return it as a text of 32 KB at most.

        A run is 8 characters. Of more than 3,000 seen in 61 s and 1,000 lost ends, the oldest are left out:
        after a restart these are handed over again.
        """
        seen, lost = "".join(self.seen[-_MOST_SEEN:]), "".join(self.lost[-_MOST_LOST:])
        return json.dumps({"until": self.until, "start": self.start, "seen": seen, "lost": lost})

    @classmethod
    def from_json(cls, text: object) -> Position | None:
        """Read what :meth:`to_json` has written; None for anything else."""
        try:
            found = json.loads(text) if isinstance(text, str) else None
        except (ValueError, RecursionError):
            return None
        if not isinstance(found, dict):
            return None
        until, start = read_time(found.get("until")), read_time(found.get("start"))
        seen, lost = found.get("seen", ""), found.get("lost", "")
        if not (until and start and isinstance(seen, str) and isinstance(lost, str)):
            return None
        return cls(until=time_text(until), start=time_text(start), seen=_marks(seen), lost=_marks(lost))


def event_payload(run: Run, run_url: str | None) -> dict[str, Any]:
    """Return what an asset event says of a run that has ended; times are ISO texts in UTC, or None."""
    return {
        "run_id": run.id,
        "run_url": run_url,
        "status": run.status,
        "task_identifier": run.task_identifier,
        "tags": run.tags,
        "created_at": run.created_at and time_text(run.created_at),
        "finished_at": run.finished_at and time_text(run.finished_at),
    }


def time_text(time: datetime) -> str:
    """Return a time as an ISO text in UTC, to the millisecond; such texts are in the order of their times."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def shifted(text: str, seconds: float) -> str:
    """Return the text of a time that is so many seconds later."""
    return time_text(datetime.fromisoformat(text) + timedelta(seconds=seconds))


def mark_of(run_id: str) -> str:
    """Return what stands for a run in a position: 48 bits, as a whole id takes four times the space."""
    return b64encode(sha1(run_id.encode(), usedforsecurity=False).digest()[:6]).decode()


def _marks(joined: str) -> tuple[str, ...]:
    return tuple(joined[at : at + _MARK_LENGTH] for at in range(0, len(joined), _MARK_LENGTH))
