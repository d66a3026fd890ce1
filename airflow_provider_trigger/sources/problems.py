"""Say what sources held besides run ids: in the log, and as the reasons for a failure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from airflow_provider_trigger.log import Line, Log, write
from airflow_provider_trigger.sources.run_ids import RunIds
from airflow_provider_trigger.wording import MAX_LINES, enumeration

Reaction = Literal["fail", "ignore"]


def problems_of_sources(ids: RunIds, on_empty: Reaction) -> list[str]:
    """Return what is wrong with the sources of run ids, the kind that says the most first."""
    empty = ids.empty if on_empty == "fail" else []
    return [enumeration(kind, "; ") for kind in (ids.invalid, ids.failed, empty) if kind]


def log_sources(log: Log, ids: RunIds, *, on_empty: Reaction, origin: str = "") -> None:
    """Log what was found besides run ids, up to ``MAX_LINES`` lines of each kind."""
    write(log, _lines(ids, on_empty), origin=origin)


def _lines(ids: RunIds, on_empty: Reaction) -> Iterator[Line]:
    if count := len(ids.skipped):
        what = "value that is None" if count == 1 else "values that are None"
        yield "info", f"Skipped {count} {what}: {enumeration(ids.skipped)}"
    for sentence in ids.empty[:MAX_LINES]:
        yield ("error" if on_empty == "fail" else "warning"), sentence
    for problem in (*ids.invalid[:MAX_LINES], *ids.failed[:MAX_LINES]):
        yield "error", str(problem)
