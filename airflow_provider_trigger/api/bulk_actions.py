"""Calls on bulk actions, without I/O; see :mod:`airflow_provider_trigger.api.runs`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from airflow_provider_trigger.api.errors import UnexpectedAnswerError
from airflow_provider_trigger.api.http import Call, Request, Response, segment
from airflow_provider_trigger.api.responses import json_object, read_id


@dataclass(frozen=True, kw_only=True, slots=True)
class BulkAction:
    """What ``GET /api/v1/bulk-actions/{id}`` shows; its total can be below ``success`` (measured)."""

    status: str
    success: int
    failure: int

    @property
    def done(self) -> int:
        """How many runs it has handled."""
        return self.success + self.failure


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
    what = "a bulk action"
    return Call(request=request, read=lambda it: read_id(request, json_object(request, it), what=what))


def retrieve_bulk_action(bulk_id: str) -> Call[BulkAction]:
    """Check a bulk action: ``GET /api/v1/bulk-actions/{bulkActionId}``."""
    request = Request(method="GET", path=f"/api/v1/bulk-actions/{segment(bulk_id)}", repeatable=True)

    def read(response: Response) -> BulkAction:
        match json_object(request, response):
            case {"status": str(status), "counts": {"success": int(success), "failure": int(failure)}}:
                return BulkAction(status=status, success=success, failure=failure)
        raise UnexpectedAnswerError(f"{request} answered something that is not a bulk action")

    return Call(request=request, read=read)
