"""Batches of runs, as the API shows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """
    What ``GET /api/v2/batches/{id}`` shows.

    :param id: the batch id, ``batch_…``
    :param status: PENDING, PROCESSING, COMPLETED, PARTIAL_FAILED or ABORTED. COMPLETED means that the server
        has no more to do with it: its runs have ended in any status, or existed before (measured)
    :param run_count: how many items it has
    :param run_ids: in the order of its items; fewer than ``run_count`` while the server still creates them
        (measured)
    """

    id: str
    status: str
    run_count: int
    run_ids: tuple[str, ...]

    @classmethod
    def from_answer(cls, answer: Mapping[str, Any]) -> Batch | None:
        """
        Read the server's JSON object; return None where it is not a batch.

        :param answer: the decoded body
        """
        batch_id, status = answer.get("id"), answer.get("status")
        count, runs = answer.get("runCount"), answer.get("runs")
        if not isinstance(batch_id, str) or not isinstance(status, str):
            return None
        if not isinstance(count, int) or not isinstance(runs, list):
            return None
        if not all(isinstance(run, str) and run for run in runs):
            return None
        return cls(id=batch_id, status=status, run_count=count, run_ids=tuple(runs))
