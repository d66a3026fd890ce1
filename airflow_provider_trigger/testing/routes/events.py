"""The log of a run as the server's JSON shows it: its span, and its lines."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ..engine import constants
from ..engine.run_events import LogLine
from ..engine.runs import ServerRun
from ..engine.server_time import moment


def show_events(run: ServerRun, *, seen_until: float) -> list[dict[str, Any]]:
    """
    Return what the log of a run answers: nothing before the run starts, and nothing from after its end.

    :param seen_until: in seconds since 1970; what is younger does not show yet
    """
    state = run.state_at(seen_until)
    if state is None or state.started_at is None:
        return []
    ended_at = (state.finished_at or state.updated_at) if state.final else None
    root = _event(run, run.span_id, run.task_identifier, "TRACE", state.started_at) | {
        "style": {"icon": "task", "variant": "primary"},
        "duration": 0 if ended_at is None else _nanoseconds(ended_at) - _nanoseconds(state.started_at),
        "isError": state.final and state.status not in ("COMPLETED", "CANCELED"),
        "isPartial": ended_at is None,
        "isCancelled": state.status == "CANCELED",
    }
    last = moment(seen_until) if ended_at is None else min(ended_at, moment(seen_until))
    lines = sorted((line for line in run.log_lines if moment(line.at) <= last), key=lambda line: line.at)
    return [root, *(_show_line(run, line) for line in lines[: constants.MOST_EVENTS - 1])]


def _show_line(run: ServerRun, line: LogLine) -> dict[str, Any]:
    state = run.state_at(line.at)
    message = line.text[: constants.LONGEST_LOG_MESSAGE]
    return _event(run, line.span_id, message, line.level, moment(line.at)) | {
        "parentId": run.span_id,
        "isError": line.is_error,
        "attemptNumber": (state.attempt_count or None) if state else None,
    }


def _event(run: ServerRun, span_id: str, message: str, level: str, start: datetime) -> dict[str, Any]:
    return {
        "spanId": span_id,
        "parentId": None,
        "runId": run.id,
        "message": message,
        "style": {},
        "events": [],
        "startTime": str(_nanoseconds(start)),
        "duration": 0,
        "isError": False,
        "isPartial": False,
        "isCancelled": False,
        "kind": "UNSPECIFIED",
        "attemptNumber": None,
        "level": level,
    }


def _nanoseconds(time: datetime) -> int:
    return round(time.timestamp() * 1_000_000) * 1000
