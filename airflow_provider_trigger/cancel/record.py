"""The settings of a cancellation, the state of each of its runs, and what is sent next. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum
from functools import partial
from typing import Any, ClassVar, NamedTuple

from airflow_provider_trigger import defaults
from airflow_provider_trigger.api import errors, runs
from airflow_provider_trigger.api.http import Call
from airflow_provider_trigger.api.limits import Deadline
from airflow_provider_trigger.api.models import Run

CHECKS_AFTER = (0.0, 0.5, 1.0, 2.0, 4.0)
"""Pauses before the checks of a run, in seconds: one just after the cancel may show an outdated status."""

MAX_CANCELS = 2
"""A run that is still alive after all checks gets one more cancel."""

BULK_LAG = 5.0
"""A bulk action may miss runs that were created so shortly before it, in seconds (up to 3 s, measured)."""

LOOK_INTERVAL, LOOKS_FOR = 1.2, 2.4
"""How often and how long a canceled run is checked for what it still starts, in seconds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CancelSettings:
    """How to cancel runs; times are in seconds."""

    max_concurrency: int = defaults.MAX_CONCURRENCY
    time_limit: float | None = None  # for the whole cancellation; None for no limit
    termination_timeout: float | None = None
    """How long to wait until a canceled run is terminated, after its cancel; None to not wait."""
    poll_interval: float = defaults.POLL_INTERVAL  # between two status checks while waiting
    bulk_from: int = defaults.BULK_FROM
    """Above this number of runs, bulk actions are used; not with descendants, which only checks show."""
    follows: bool = True
    """
    True: each run is checked until its outcome is certain.

    False: each of a few runs is checked once. Many runs are left to a bulk action that was accepted, and one
    query near the end shows what it has done.
    """
    is_new: Callable[[str], bool] = lambda run_id: False
    """Whether a bulk action may miss a run. Without ``follows``, such a run gets its own cancel, too."""
    include_descendants: bool = False


class Action(IntEnum):
    """The requests, the most urgent first."""

    FOR_MANY = 0
    CANCEL = 1
    CHECK = 2
    CHECK_AGAIN = 3  # whether a run that has ended is terminated, and what it still starts


class State(Enum):
    """
    How far a request for many runs is.

    ::

        PLANNED ─> DUE ─> SENT ─> ACCEPTED     the server has it
                    ^       ├───> UNANSWERED   the server may have it
                    └──429──┴───> REJECTED     the server does not have it
    """

    PLANNED = 0
    DUE = 1
    SENT = 2
    ACCEPTED = 3
    UNANSWERED = 4
    REJECTED = 5


@dataclass(slots=True, eq=False)
class ForMany:
    """A request for many runs: a bulk action, or a query for its effect."""

    call: Callable[[], Call[Any]]
    run_ids: Sequence[str]
    ends_at: float = math.inf  # when it must have ended
    state: State = State.PLANNED
    id: str | None = None  # of an accepted bulk action
    rejections: int = 0  # by a rate limit
    action: ClassVar[Action] = Action.FOR_MANY

    def note_sent(self, _: float) -> None:
        """Note that it is sent now."""
        self.state = State.SENT

    @property
    def may_have_effect(self) -> bool:
        """Whether the server may have the bulk action."""
        return self.state in (State.SENT, State.ACCEPTED, State.UNANSWERED)


@dataclass(slots=True, eq=False)
class RunRecord:
    """One run: its requests, their answers, its status. Times are on the monotonic clock."""

    run_id: str
    parent_run_id: str | None = None  # for a descendant of a given run: the run that has started it
    had_ended: bool = False  # a descendant had ended when it was found: only its descendants are searched
    action: Action = Action.CANCEL  # the request that is next or under way, as the next four fields
    ends_at: float = math.inf  # when it must have ended
    sent_at: float | None = None  # when it was sent first; None before
    failures: int = 0  # in a row, of one kind
    last_error: errors.TriggerDevError | None = None  # while it is repeated
    bulk: ForMany | None = None
    cancels: int = 0  # how many cancels of this run alone were sent; a repeated cancel counts once
    acknowledged_at: float | None = None  # when a cancel was acknowledged last, or seen to have arrived
    cancel_error: errors.TriggerDevError | None = None
    checks: int = 0
    """How many checks since the last cancel; :attr:`check_error` and :attr:`seen` are also since then."""
    check_error: errors.TriggerDevError | None = None
    seen: Run | None = None  # the run as the last check showed it
    found_at: float = -math.inf  # when the last run was found that it has started
    search_error: errors.TriggerDevError | None = None
    """Why the last check could not show which runs a canceled run has started meanwhile."""
    task_identifier: str | None = None  # None if no check has shown it
    is_unknown: bool = False  # whether this key's environment has no such run

    @property
    def is_in_bulk(self) -> bool:
        """Whether a bulk action may have canceled the run."""
        return self.bulk is not None and self.bulk.may_have_effect

    @property
    def is_accepted(self) -> bool:
        """Whether a cancel of this run alone was accepted."""
        return self.cancels > 0 and self.cancel_error is None and self.acknowledged_at is not None

    @property
    def is_unconfirmed(self) -> bool:
        """Whether the cancel was requested, and no check shows its effect."""
        has_arrived = self.acknowledged_at is not None or self.is_in_bulk
        return has_arrived and not (self.seen or self.cancel_error)

    def call(self) -> Call[Any]:
        """Return its next request."""
        return (
            runs.cancel_run(self.run_id) if self.action is Action.CANCEL else runs.retrieve_run(self.run_id)
        )

    def note_sent(self, now: float) -> None:
        """Note that a request is sent now: a check before a cancel says nothing about the time after it."""
        if self.sent_at is not None:
            return  # it is repeated
        self.sent_at = now
        if self.action is Action.CANCEL:
            self.cancels += 1
            self.checks = 0
            self.seen = self.cancel_error = self.check_error = self.search_error = None

    def note(self, result: Any, error: errors.TriggerDevError | None, *, now: float) -> None:
        """Take in the result or the error of its request."""
        self.last_error = None
        if self.action is Action.CANCEL:
            if isinstance(error, errors.NotFoundError) and self.task_identifier is None:
                self.is_unknown = True
                return
            self.cancel_error = error
            self.acknowledged_at = self.acknowledged_at if error else now
        elif error is None:
            self.note_check(result, now=now)
        elif self.action is Action.CHECK:
            self.checks += 1
            self.check_error = self.search_error = error
        elif self.may_start_more(self.sent_at or now):
            self.search_error = error

    def may_start_more(self, at: float) -> bool:
        """Return whether a check that begins then may show further runs that it has started."""
        return at < max(self.acknowledged_at or at, self.found_at) + LOOKS_FOR

    def note_check(self, run: Run, *, now: float) -> None:
        """Take in the run as a check after the cancel, or a query, shows it."""
        self.checks += 1
        self.check_error = self.search_error = None
        if self.acknowledged_at is None:
            self.acknowledged_at = now  # a bulk action has canceled it, or an answer was lost
        self.task_identifier = run.task_identifier
        if not (self.seen and self.seen.is_final and not run.is_final):  # no run leaves a final status
            self.seen = run.without_contents()


class Step(NamedTuple):
    """A request, when it is sent at the earliest, and when it must have ended."""

    action: Action
    at: float
    ends_at: float = math.inf


def next_step(record: RunRecord, settings: CancelSettings, *, now: float) -> Step | None:
    """
    Return what a run needs next; None when nothing is left to do. The first row that fits decides.

    =========================================  =========================================================
    what is known                              what comes next
    =========================================  =========================================================
    it had ended when it was found             one check, of what it has started
    it is unknown, or cannot be sent           nothing
    it is seen to have ended                   :func:`_follow`
    it has no cancel of its own                a cancel; nothing if it is left to a bulk action
    its checks failed, or none is to follow    nothing
    fewer than 5 checks; 1 if its cancel       a check
    failed
    it is still alive after these              one more cancel, up to ``MAX_CANCELS``, where it may help
    =========================================  =========================================================
    """
    if record.had_ended:
        return None if record.checks else Step(Action.CHECK, now)
    if record.is_unknown or isinstance(record.cancel_error, errors.NotSentError):
        return None
    if record.seen and record.seen.is_final:
        return _follow(record, record.seen, settings, now=now)
    if not record.cancels:
        return None if _is_left_to_bulk(record, settings) else Step(Action.CANCEL, now)
    if record.check_error or (not settings.follows and (record.checks or record.bulk)):
        return None
    most = 1 if record.cancel_error else len(CHECKS_AFTER)
    if record.checks < most:
        return Step(Action.CHECK, now + CHECKS_AFTER[record.checks])
    is_useless = record.cancel_error is not None and not record.cancel_error.retryable
    return Step(Action.CANCEL, now) if record.cancels < MAX_CANCELS and not is_useless else None


def _is_left_to_bulk(record: RunRecord, settings: CancelSettings) -> bool:
    is_accepted = record.bulk is not None and record.bulk.state is State.ACCEPTED
    return is_accepted and not (settings.follows or settings.is_new(record.run_id))


def _follow(record: RunRecord, seen: Run, settings: CancelSettings, *, now: float) -> Step | None:
    """Check a run that has ended, for runs that it has started, and until it is terminated."""
    if not seen.is_canceled or seen.is_terminated:
        return None
    acknowledged_at, steps = record.acknowledged_at or now, list[Step]()
    if settings.include_descendants and record.may_start_more(now):
        steps.append(Step(Action.CHECK_AGAIN, now + LOOK_INTERVAL))
    if (timeout := settings.termination_timeout) is not None:
        end = acknowledged_at + timeout
        last_check = end - min(1.0, timeout / 10)  # a check takes some time
        if now < last_check:
            steps.append(Step(Action.CHECK_AGAIN, min(now + settings.poll_interval, last_check), end))
    return min(steps, key=lambda step: step.at, default=None)


# Fewer runs that are added later are canceled one by one: a bulk action would take as many requests.
LEAST = 10
# Between two queries for the effect of bulk actions, in seconds: a query lags 1.7 s (measured).
_QUERY_INTERVAL = 2.0
# How long no query may show any progress, in seconds, before runs are canceled one by one: two queries.
_NO_PROGRESS_AFTER = 3.5
# The parts of the time limit in which a bulk action must be accepted, and in which queries may show progress;
# single cancels need the rest.
_SHARE, _SHARE_WITH_PROGRESS = 1 / 3, 2 / 3


class BulkActions:
    """
    The bulk actions of one cancellation, and the runs that wait for them; a released run gets its own cancel.

    ::

        its bulk action is ─ ACCEPTED ──> waits ─ a query shows its end ──────────────────> released
                           │                    └ no query shows progress, or time is over ─> released
                           └ UNANSWERED or REJECTED ────────────────────────────────────────> released

    The first bulk action goes alone, as an older server does not know them: where it fails, no other is sent.
    """

    # A bulk action leaves out some runs silently, and its count stands still for 30 s at times (measured): so
    # queries show its effect.

    def __init__(self, settings: CancelSettings, deadline: Deadline) -> None:
        self.next_at = math.inf  # when the next query is due
        self._settings = settings
        self._deadline = deadline
        self._until = math.inf  # when the time for queries is over
        self._parts: list[ForMany] = []
        self._waiting: dict[str, RunRecord] = {}
        self._queries = 0  # how many are under way
        self._progressed_at = -math.inf

    @property
    def accepted_ids(self) -> list[str]:
        """The ids of the bulk actions that the server has accepted."""
        return [part.id for part in self._parts if part.id]

    def add(self, records: Iterable[RunRecord], now: float) -> None:
        """Cancel runs by bulk actions, unless they are few, or bulk actions have failed."""
        records = [record for record in records if runs.can_be_queried(record.run_id)]
        has_failed = any(part.state in (State.UNANSWERED, State.REJECTED) for part in self._parts)
        if len(records) < LEAST or (has_failed and not self.accepted_ids):
            return
        self._until = self._deadline.before(_SHARE_WITH_PROGRESS, now=now).at
        accepted_by = self._deadline.before(_SHARE, now=now).at
        for start in range(0, len(records), runs.MAX_BULK_SIZE):
            some = {record.run_id: record for record in records[start : start + runs.MAX_BULK_SIZE]}
            call = partial(runs.cancel_runs_in_bulk, list(some), name=defaults.BULK_ACTION_NAME)
            self._parts.append(ForMany(call, list(some), accepted_by))
            self._waiting |= some
            for record in some.values():
                record.bulk = self._parts[-1]

    def due(self, now: float) -> list[ForMany]:
        """Return the requests that are to be sent now."""
        may_go = self._parts if self.accepted_ids else self._parts[:1]
        requests = [part for part in may_go if part.state is State.PLANNED]
        for part in requests:
            part.state = State.DUE
        if self.next_at <= now:
            ends_at = self._until if self._settings.follows else self._deadline.at
            queries = [
                ForMany(partial(runs.query_runs, ids), ids, ends_at)
                for ids in runs.parts_of([*self._waiting])
            ]
            self.next_at, self._queries = math.inf, len(queries)
            requests += queries
        return requests

    def take(
        self, request: ForMany, result: Any, error: errors.TriggerDevError | None, now: float
    ) -> list[RunRecord]:
        """Take in what came of a request; return the runs that no longer wait for a bulk action."""
        if request in self._parts:
            released = self._take_part(request, result, error, now)
        else:
            released = self._take_query(result or (), now)
        if not self._queries and math.isinf(self.next_at) and self._waiting and self.accepted_ids:
            interval = _QUERY_INTERVAL if self._settings.follows else math.inf
            self.next_at = max(now, min(now + interval, self._until))
        return released

    def _take_part(
        self, part: ForMany, bulk_id: str, error: errors.TriggerDevError | None, now: float
    ) -> list[RunRecord]:
        if error is None:
            part.state, part.id, self._progressed_at = State.ACCEPTED, bulk_id, now
            missed = () if self._settings.follows else filter(self._settings.is_new, part.run_ids)
            return self._release(missed)
        is_rejected = isinstance(error, errors.ResponseError) and error.status < 500
        part.state = State.UNANSWERED if part.may_have_effect and not is_rejected else State.REJECTED
        return self._release(part.run_ids if self.accepted_ids else [*self._waiting])

    def _take_query(self, runs: Iterable[Any], now: float) -> list[RunRecord]:
        ended = {run.id: run for run in runs if run.is_final}
        released = self._release(ended)
        for record in released:
            run = ended[record.run_id]
            record.note_check(run, now=now)
            self._progressed_at = now if run.is_canceled else self._progressed_at
        self._queries -= 1
        is_quiet = now - self._progressed_at >= _NO_PROGRESS_AFTER
        if not self._queries and (is_quiet or now >= self._until):
            released += self._release([*self._waiting])
        return released

    def _release(self, run_ids: Iterable[str]) -> list[RunRecord]:
        return [self._waiting.pop(run_id) for run_id in run_ids if run_id in self._waiting]
