"""Bulk actions, as the API shows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class BulkAction:
    """
    What ``GET /api/v1/bulk-actions/{id}`` shows.

    :param id: the bulk action's id, ``bulk_…``
    :param status: PENDING, COMPLETED or ABORTED
    :param total: how many runs it found; it misses those triggered a moment ago (measured), and can be below
        ``success`` later (measured)
    :param success: how many it canceled
    :param failure: how many it did not cancel, those that had finished among them
    """

    id: str
    status: str
    total: int
    success: int
    failure: int

    @property
    def done(self) -> int:
        """How many runs it has handled."""
        return self.success + self.failure

    @classmethod
    def from_answer(cls, answer: Mapping[str, Any], *, bulk_id: str) -> BulkAction | None:
        """
        Read the server's JSON object; return None where it is not a bulk action.

        :param answer: the decoded body
        :param bulk_id: the id that was asked for
        """
        counts, status = answer.get("counts"), answer.get("status")
        if not isinstance(counts, Mapping) or not isinstance(status, str):
            return None
        numbers = {name: counts.get(name) for name in ("total", "success", "failure")}
        if not all(isinstance(number, int) for number in numbers.values()):
            return None
        return cls(id=bulk_id, status=status, **numbers)  # type: ignore[arg-type]  # numbers, as checked
