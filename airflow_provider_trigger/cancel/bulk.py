"""
Bulk actions: the fast way to request the cancel of many runs, which leaves out some silently.

What they have done, a query shows: their counts are raised for each 100 runs, and stand still for 30 s at
times (measured). Once it shows nothing new for a while, the rest is canceled one by one. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial
from typing import Any

from airflow_provider_trigger.api.errors import ResponseError, TriggerDevError
from airflow_provider_trigger.api.limits import Deadline
from airflow_provider_trigger.api.query import can_be_queried, parts_of, query_runs
from airflow_provider_trigger.api.runs import MAX_BULK_SIZE, cancel_runs_in_bulk
from airflow_provider_trigger.cancel.record import CancelSettings, ForMany, RunRecord
from airflow_provider_trigger.defaults import BULK_ACTION_NAME

LEAST = 10
"""Fewer runs that are added later are canceled one by one: a bulk action would take as many requests."""

LOOK_INTERVAL = 2.0
"""Between two looks at what they have done, in seconds: the query lags 1.7 s (measured)."""

NO_PROGRESS_AFTER = 3.5
"""How long no look may show any progress, in seconds, before runs are canceled one by one: two looks."""

# The part of the time limit that they may take; single cancels need the rest.
_SHARE = 1 / 3


class BulkActions:
    """The bulk actions of one cancellation; the first goes alone, as an older server does not know them."""

    def __init__(self, settings: CancelSettings, deadline: Deadline) -> None:
        self.next_at = math.inf  # when the next look is due
        self._settings = settings
        self._deadline = deadline
        self._until = math.inf
        self._parts: list[ForMany] = []
        self._sent = 0
        self._has_failed = False
        # Runs that get no request of their own while bulk actions may be canceling them.
        self._waiting: dict[str, RunRecord] = {}
        self._queries = 0  # that are under way
        self._progressed_at = -math.inf

    @property
    def accepted_ids(self) -> list[str]:
        """Of those that the server has accepted."""
        return [part.id for part in self._parts if part.id]

    def add(self, records: Iterable[RunRecord], now: float) -> None:
        """Cancel those runs that can be queried in bulk, where that may work and they are not few."""
        records = [record for record in records if can_be_queried(record.run_id)]
        if len(records) < LEAST or (self._has_failed and not self.accepted_ids):
            return
        self._until = self._deadline.before(_SHARE, now=now).at
        for start in range(0, len(records), MAX_BULK_SIZE):
            some = {record.run_id: record for record in records[start : start + MAX_BULK_SIZE]}
            call = partial(cancel_runs_in_bulk, list(some), name=BULK_ACTION_NAME)
            self._parts.append(ForMany(call, list(some), self._until))
            self._waiting |= some
            for record in some.values():
                record.bulk = self._parts[-1]

    def due(self, now: float) -> list[ForMany]:
        """Return the requests that are to be sent now."""
        end = len(self._parts) if self.accepted_ids else 1
        requests = self._parts[self._sent : end]
        self._sent += len(requests)
        if self.next_at <= now:
            queries = [
                ForMany(partial(query_runs, ids), ids, self._until) for ids in parts_of([*self._waiting])
            ]
            self.next_at, self._queries = math.inf, len(queries)
            requests += queries
        return requests

    def take(
        self, request: ForMany, result: Any, error: TriggerDevError | None, now: float
    ) -> list[RunRecord]:
        """Take in what came of a request; return the runs that no longer wait for a bulk action."""
        if request in self._parts:
            released = self._take_part(request, result, error, now)
        else:
            released = self._take_query(result or (), now)
        if not self._queries and math.isinf(self.next_at) and self._waiting and self.accepted_ids:
            self.next_at = max(now, min(now + LOOK_INTERVAL, self._until))
        return released

    def _take_part(
        self, part: ForMany, bulk_id: str, error: TriggerDevError | None, now: float
    ) -> list[RunRecord]:
        if error is None:
            part.id, self._progressed_at = bulk_id, now
            return [] if self._settings.follows else self._release(part.run_ids)
        self._has_failed = True
        part.is_sent &= not (isinstance(error, ResponseError) and error.status < 500)
        return self._release(part.run_ids if self.accepted_ids else [*self._waiting])

    def _take_query(self, runs: Iterable[Any], now: float) -> list[RunRecord]:
        ended = {run.id: run for run in runs if run.is_final}
        released = self._release(ended)
        for record in released:
            run = ended[record.run_id]
            record.note_check(run, now=now)
            self._progressed_at = now if run.is_canceled else self._progressed_at
        self._queries -= 1
        is_quiet = now - self._progressed_at >= NO_PROGRESS_AFTER
        if not self._queries and (is_quiet or now >= self._until):
            released += self._release([*self._waiting])
        return released

    def _release(self, run_ids: Iterable[str]) -> list[RunRecord]:
        return [self._waiting.pop(run_id) for run_id in run_ids if run_id in self._waiting]
