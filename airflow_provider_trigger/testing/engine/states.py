"""The statuses, and what a run shows at one moment. A state never changes: a run moves on to the next one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from . import settings
from .settings import UNSET

ALIVE = ("PENDING_VERSION", "QUEUED", "DEQUEUED", "EXECUTING", "WAITING", "DELAYED")
FINAL = (
    "COMPLETED",
    "CANCELED",
    "FAILED",
    "CRASHED",
    "SYSTEM_FAILURE",
    "EXPIRED",
    "TIMED_OUT",
    "INTERRUPTED",
)
# The words that a client gets if it does not name the modern API version.
OLD_WORDS = {"DEQUEUED": "EXECUTING", "WAITING": "FROZEN"}
# The words that a filter may name, modern and old.
FILTER_WORDS = frozenset({*ALIVE, *FINAL, *OLD_WORDS.values()})
# A worker has these runs and must acknowledge a cancel; all others terminate as soon as they are canceled.
ON_A_WORKER = ("DEQUEUED", "EXECUTING", "REATTEMPTING")

# The next trigger with the key of such a run makes a new one. A CANCELED or COMPLETED run keeps its key.
RELEASING_THEIR_KEY = ("FAILED", "CRASHED", "TIMED_OUT", "SYSTEM_FAILURE", "EXPIRED")
# What the flags isQueued, isExecuting and isFailed of a run's JSON are true for.
SHOWN_AS_QUEUED = ("PENDING_VERSION", "QUEUED", "DELAYED", "WAITING_FOR_DEPLOY")
SHOWN_AS_EXECUTING = ("DEQUEUED", "EXECUTING", "FROZEN", "REATTEMPTING")
SHOWN_AS_FAILED = ("CANCELED", "FAILED", "CRASHED", "SYSTEM_FAILURE", "INTERRUPTED")

# The reason for a cancel by request.
BY_USER = "Canceled by user"

_NEVER_STARTED = ("PENDING_VERSION", "WAITING_FOR_DEPLOY", "QUEUED", "DELAYED", "EXPIRED", "CANCELED")
_SUSPENDED = ("WAITING", "FROZEN")


def thrown(name: str, message: str) -> dict[str, str]:
    """Return the error of a run whose task threw one, as the API shows it."""
    return {
        "name": name,
        "message": message,
        "stackTrace": f"{name}: {message}\n    at run (src/hello.ts:1:1)",
    }


def internal(code: str) -> dict[str, str]:
    """Return an internal error as the API shows it: the worker's own words are lost."""
    return {"message": f"trigger.dev internal error ({code})"}


_ERRORS: dict[str, dict[str, str]] = {
    "CANCELED": {"message": BY_USER},
    "FAILED": thrown("Error", "boom"),
    "CRASHED": internal("TASK_PROCESS_EXITED_WITH_NON_ZERO_CODE"),
    "SYSTEM_FAILURE": internal("TASK_RUN_HEARTBEAT_TIMEOUT"),
    "INTERRUPTED": {"message": "The worker was stopped"},
    "EXPIRED": {"message": "Run expired because the TTL was reached"},
    "TIMED_OUT": internal("MAX_DURATION_EXCEEDED"),
}


@dataclass(frozen=True, slots=True)
class State:
    """The part of a run that changes during its life."""

    status: str
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None  # never set if it was canceled while no worker had it
    delayed_until: datetime | None = None
    expired_at: datetime | None = None
    attempt_count: int = 0
    duration_ms: int = 0  # the server shows it once the run has ended, or is queued for another attempt
    executing_since: datetime | None = None
    executed: timedelta = timedelta()  # the time in which it has executed before
    version: str = settings.VERSION
    output: Any = UNSET
    output_by_url: bool | None = None  # None for whether it is large
    error: Mapping[str, str] | None = None

    @property
    def final(self) -> bool:
        """Return whether the status is a final one."""
        return self.status in FINAL


def new_state(status: str, now: datetime, *, started: bool | None = None) -> State:
    """Return the state of a run that was triggered just now and is already in a status, known or not."""
    # A run that has ended already has executed before.
    executed = timedelta(milliseconds=120 if status in FINAL else 0)
    state = State(status=status, created_at=now, updated_at=now, executed=executed)
    return move(state, status, now, started=started)


def move(state: State, status: str, now: datetime, *, started: bool | None = None) -> State:
    """Return what a run shows in its next status; ``started=None`` for what its past and the status imply."""
    if started is None:
        started = state.started_at is not None or status not in _NEVER_STARTED
    finished = status in FINAL and (started or status == "EXPIRED")
    attempted = started and status != "DEQUEUED"
    executed = _executed(state, now)
    shows = attempted and (finished or status == "QUEUED")
    return replace(
        state,
        status=status,
        updated_at=now,
        started_at=(state.started_at or now) if started else None,
        finished_at=now if finished else None,
        delayed_until=now + timedelta(hours=1) if status == "DELAYED" else state.delayed_until,
        expired_at=now if status == "EXPIRED" else None,
        attempt_count=_attempts(state, status) if attempted else state.attempt_count,
        executing_since=now if status == "EXECUTING" else None,
        executed=executed,
        duration_ms=_milliseconds(executed) if shows else state.duration_ms,
        output=settings.OUTPUT if status == "COMPLETED" else UNSET,
        error=_ERRORS.get(status),
    )


def _executed(state: State, now: datetime) -> timedelta:
    """Return how long a run has executed up to now, without the time in which it waited."""
    return state.executed + (now - state.executing_since if state.executing_since else timedelta())


def _milliseconds(time: timedelta) -> int:
    return round(time / timedelta(milliseconds=1))


def _attempts(state: State, status: str) -> int:
    """Return the attempts of a run that has started: executing begins one, but for a suspended run's."""
    begins = status == "EXECUTING" and state.status not in _SUSPENDED
    return max(1, state.attempt_count + begins)


def cancel(state: State, now: datetime, *, reason: str, finished_at: datetime | None = None) -> State:
    """Return what a run shows right after a cancel; a child that follows its parent ends when that ended."""
    return replace(
        state,
        status="CANCELED",
        updated_at=now,
        finished_at=finished_at or state.finished_at,
        error={"message": reason},
    )


def acknowledge(state: State, now: datetime, *, completed: bool, output: Any = UNSET) -> State:
    """Return what a canceled run shows once its worker acknowledged; if completed, it keeps the error."""
    return replace(
        state,
        status="COMPLETED" if completed else "CANCELED",
        updated_at=now,
        finished_at=now,
        duration_ms=_milliseconds(_executed(state, now)),
        output=output if completed else UNSET,
    )
