"""What a feed of ends requests: conditions of queries in SQL, and filters of lists. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from airflow_provider_trigger.api.models.statuses import RunStatus
from airflow_provider_trigger.run.ends import EndFilter
from airflow_provider_trigger.run.ends_follower import Key

PAGE_SIZE = 1000
"""As many rows as are queried at once; a row has 10 tags of 128 characters at most."""

# A query cannot have these: the server takes `\\n` for a backslash and a new line (read).
_UNWRITABLE = re.compile(r"\\[bfrnt0av]")
# Longer filters make an address that proxies may reject: all runs are listed instead.
_LONGEST_FILTER = 2000


def ends_after(filters: Sequence[EndFilter], low: Key) -> str:
    """Return the condition for ends after one."""
    statuses = sorted({_status(status) for one in filters for status in one.statuses})
    ended_at = low[0].replace("T", " ").removesuffix("Z")
    return (
        f"{_any(filters)} AND status IN ({', '.join(statuses)}) AND "
        f"(completed_at, run_id) > (toDateTime64('{ended_at}', 3), {_quoted(low[1])})"
    )


def unstarted_after(filters: Iterable[EndFilter], run_id: str) -> str:
    """Return the condition for canceled runs without an end, by their ids."""
    canceled = f"status = {_status(RunStatus.CANCELED)} AND completed_at IS NULL"
    return f"{_any(filters)} AND {canceled} AND run_id > {_quoted(run_id)}"


def alive_after(filters: Iterable[EndFilter], run_id: str) -> str:
    """Return the condition for runs that have not ended, by their ids."""
    return f"{_any(filters)} AND NOT is_finished AND run_id > {_quoted(run_id)}"


def _any(filters: Iterable[EndFilter]) -> str:
    return f"({' OR '.join(sorted({_condition(one) for one in filters}))})"


def _condition(one: EndFilter) -> str:
    """Leave out what cannot be written: ends are filtered again when they are taken in."""
    parts = [f"has(tags, {_quoted(tag)})" for tag in one.tags if not _UNWRITABLE.search(tag)]
    if one.task_identifiers and not any(map(_UNWRITABLE.search, one.task_identifiers)):
        parts.append(f"task_identifier IN ({', '.join(map(_quoted, sorted(one.task_identifiers)))})")
    return f"({' AND '.join(parts)})" if parts else "run_id != ''"


def _status(status: str) -> str:
    return _quoted(status.replace("_", " ").capitalize())  # the query has words of its own (measured)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def list_filters(filters: Sequence[EndFilter]) -> list[dict[str, Any]]:
    """Return what lists, together, have all runs that one of the filters may want: one list or two."""
    by_task = sorted({task for one in filters for task in one.task_identifiers})
    by_tag = sorted({one.tags[0] for one in filters if not one.task_identifiers})
    if any("," in text for text in [*by_task, *by_tag]) or len("".join(by_task + by_tag)) > _LONGEST_FILTER:
        return [{}]  # a comma separates tags (measured)
    return [{name: one} for name, one in (("task_identifiers", by_task), ("tags", by_tag)) if one]
