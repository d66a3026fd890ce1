"""The log of a run, without I/O; see :mod:`airflow_provider_trigger.api.runs`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from airflow_provider_trigger.api.errors import UnexpectedAnswerError
from airflow_provider_trigger.api.http import Call, Request, Response, segment
from airflow_provider_trigger.api.responses import json_object, read_text


@dataclass(frozen=True, kw_only=True, slots=True)
class RunEvent:
    """
    A line of a run's log, or a span of its trace.

    :param message: cut by the server at 256 characters, without a mark (measured)
    :param level: of a span ``TRACE``
    :param started_at: in UTC
    """

    message: str
    level: str
    started_at: datetime | None

    @classmethod
    def from_answer(cls, shown: Mapping[str, Any]) -> RunEvent:
        """Read an item of the server's list."""
        try:
            started_at = datetime.fromtimestamp(int(shown["startTime"]) / 10**9, UTC)
        except (KeyError, TypeError, ValueError, ArithmeticError, OSError):
            started_at = None
        message, level = read_text(shown.get("message")) or "", read_text(shown.get("level")) or ""
        return cls(message=message, level=level, started_at=started_at)


def list_events(run_id: str) -> Call[list[RunEvent]]:
    """
    List the lines and spans of a run, by their start: ``GET /api/v1/runs/{runId}/events``.

    It is empty before the run starts. A line shows 0.5 to 2.5 s after it was sent (measured). A 404 says that
    it may be repeated (measured).
    """
    path = f"/api/v1/runs/{segment(run_id)}/events"
    request = Request(method="GET", path=path, repeatable=True, run_id=run_id)

    def read(response: Response) -> list[RunEvent]:
        events = json_object(request, response).get("events")
        if not isinstance(events, list) or not all(isinstance(event, dict) for event in events):
            raise UnexpectedAnswerError(f"{request} answered JSON without a list of events in 'events'")
        return [RunEvent.from_answer(event) for event in events]

    return Call(request=request, read=read)
