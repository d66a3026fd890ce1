"""The log of a run, without I/O; see :mod:`airflow_provider_trigger.api.endpoints.runs`."""

from __future__ import annotations

from airflow_provider_trigger.api.errors import UnexpectedAnswerError
from airflow_provider_trigger.api.http import Call, Request, Response, segment
from airflow_provider_trigger.api.models.events import RunEvent
from airflow_provider_trigger.api.responses import json_object

MAX_EVENTS = 25_000
"""As many as the server shows of a run, the first ones (read in its code)."""


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
