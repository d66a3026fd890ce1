"""One bulk action: the fast way to request the cancel of many runs, which leaves out some silently."""

from __future__ import annotations

from collections.abc import Sequence

from airflow_provider_trigger.api.bulk_actions import (
    MAX_SIZE,
    cancel_runs_in_bulk,
    retrieve_bulk_action,
)
from airflow_provider_trigger.api.errors import TriggerDevError
from airflow_provider_trigger.api.exchange import Exchange, Steps, Wait
from airflow_provider_trigger.api.limits import Deadline
from airflow_provider_trigger.api.query import query_runs
from airflow_provider_trigger.cancel.record import BulkPart, RunRecord
from airflow_provider_trigger.cancel.settings import CancelSettings

LEAST = 10
"""Fewer runs that are added later are canceled one by one: a bulk action would take as many requests."""

SHARE = 1 / 4
"""The part of the remaining time that they may take without progress; single cancels need the rest."""

LONGEST = 30.0
"""The same in seconds, at most."""

NO_PROGRESS_AFTER = 4.0
"""
How long queries may show no progress, in seconds, before runs are canceled one by one.

Counts alone say nothing: they are raised for each 100 runs, and stand still for 30 s at times (measured).
"""

_CHECKED_FOR = 5.0
"""How long one check of a bulk action is repeated, in seconds."""

_FIRST_PAUSE, _PAUSE_FACTOR, _LONGEST_PAUSE = 0.5, 1.5, 3.0


class BulkParts:
    """Bulk actions; the first goes alone until it is accepted, as an older server does not know them."""

    def __init__(self) -> None:
        self._has_failed = False
        self._begun: list[BulkPart] = []
        self._left: list[BulkPart] = []

    @property
    def may_work(self) -> bool:
        """True until one fails, and always once one was accepted."""
        return bool(self.accepted_ids) or not self._has_failed

    def add(self, records: Sequence[RunRecord]) -> None:
        """Divide records so that each part fits one bulk action, and let each record know its part."""
        for start in range(0, len(records), MAX_SIZE):
            part = BulkPart(records[start : start + MAX_SIZE], siblings=self._begun)
            self._left.append(part)
            for record in part.records:
                record.bulk = part

    def begin(self) -> list[BulkPart]:
        """Return those that can begin now, each once."""
        count = len(self._left) if self.accepted_ids else int(not self._begun)
        begun, self._left = self._left[:count], self._left[count:]
        self._begun += begun
        return begun

    @property
    def accepted_ids(self) -> list[str]:
        """Of those that the server has accepted."""
        return [part.id for part in self._begun if part.id]

    @property
    def are_canceling(self) -> bool:
        """Whether any may be canceling runs, as far as is known."""
        return any(not part.is_over and not part.is_stalled for part in self._begun)

    def fail(self, part: BulkPart) -> list[BulkPart]:
        """Return all whose runs are canceled one by one, as one was not accepted."""
        self._has_failed = True
        failed, self._left = [part, *self._left], []
        return failed


def bulk_steps(
    exchange: Exchange, part: BulkPart, settings: CancelSettings, *, deadline: Deadline, singly_from: float
) -> Steps[None]:
    """
    Request the cancel of a part's runs, and follow the bulk action until it ends, or is not needed.

    Its counts do not say which runs it left out (measured). After a signal there is no time to follow it.
    """
    part.progressed_at = exchange.monotonic()
    run_ids = [record.run_id for record in part.records]
    request = cancel_runs_in_bulk(run_ids, name=settings.bulk_action_name)
    part.id = yield from exchange.steps(request, deadline=_share(part, deadline))
    if not settings.follows:
        return
    part.progressed_at, pause = exchange.monotonic(), _FIRST_PAUSE
    while True:
        share = Deadline(min(_share(part, deadline).at, singly_from))
        done, check = part.done, retrieve_bulk_action(part.id)
        part.action = yield from exchange.steps(check, deadline=share, patience=_CHECKED_FOR)
        now = exchange.monotonic()
        is_pending = part.action.status == "PENDING"
        quiet_for = now - part.progressed_at if part.done == done else 0.0
        if is_pending and quiet_for >= NO_PROGRESS_AFTER / 2 and part.is_queried and not part.is_stalled:
            try:
                runs = yield from exchange.steps(query_runs(run_ids), deadline=share, patience=0)
                part.seen_canceled = sum(run.is_canceled for run in runs)
            except (TriggerDevError, ValueError):  # of an id that cannot be queried
                part.is_queried = False
        if part.done > done:
            for one in part.siblings:
                one.progressed_at = now
        part.is_stalled |= part.is_queried and now - part.progressed_at >= NO_PROGRESS_AFTER
        # Its worker may be off, or only slow to begin: it is checked while its runs are canceled alone.
        is_waited_for = not part.is_stalled or (part.is_needed and not part.has_progress)
        is_over = not is_pending or part.seen_canceled >= len(run_ids)
        if is_over or not is_waited_for or share.remaining(now) <= pause:
            return
        yield Wait(pause, for_turn=False)
        pause = min(pause * _PAUSE_FACTOR, _LONGEST_PAUSE)


def _share(part: BulkPart, deadline: Deadline) -> Deadline:
    at = part.progressed_at
    return Deadline(min(deadline.before(SHARE, now=at).at, at + LONGEST))
