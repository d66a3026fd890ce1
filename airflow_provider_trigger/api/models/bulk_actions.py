"""Bulk actions, as the API shows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class BulkAction:
    """
    What ``GET /api/v1/bulk-actions/{id}`` shows.

    The total is left out: it can be below ``success`` (measured).
    """

    status: str
    success: int
    failure: int

    @property
    def done(self) -> int:
        """How many runs it has handled."""
        return self.success + self.failure

    @classmethod
    def from_answer(cls, answer: Mapping[str, Any]) -> BulkAction | None:
        """Read the server's JSON object; return None where it is not a bulk action."""
        counts, status = answer.get("counts"), answer.get("status")
        if not isinstance(counts, Mapping) or not isinstance(status, str):
            return None
        success, failure = counts.get("success"), counts.get("failure")
        if not (isinstance(success, int) and isinstance(failure, int)):
            return None
        return cls(status=status, success=success, failure=failure)
