"""
Confirm by queries that runs are canceled. Pure.

A query shows as many runs as 10 bulk actions take. It can lose an end permanently (measured): what it does
not show as ended is checked by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from airflow_provider_trigger.api.errors import AnswerTimeoutError, TriggerDevError
from airflow_provider_trigger.api.models import Run
from airflow_provider_trigger.api.query import MAX_QUERIED_RUNS, can_be_queried
from airflow_provider_trigger.cancel.record import RunRecord

LAG = 2.0
"""How long after a cancel, or the end of a bulk action, runs are queried: a query lags 1.7 s (measured)."""

PAUSE = 1.0
"""Between two queries, in seconds: the server answers only so many at once."""

MAX_FAILURES = 3
"""After so many failures in a row the query is no longer used."""


def weight_of(error: TriggerDevError) -> int:
    """Return as how many failures one counts: as all where another query would fail, too, or take as long."""
    is_lasting = not error.retryable or isinstance(error, AnswerTimeoutError)
    return MAX_FAILURES if is_lasting else 1


@dataclass(slots=True, eq=False)
class Confirmation:
    """One query, and the runs that it names from :meth:`Confirmations.begin` on."""

    records: list[RunRecord] = field(default_factory=list)


class Confirmations:
    """Decide when to query which runs, one query at a time."""

    def __init__(self, put: Callable[[Confirmation, float], None]) -> None:
        self._put = put
        self._waiting: list[tuple[float, Sequence[RunRecord]]] = []
        self._is_open = False
        self._not_before = 0.0
        self._failures = 0

    def add(self, records: Sequence[RunRecord], now: float) -> list[RunRecord]:
        """Add runs whose cancel was requested; return those that are to be checked instead."""
        if self._failures >= MAX_FAILURES:
            return list(records)
        if known := [one for one in records if can_be_queried(one.run_id)]:
            self._waiting.append((now + LAG, known))
        self._put_next()
        return [one for one in records if not can_be_queried(one.run_id)]

    def _put_next(self) -> None:
        if self._waiting and not self._is_open:
            self._is_open = True
            self._put(Confirmation(), max(self._waiting[0][0], self._not_before))

    def begin(self, confirmation: Confirmation, now: float) -> None:
        """Say which runs a query names."""
        self._not_before = now + PAUSE
        found = confirmation.records
        while self._waiting and self._waiting[0][0] <= now:
            if len(found) + len(self._waiting[0][1]) > MAX_QUERIED_RUNS:
                break
            found += self._waiting.pop(0)[1]

    def finish(
        self,
        confirmation: Confirmation,
        runs: Sequence[Run] | None,
        error: TriggerDevError | None,
        *,
        now: float,
    ) -> list[RunRecord]:
        """Take in how a query ended; return the runs it has named, and all others once it is of no use."""
        self._is_open, done = False, confirmation.records
        if error is None:
            self._failures = 0
        else:
            self._failures += weight_of(error)
            self._waiting.insert(0, (now + PAUSE, done))
            done = []
        if self._failures >= MAX_FAILURES:
            done = [record for _, records in self._waiting for record in records]
            self._waiting.clear()
        shown = {run.id: run for run in runs or ()}
        for record in done:
            if run := shown.get(record.run_id):
                record.note_check(run, now=now)
        self._put_next()
        return done
