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
    :param output_error: why that cannot be read; None where it can
    :param timeout_at: None for no time limit
    :param url: completes the token without a key, so it is a secret; shown nowhere
    """

    id: str
    status: str
    output: Any = field(default=None, repr=False)
    output_error: str | None = None
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
        output, output_error = _read_output(answer) if status == COMPLETED else (None, None)
        return cls(
            id=token_id,
            status=status,
            output=output,
            output_error=output_error,
            tags=tuple(tag for tag in answer.get("tags") or () if isinstance(tag, str)),
            created_at=read_time(answer.get("createdAt")),
            completed_at=read_time(answer.get("completedAt")),
            timeout_at=read_time(answer.get("timeoutAt")),
            url=read_text(answer.get("url")),
        )


def _read_output(answer: Mapping[str, Any]) -> tuple[Any, str | None]:
    """Return the data, or an error: a text as it is, anything else is a superjson document (measured)."""
    output, kind = answer.get("output"), answer.get("outputType")
    if output is not None and kind not in (None, "text/plain", "application/json", SUPERJSON):
        return None, f"its output is of the type {str(kind)[:100]!r}, which this provider does not read"
    if not isinstance(output, str) or kind == "text/plain":
        return output, None
    try:
        value = json.loads(output)
    except (ValueError, RecursionError):
        return output, None
    return (from_superjson(value) if kind == SUPERJSON else value), None
