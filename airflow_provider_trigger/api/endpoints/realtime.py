"""Status checks by the realtime API, without I/O; see :mod:`airflow_provider_trigger.api.endpoints.runs`."""

from __future__ import annotations

from typing import Any

from airflow_provider_trigger.api.errors import UnexpectedAnswerError
from airflow_provider_trigger.api.http import Call, Request, Response, segment
from airflow_provider_trigger.api.models.runs import Run
from airflow_provider_trigger.api.models.statuses import todays_word
from airflow_provider_trigger.api.responses import raise_unless_success

# The start of the feed is the run as it is now.
_PARAMS = {"offset": "-1", "skipColumns": "payload,output,metadata,error"}


def snapshot_run(run_id: str) -> Call[Run]:
    """
    Check a run where :func:`~airflow_provider_trigger.api.endpoints.runs.retrieve_run` fails.

    ``GET /realtime/v1/runs/{runId}`` costs no token, and also answers for a run whose output is broken, which
    the other one always answers with 500 (measured). A server whose realtime is off answers 503, or not at
    all (measured).

    The run is :meth:`~airflow_provider_trigger.api.models.runs.Run.without_contents`. It shows no error, and
    its ``attempt_count`` is always 0.
    """
    request = Request(
        method="GET",
        path=f"/realtime/v1/runs/{segment(run_id)}",
        params=_PARAMS,
        repeatable=True,
        run_id=run_id,
        is_counted=False,
    )

    def read(response: Response) -> Run:
        raise_unless_success(request, response)
        row = _row_of(run_id, response.json())
        if row is None:
            raise UnexpectedAnswerError(f"{request} answered no run that has this id and a status")
        answer = {
            "id": run_id,
            "status": todays_word(row["status"]),
            "taskIdentifier": row.get("taskIdentifier"),
            "createdAt": row.get("createdAt"),
            "updatedAt": row.get("updatedAt"),
            "startedAt": row.get("startedAt"),
            "finishedAt": row.get("completedAt"),
        }
        return Run.from_answer(answer, seen_at=response.date()).without_contents()

    return Call(request=request, read=read)


def _row_of(run_id: str, messages: object) -> dict[str, Any] | None:
    """Return the run's row; other messages control the feed."""
    for message in messages if isinstance(messages, list) else []:
        match message:
            case {"value": {"friendlyId": shown, "status": str(status)} as row} if shown == run_id and status:
                return dict(row)
    return None
