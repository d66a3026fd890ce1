"""Which ends of runs a watcher follows, and up to where they were handed over. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_provider_trigger.api.models import Run
from airflow_provider_trigger.api.responses import read_time

# Airflow's stores take some 64 KB. What is left out may be handed over again after a restart.
_MOST_SEEN = 1000

# What a query takes as it is.
_PLAIN = re.compile(r"[^'\\]+")


@dataclass(frozen=True, kw_only=True, slots=True)
class EndFilter:
    """What a run must have, so that its end is handed over; at least one of the first two is given."""

    task_identifiers: tuple[str, ...] = ()
    """One of these."""
    tags: tuple[str, ...] = ()
    """All of these, exactly."""
    statuses: tuple[str, ...] = ("COMPLETED",)
    """One of these final statuses, in today's words."""

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
    """
    Up to where ends were handed over. All times are the server's, as ISO texts to the millisecond.

    :param until: the newest end that was passed
    :param start: the first start of the watcher: an end at or before it is not handed over
    :param seen: the runs that were handed over and would be read again, the newest last
    """

    until: str
    start: str
    seen: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON with the newest 1,000 of the runs, some 33 KB."""
        return {"until": self.until, "start": self.start, "seen": list(self.seen[-_MOST_SEEN:])}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Position | None:
        """Read what :meth:`to_json` has returned; None for anything else."""
        until, start, seen = read_time(found.get("until")), read_time(found.get("start")), found.get("seen")
        if not (until and start):
            return None
        run_ids = (one for one in seen if isinstance(one, str)) if isinstance(seen, list) else ()
        return cls(until=time_text(until), start=time_text(start), seen=tuple(run_ids))


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


def _quoted(texts: Iterable[str]) -> str:
    return ", ".join(f"'{text}'" for text in texts)
