"""Calls on bulk actions, without I/O; see :mod:`airflow_provider_trigger.api.runs`."""

from __future__ import annotations

from collections.abc import Sequence

from airflow_provider_trigger.api.http import Call, Request, Response
from airflow_provider_trigger.api.responses import json_object, read_id

MAX_SIZE = 500
"""As many ids as the server takes in one bulk action (measured)."""


def cancel_runs_in_bulk(run_ids: Sequence[str] = (), *, tag: str | None = None, name: str) -> Call[str]:
    """
    Request the cancel of many runs at once: ``POST /api/v1/bulk-actions``; returns the bulk action's id.

    Unknown ids are dropped silently, and so are runs younger than about 2 s (measured). A tag, without a
    comma, takes the place of ids: of all runs that have it, and are not older than 7 days. An older server
    does not know it. Not repeatable, as it only comes before cancels of single runs.
    """
    selection = {"filter": {"tag": tag}} if tag else {"runIds": list(run_ids)}
    body = {"action": "cancel", **selection, "name": name}
    request = Request(method="POST", path="/api/v1/bulk-actions", json=body, repeatable=False)

    def read(response: Response) -> str:
        return read_id(request, json_object(request, response), what="a bulk action")

    return Call(request=request, read=read)
