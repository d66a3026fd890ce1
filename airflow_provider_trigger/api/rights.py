"""Which right of a secret key each kind of call needs; and 403s that hold for a while."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import NamedTuple

from airflow_provider_trigger.api.http import Request, Response

DENIED_FOR = 600.0
"""So many seconds after a 403, no call of a kind is made whose absence costs only speed."""

ADMIN = "admin"
"""Only a key without restrictions has it."""


class Kind(NamedTuple):
    """One kind of calls."""

    pattern: str
    """Of method and path."""
    right: str
    costs_speed_only: bool = False
    """What the key's lack of the right does."""


# The first that matches (measured; the names of the rights to queries and tokens were read).
KINDS = (
    Kind("POST /api/v1/query", "read:query", costs_speed_only=True),
    Kind("POST /api/v1/bulk-actions", "write:runs", costs_speed_only=True),
    Kind("POST /api/v1/idempotencyKeys/.*", "write:runs", costs_speed_only=True),
    Kind("GET /api/v1/runs", "read:runs", costs_speed_only=True),
    Kind("POST /api/v1/tasks/.*", "trigger:tasks"),
    Kind("POST /api/v2/tasks/batch", "batchTrigger:tasks"),
    Kind("POST /api/v1/runs/.*/reschedule", ADMIN),
    Kind("GET /api/v1/waitpoints/.*", "read:waitpoints"),
    Kind("POST /api/v1/waitpoints/.*", "write:waitpoints"),
    Kind("GET .*", "read:runs"),
    Kind(".*", "write:runs"),
)


def kind_of(method: str, path: str) -> Kind:
    """Return of which kind a call is."""
    return next(kind for kind in KINDS if re.fullmatch(kind.pattern, f"{method} {path}"))


class Denials(dict[Kind, tuple[float, Response]]):
    """The 403s of a secret key, with their times, by kind."""

    def note(self, request: Request, answer: Response, *, now: float) -> None:
        """Take in a 403."""
        kind = kind_of(request.method, request.path)
        if kind.costs_speed_only:
            self[kind] = now, replace(answer, headers={})  # its date is old when it is read again

    def find(self, request: Request, *, now: float) -> Response | None:
        """Return the 403 that holds for a request."""
        denied_at, answer = self.get(kind_of(request.method, request.path), (0.0, None))
        return answer if now < denied_at + DENIED_FOR else None
