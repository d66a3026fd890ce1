"""Batches of runs, as the API shows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """What ``GET /api/v2/batches/{id}`` shows."""

    id: str
    status: str
    """``COMPLETED`` means that its runs have ended in any status, or existed before (measured)."""
    run_count: int
    run_ids: tuple[str, ...]
    """In the order of its items; fewer while the server still creates them (measured)."""

    @classmethod
    def from_answer(cls, answer: Mapping[str, Any]) -> Batch | None:
        """Read the server's JSON object; return None where it is not a batch."""
        batch_id, status = answer.get("id"), answer.get("status")
        count, runs = answer.get("runCount"), answer.get("runs")
        if not isinstance(batch_id, str) or not isinstance(status, str):
            return None
        if not isinstance(count, int) or not isinstance(runs, list):
            return None
        if not all(isinstance(run, str) and run for run in runs):
            return None
        return cls(id=batch_id, status=status, run_count=count, run_ids=tuple(runs))
