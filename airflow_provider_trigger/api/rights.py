"""Which right of a secret key each kind of call needs; and 403s that hold for a while."""

from __future__ import annotations

import re
from dataclasses import replace

from airflow_provider_trigger.api.errors import PermissionDeniedError, TriggerDevError
from airflow_provider_trigger.api.http import Request, Response

DENIED_FOR = 600.0
"""After a 403, no call of a kind is made for so many seconds whose absence costs only speed."""

_FOR_SPEED = {
    "POST /api/v1/query": "read:query",
    "POST /api/v1/bulk-actions": "write:runs",
    "POST /api/v1/idempotencyKeys/.*": "write:runs",
    "GET /api/v1/runs": "read:runs",
}

# By method and path, the first that matches (measured; the names of those to queries and tokens were read).
RIGHTS = _FOR_SPEED | {
    "POST /api/v1/tasks/.*": "trigger:tasks",
    "POST /api/v2/tasks/batch": "batchTrigger:tasks",
    "GET /api/v1/waitpoints/.*": "read:waitpoints",
    "POST /api/v1/waitpoints/.*": "write:waitpoints",
    "GET .*": "read:runs",
    ".*": "write:runs",
}


def kind_of(request: Request) -> str:
    """Return which of the kinds in :data:`RIGHTS` a call is."""
    return next(kind for kind in RIGHTS if re.fullmatch(kind, f"{request.method} {request.path}"))


class Denials(dict[str, tuple[float, Response]]):
    """The 403s of a secret key, with their times, by kind of call."""

    def note(self, request: Request, answer: Response | None, error: TriggerDevError, *, now: float) -> None:
        """Take in how a request has failed."""
        if answer is not None and isinstance(error, PermissionDeniedError):
            self[kind_of(request)] = now, replace(answer, headers={})  # its date is old when it is read again

    def find(self, request: Request, *, now: float) -> Response | None:
        """Return the 403 that holds for a request."""
        if not self:
            return None
        kind = kind_of(request)
        denied_at, answer = self.get(kind, (-DENIED_FOR, None))
        return answer if now < denied_at + DENIED_FOR and kind in _FOR_SPEED else None
