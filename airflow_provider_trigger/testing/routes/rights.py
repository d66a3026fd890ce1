"""What a key of few rights may not do (measured; the names of the rights to queries and tokens were read)."""

from __future__ import annotations

import re
from collections.abc import Set

from starlette.responses import Response

from ..http.answers import error_answer, unauthorized

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


def rejection(call: str, scopes: Set[str]) -> Response | None:
    """
    Return the answer to a call that a key has no right to, ``None`` if it has.

    :param call: its method, ``GET`` or ``POST``, and its path
    :param scopes: the rights of the key
    """
    if call.endswith("/reschedule"):
        return error_answer("Invalid or missing API Key", status=401)
    for pattern, right in _RIGHTS.items():
        if match := re.fullmatch(pattern, call):
            is_granted = not {right, f"{right}:{''.join(match.groups())}"}.isdisjoint(scopes)
            return None if is_granted else unauthorized()
    return None
