"""Bulk actions, as the API shows them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class BulkAction:
    """
    What ``GET /api/v1/bulk-actions/{id}`` shows.

    :param id: the bulk action's id, ``bulk_…``
    :param status: PENDING, COMPLETED or ABORTED
    :param total: how many runs it found; it misses those triggered a moment ago (measured)
    :param success: how many it canceled
    :param failure: how many it did not, those that had finished among them
    """

    id: str
    status: str
    total: int
    success: int
    failure: int
