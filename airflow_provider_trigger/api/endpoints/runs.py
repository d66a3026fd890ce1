"""
Calls on runs, without I/O: what to send, and how to read what comes back.

Each function returns a :class:`~airflow_provider_trigger.api.http.Call`; a driver sends its request and hands
the response to ``read``.
"""

from __future__ import annotations

from typing import Any

from airflow_provider_trigger.api.endpoints.paths import segment
from airflow_provider_trigger.api.errors import UnexpectedAnswerError
from airflow_provider_trigger.api.http import Call, Request, Response
from airflow_provider_trigger.api.models.runs import Run
from airflow_provider_trigger.api.responses import json_object, server_message


def cancel_run(run_id: str) -> Call[None]:
    """
    Request the cancel of a run: ``POST /api/v2/runs/{runId}/cancel``.

    The server answers 200 ``{"id": …}`` for every run that exists, alive or not (measured), so no answer says
    what became of the run: only :func:`retrieve_run` does. Any other 2xx is not Trigger.dev's answer. A 400
    or 409 that says "already" is what other versions answer for a finished run, and counts as acknowledged.

    :param run_id: the run id; goes into the URL as one percent-encoded segment
    :raises NotSentError: the id cannot be a segment of a URL
    """
    request = Request(method="POST", path=f"/api/v2/runs/{segment(run_id)}/cancel", repeatable=True)

    def read(response: Response) -> None:
        if response.status in (400, 409) and "already" in server_message(response).lower():
            return
        if json_object(request, response).get("id") != run_id:
            raise UnexpectedAnswerError(f"{request} answered {response.status} without the run's id")

    return Call(request=request, read=read)


def retrieve_run(run_id: str) -> Call[Run]:
    """
    Check a run: ``GET /api/v3/runs/{runId}``.

    :param run_id: the run id; goes into the URL as one percent-encoded segment
    :raises NotSentError: the id cannot be a segment of a URL
    """
    request = Request(method="GET", path=f"/api/v3/runs/{segment(run_id)}", repeatable=True)

    def read(response: Response) -> Run:
        answer = json_object(request, response)
        if missing := [name for name in ("id", "status") if not _is_text(answer.get(name))]:
            raise UnexpectedAnswerError(f"{request} answered a run without {missing[0]!r}")
        run = Run.from_answer(answer, seen_at=response.date())
        if run.id != run_id:
            raise UnexpectedAnswerError(f"{request} answered another run: {run.id[:50]!r}")
        return run

    return Call(request=request, read=read)


def list_runs(*, page_size: int) -> Call[list[dict[str, Any]]]:
    """
    List the environment's newest runs: ``GET /api/v1/runs``; lags 1 to 2 s behind (measured).

    :param page_size: how many at most, 10 to 100 (the vendor's description; this server takes 1, measured)
    """
    params = {"page[size]": str(page_size)}
    request = Request(method="GET", path="/api/v1/runs", params=params, repeatable=True)

    def read(response: Response) -> list[dict[str, Any]]:
        runs = json_object(request, response).get("data")
        if not isinstance(runs, list):
            raise UnexpectedAnswerError(f"{request} answered JSON without a list of runs in 'data'")
        return runs

    return Call(request=request, read=read)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)
