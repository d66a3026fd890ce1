"""The query, without I/O: checks many runs at once; see :mod:`airflow_provider_trigger.api.runs`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from airflow_provider_trigger.api.answers import json_object, read_text
from airflow_provider_trigger.api.errors import UnexpectedAnswerError
from airflow_provider_trigger.api.http import Call, Request, Response
from airflow_provider_trigger.api.models import Run, todays_word

MAX_QUERIED_RUNS = 5000
"""As many runs as one query names: 0.4 s and a body of 156 KB (measured)."""

QUERY_TIMEOUT = 5.0
"""How long the server may take for a query, in seconds."""

# GET's startedAt is dequeued_at here. There is no updated_at (measured), and nothing else says since when a
# run waits for a version: queued_at is older where it waited in its queue first.
_COLUMNS = (
    "run_id, status, task_identifier, attempt_count, triggered_at, dequeued_at, executed_at, completed_at"
)
# Without a period the query looks back 7 days; a long one costs nothing (measured).
_PERIOD = "365d"
_PLAIN = re.compile(r"[A-Za-z0-9_-]+")


def can_be_queried(run_id: str) -> bool:
    """Return whether an id can stand in the text of a query as it is."""
    return _PLAIN.fullmatch(run_id) is not None


def parts_of(run_ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield runs in parts, each for one query."""
    for first in range(0, len(run_ids), MAX_QUERIED_RUNS):
        yield run_ids[first : first + MAX_QUERIED_RUNS]


def query_runs(run_ids: Sequence[str], *, only_ended: bool = False) -> Call[list[Run]]:
    """
    Check many runs at once: ``POST /api/v1/query``; returns those that the server found, in any order.

    It costs one token, and lags about 1 s behind; a run that has just started or does not exist is missing. A
    run's end can be missing from it permanently (measured). An older server does not know it: 404. While its
    database is down the server answers 400 (measured).

    The runs are :meth:`~airflow_provider_trigger.api.models.Run.without_contents`, and have no
    ``updated_at``.
    """
    if not run_ids or not all(map(can_be_queried, run_ids)):
        raise ValueError("only runs whose ids consist of letters, digits, '_' and '-' can be queried")
    listed, queried = ",".join(f"'{run_id}'" for run_id in run_ids), frozenset(run_ids)
    ended = " AND is_finished" if only_ended else ""
    request = _request(f"SELECT {_COLUMNS} FROM runs WHERE run_id IN ({listed}){ended}")

    def read(response: Response) -> list[Run]:
        rows = _read_rows(request, response)
        if not queried.issuperset(row["run_id"] for row in rows):
            raise UnexpectedAnswerError(f"{request} answered other runs")
        seen_at = response.date()
        return [Run.from_answer(_answer(row), seen_at=seen_at).without_contents() for row in rows]

    return Call(request=request, read=read, timeout=QUERY_TIMEOUT)


def query_where(condition: str, *, order: str, limit: int) -> Call[list[Run]]:
    """
    Find runs by a condition in SQL, in order: ``POST /api/v1/query``; they have tags.

    A run that was canceled while no worker had it has no ``completed_at`` (measured). NULLs are ordered last.
    For its failures see :func:`query_runs`.
    """
    request = _request(f"SELECT {_COLUMNS}, tags FROM runs WHERE {condition} ORDER BY {order} LIMIT {limit}")

    def read(response: Response) -> list[Run]:
        rows = _read_rows(request, response)
        return [Run.from_answer(_answer(row) | {"tags": row.get("tags")}) for row in rows]

    return Call(request=request, read=read, timeout=QUERY_TIMEOUT)


def _request(query: str) -> Request:
    body = {"query": query, "scope": "environment", "period": _PERIOD}
    return Request(method="POST", path="/api/v1/query", json=body, repeatable=True)


def _read_rows(request: Request, response: Response) -> list[Mapping[str, Any]]:
    rows = json_object(request, response).get("results")
    if not isinstance(rows, list):
        raise UnexpectedAnswerError(f"{request} answered JSON without a list of 'results'")
    for row in rows:
        if not isinstance(row, dict) or not all(read_text(row.get(name)) for name in ("run_id", "status")):
            raise UnexpectedAnswerError(f"{request} answered a run without 'run_id' or 'status'")
    return rows


def _answer(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row as a GET would show its run."""
    executed_at = row.get("executed_at")
    return {
        "id": row["run_id"],
        "status": todays_word(row["status"]),
        "taskIdentifier": row.get("task_identifier"),
        "createdAt": row.get("triggered_at"),
        "startedAt": row.get("dequeued_at") or executed_at,
        "finishedAt": row.get("completed_at"),
        # It is 1 before the first attempt, too (measured).
        "attemptCount": row.get("attempt_count") if executed_at else 0,
    }
