"""
Bulk actions: the fast way to request the cancel of many runs, which leaves out some silently.

Their counts are raised for each 100 runs, and stand still for 30 s at times (measured): so a query, and
checks of single runs, show what they have done. None of it is needed: where something fails, their runs are
canceled one by one. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from airflow_provider_trigger.api.bulk_actions import (
    MAX_SIZE,
    BulkAction,
    cancel_runs_in_bulk,
    retrieve_bulk_action,
)
from airflow_provider_trigger.api.errors import AnswerTimeoutError, ResponseError, TriggerDevError
from airflow_provider_trigger.api.http import Call
from airflow_provider_trigger.api.limits import Deadline
from airflow_provider_trigger.api.models import Run
from airflow_provider_trigger.api.query import can_be_queried, parts_of, query_runs
from airflow_provider_trigger.api.runs import retrieve_run
from airflow_provider_trigger.cancel.record import BulkPart, RunRecord
from airflow_provider_trigger.cancel.settings import CancelSettings

LEAST = 10
"""Fewer runs that are added later are canceled one by one: a bulk action would take as many requests."""

LOOK_INTERVAL = 2.0
"""Between two looks at what they have done, in seconds: the query lags 1.7 s (measured)."""

NO_PROGRESS_AFTER = 4.0
"""How long no look may show any progress, in seconds, before runs are canceled one by one."""

LONGEST = 30.0
"""The same where some were handled, and no query shows which."""

MAX_QUERY_FAILURES = 3
"""After so many in a row, or one that will not pass, the query is no longer used."""

# The parts of the time limit that their requests, and that they may take; single cancels need the rest.
_SHARE_OF_REQUEST, _SHARE = 1 / 4, 1 / 2
# How long the requests of one look may take, in seconds.
_LOOK_WITHIN = 10.0

Result = Any
Take = Callable[[Result, TriggerDevError | None, float], Iterable[RunRecord]]
"""Takes in what came of a request, and when; returns runs that no longer wait for a bulk action."""


@dataclass(slots=True, eq=False)
class Request:
    """A request for many runs; see :class:`airflow_provider_trigger.cancel.crew.Task`."""

    make_call: Callable[[], Call[Any]]
    take: Take
    ends_at: float
    part: BulkPart | None = None
    """The bulk action that it begins."""
    urgency: ClassVar[int] = 0

    def until(self, _: float) -> float:
        """Return until when it may take."""
        return self.ends_at

    def call(self) -> Call[Any]:
        """Return the call."""
        return self.make_call()

    def note_sent(self, _: float) -> None:
        """Take in that it goes out."""
        if self.part is not None:
            self.part.is_sent = True


class BulkActions:
    """The bulk actions of one cancellation; the first goes alone, as an older server does not know them."""

    def __init__(self, settings: CancelSettings, deadline: Deadline, *, now: float) -> None:
        self.parts: list[BulkPart] = []
        self._settings = settings
        self._deadline = deadline
        self._until = deadline.before(_SHARE, now=now).at
        self._left: list[BulkPart] = []
        self._has_failed = False
        self._waiting: dict[str, RunRecord] = {}
        """Runs that get no request of their own while bulk actions may be canceling them."""
        self._look: set[Request] = set()
        self._look_at = math.inf
        self._looked_at = -math.inf
        self._progressed_at = -math.inf
        self._query_failures = 0
        self._is_shown = False  # by the query of the last look

    @property
    def accepted_ids(self) -> list[str]:
        """Of those that the server has accepted."""
        return [part.id for part in self.parts if part.id]

    @property
    def may_work(self) -> bool:
        """True until one fails, and always once one was accepted."""
        return bool(self.accepted_ids) or not self._has_failed

    @property
    def next_at(self) -> float:
        """When the next look is due, infinite for none."""
        return math.inf if self._look else self._look_at

    def add(self, records: Sequence[RunRecord]) -> None:
        """Cancel runs in bulk, each part in one bulk action."""
        for start in range(0, len(records), MAX_SIZE):
            part = BulkPart(records[start : start + MAX_SIZE])
            self._left.append(part)
            for record in part.records:
                record.bulk = part
                self._waiting[record.run_id] = record

    def due(self, now: float) -> list[Request]:
        """Return the requests that are to be sent now."""
        requests = self._begin(now)
        if self.next_at <= now:
            self._look_at, self._looked_at, self._is_shown = math.inf, now, False
            requests += self._look_for(now)
        return requests

    def take(
        self, request: Request, result: Result, error: TriggerDevError | None, now: float
    ) -> list[RunRecord]:
        """Take in what came of a request; return the runs that no longer wait for a bulk action."""
        released = list(request.take(result, error, now))
        if request in self._look:
            self._look.discard(request)
            released += [] if self._look else self._conclude(now)
        return released

    def _begin(self, now: float) -> list[Request]:
        count = len(self._left) if self.accepted_ids else int(not self.parts)
        begun, self._left = self._left[:count], self._left[count:]
        self.parts += begun
        ends_at = self._deadline.before(_SHARE_OF_REQUEST, now=now).at
        name = self._settings.bulk_action_name
        return [
            Request(
                partial(cancel_runs_in_bulk, [record.run_id for record in part.records], name=name),
                partial(self._take_begun, part),
                ends_at,
                part,
            )
            for part in begun
        ]

    def _take_begun(
        self, part: BulkPart, bulk_id: str, error: TriggerDevError | None, now: float
    ) -> list[RunRecord]:
        if error is None:
            part.id, part.accepted_at = bulk_id, now
            if not self._settings.follows:
                return self._release(part, are_left_out=True)
            self._look_at = min(self._look_at, max(now, min(now + LOOK_INTERVAL, self._until)))
            return []
        self._has_failed = True
        failed, self._left = [part, *self._left], []
        is_rejected = isinstance(error, ResponseError) and error.status < 500
        part.is_sent &= not is_rejected
        return [record for one in failed for record in self._release(one, are_left_out=True)]

    # A look at what they have done

    def _look_for(self, now: float) -> list[Request]:
        ends_at, parts = now + _LOOK_WITHIN, [part for part in self.parts if self._waiting_of(part)]
        requests = [
            Request(partial(retrieve_bulk_action, str(part.id)), partial(self._take_action, part), ends_at)
            for part in parts
            if part.id
        ]
        if self._may_query:
            ids = [run_id for run_id in self._waiting if can_be_queried(run_id)]
            for part in parts_of(ids):
                requests.append(Request(partial(query_runs, part), self._take_query, ends_at))
        for waiting in map(self._waiting_of, parts if self._quiet_for(now) >= NO_PROGRESS_AFTER else ()):
            ends = dict.fromkeys((waiting[0].run_id, waiting[-1].run_id))
            requests += [Request(partial(retrieve_run, one), self._take_check, ends_at) for one in ends]
        self._look = set(requests)
        return requests

    @property
    def _may_query(self) -> bool:
        return self._query_failures < MAX_QUERY_FAILURES

    def _quiet_for(self, now: float) -> float:
        """Return for how long nothing was seen to happen; the server may work on one part after another."""
        accepted_at = min((part.accepted_at for part in self.parts if self._waiting_of(part)), default=now)
        return now - max(self._progressed_at, accepted_at)

    def _waiting_of(self, part: BulkPart) -> list[RunRecord]:
        return [record for record in part.records if record.run_id in self._waiting]

    def _take_action(
        self, part: BulkPart, action: BulkAction | None, _: TriggerDevError | None, now: float
    ) -> list[RunRecord]:
        if action is not None:
            done, part.action = part.done, action
            if part.done > done:
                self._progressed_at = now
            if action.status != "PENDING":
                part.ended_at = min(part.ended_at, now)
        return []

    def _take_query(
        self, runs: list[Run] | None, error: TriggerDevError | None, now: float
    ) -> list[RunRecord]:
        if error is None:
            self._query_failures, self._is_shown = 0, True
        else:
            is_lasting = not error.retryable or isinstance(error, AnswerTimeoutError)
            self._query_failures += MAX_QUERY_FAILURES if is_lasting else 1
        return [record for run in runs or () for record in self._take_check(run, None, now)]

    def _take_check(self, run: Run | None, _: TriggerDevError | None, now: float) -> list[RunRecord]:
        if run is None or not run.is_final or (record := self._waiting.pop(run.id, None)) is None:
            return []
        record.note_check(run, now=now)
        if run.is_canceled and record.bulk is not None:
            record.bulk.seen_canceled += 1
            self._progressed_at = now
        return [record]

    def _conclude(self, now: float) -> list[RunRecord]:
        """Decide after a look for which runs bulk actions are no longer waited for."""
        released: list[RunRecord] = []
        is_late = now >= self._until or self._quiet_for(now) >= LONGEST
        is_quiet = self._quiet_for(self._looked_at) >= NO_PROGRESS_AFTER  # also by the checks of this look
        for part in self.parts:
            shows_which = self._is_shown or not part.done
            has_ended = part.ended_at < (self._looked_at if self._may_query else math.inf)
            if is_late or has_ended or (is_quiet and shows_which):
                released += self._release(part, are_left_out=shows_which or is_late)
        if self._waiting:
            self._look_at = max(now, min(now + LOOK_INTERVAL, self._until))
        return released

    def _release(self, part: BulkPart, *, are_left_out: bool) -> list[RunRecord]:
        released = self._waiting_of(part)
        for record in released:
            del self._waiting[record.run_id]
            record.is_left_out = are_left_out
            if not part.is_sent:
                record.bulk = None
        return released
