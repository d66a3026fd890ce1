"""A waitpoint token: runs wait for it, until somebody completes it or its time limit is reached."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from airflow_provider_trigger.api.responses import SUPERJSON, from_superjson, read_text, read_time

WAITING, COMPLETED, TIMED_OUT = "WAITING", "COMPLETED", "TIMED_OUT"
"""All statuses (measured)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CreatedToken:
    """What a request for a token answers."""

    id: str
    url: str = field(repr=False)
    """Completes the token without a key: a secret."""
    is_cached: bool
    """Whether an earlier request with its idempotency key has made it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WaitpointToken:
    """
    A waitpoint token, as the server shows it.

    :param status: ``WAITING``, ``COMPLETED`` or ``TIMED_OUT``
    :param output: what it was completed with: any JSON, None where that is nothing; an integer above 2^53 has
        lost digits (measured)
    :param timeout_at: None for no time limit
    :param url: completes the token without a key, so it is a secret; shown nowhere
    """

    id: str
    status: str
    output: Any = field(default=None, repr=False)
    tags: tuple[str, ...] = ()
    created_at: datetime | None = None
    completed_at: datetime | None = None
    timeout_at: datetime | None = None
    url: str | None = field(default=None, repr=False)

    @property
    def is_completed(self) -> bool:
        """Whether somebody has completed it."""
        return self.status == COMPLETED

    @property
    def has_timed_out(self) -> bool:
        """Whether its time limit was reached first."""
        return self.status == TIMED_OUT

    @classmethod
    def from_answer(cls, answer: Mapping[str, Any]) -> WaitpointToken | None:
        """Read the server's JSON object; return None where it is not a token."""
        token_id, status = read_text(answer.get("id")), read_text(answer.get("status"))
        if token_id is None or status is None:
            return None
        return cls(
            id=token_id,
            status=status,
            output=_read_output(answer) if status == COMPLETED else None,
            tags=tuple(tag for tag in answer.get("tags") or () if isinstance(tag, str)),
            created_at=read_time(answer.get("createdAt")),
            completed_at=read_time(answer.get("completedAt")),
            timeout_at=read_time(answer.get("timeoutAt")),
            url=read_text(answer.get("url")),
        )


def _read_output(answer: Mapping[str, Any]) -> Any:
    """Return the data: a text as it is, anything else is a superjson document (measured)."""
    output, kind = answer.get("output"), answer.get("outputType")
    if not isinstance(output, str) or kind == "text/plain":
        return output
    try:
        value = json.loads(output)
    except (ValueError, RecursionError):
        return output
    return from_superjson(value) if kind == SUPERJSON else value
