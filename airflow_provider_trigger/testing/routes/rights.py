"""What a key of few rights may not do (measured; the names of the rights to queries and tokens were read)."""

from __future__ import annotations

import re
from collections.abc import Set

from starlette.requests import Request
from starlette.responses import Response

from ..http.answers import error_answer, unauthorized
from .calls import READING

# By method and path; the first that matches.
_RIGHTS = {
    "POST /api/v1/query": "read:query",
    "POST /api/v1/tasks/(.+)/trigger": "trigger:tasks",
    "POST /api/(?:v2/tasks/batch|v3/batches.*)": "batchTrigger:tasks",
    "GET /api/v1/waitpoints/.*": "read:waitpoints",
    "POST /api/v1/waitpoints/.*": "write:waitpoints",
    "GET .*": "read:runs",
    "POST .*": "write:runs",
}


def rejection(request: Request, scopes: Set[str]) -> Response | None:
    """Return the answer to a key that has only these rights and needs another, ``None`` if it does not."""
    call = f"{'GET' if request.method in READING else 'POST'} {request.url.path}"
    if call.endswith("/reschedule"):
        return error_answer("Invalid or missing API Key", status=401)
    matches = ((right, re.fullmatch(pattern, call)) for pattern, right in _RIGHTS.items())
    right, task = next((right, "".join(match.groups())) for right, match in matches if match)
    return unauthorized() if scopes.isdisjoint((right, f"{right}:{task}")) else None
