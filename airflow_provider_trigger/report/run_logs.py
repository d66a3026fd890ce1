"""Write what runs have logged to the log of their task."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from airflow_provider_trigger.api.errors import TriggerDevError
from airflow_provider_trigger.api.limits import Deadline
from airflow_provider_trigger.api.runs import RunEvent, list_events
from airflow_provider_trigger.log import Level, Line, Log, write
from airflow_provider_trigger.report.ends import ItemEnd

if TYPE_CHECKING:
    from airflow_provider_trigger.api.client import TriggerDevClient

# The logs of at most this number of runs of a batch are written, and of each the last lines.
MAX_RUNS, LAST_LINES = 3, 1000
TIME_LIMIT = 5.0  # for all requests of a task, in seconds
# The server may have cut a message within a secret key, which is not found then.
_CUT_KEY = re.compile(r"\btr_[a-z]+_\S*$")
_LEVELS: dict[str, Level] = {"DEBUG": "debug", "WARN": "warning", "ERROR": "error"}


def write_logs(ends: Sequence[ItemEnd], client: TriggerDevClient, *, only_failed: bool, log: Log) -> None:
    """Write the logs of the first runs, failed ones before others; ``only_failed``: of failed ones only."""
    ordered = sorted(ends, key=lambda end: end.has_failed, reverse=True)
    wanted = {end.run_id: end for end in ordered if _has_log(end) and (end.has_failed or not only_failed)}
    deadline = Deadline.after(TIME_LIMIT, now=time.monotonic())
    for run_id, end in islice(wanted.items(), MAX_RUNS):
        try:
            events = client.call(list_events(run_id), deadline=deadline, patience=0)
        except TriggerDevError as error:
            log.debug("The logs of runs could not be fetched: %s", error)
            continue
        what = f"run {run_id}" if len(ends) == 1 else f"item {end.index}: run {run_id}"
        write(log, _lines(events, what, end.run_url))


def _has_log(end: ItemEnd) -> bool:
    run = end.outcome.run
    return run is not None and (run.started_at is not None or run.created_at is None)  # an event has no times


def _lines(events: Sequence[RunEvent], what: str, run_url: str) -> Iterator[Line]:
    shown = [event for event in events if event.level != "TRACE"]
    if not shown:
        return
    yield "info", f"Log of {what}:"
    if len(shown) > LAST_LINES:
        yield "info", f"Only the last {LAST_LINES} lines follow; all {len(shown)} are in {run_url}"
    for event in shown[-LAST_LINES:]:
        text = _CUT_KEY.sub("***", event.message)
        if event.started_at:
            time_of = event.started_at.isoformat(timespec="milliseconds").removesuffix("+00:00")
            text = f"{time_of}Z {text}"
        yield _LEVELS.get(event.level, "info"), text
