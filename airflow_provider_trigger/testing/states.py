"""What a run shows at one moment; a state never changes, a run moves on to the next one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

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
# What the server still says to a client that doesn't name the modern API version.
OLD_WORDS = {"DEQUEUED": "EXECUTING", "WAITING": "FROZEN"}
# A worker holds these, so a cancel has to reach it; all other runs are over as soon as they are canceled.
HELD_BY_A_WORKER = ("DEQUEUED", "EXECUTING", "REATTEMPTING")

# The reason for a cancel by request.
BY_USER = "Canceled by user"

_NEVER_STARTED = ("PENDING_VERSION", "WAITING_FOR_DEPLOY", "QUEUED", "DELAYED", "EXPIRED", "CANCELED")
_ERRORS: dict[str, dict[str, str]] = {
    "CANCELED": {"message": BY_USER},
    "FAILED": {
        "name": "Error",
        "message": "boom",
        "stackTrace": "Error: boom\n    at run (src/hello.ts:1:1)",
    },
    "CRASHED": {"message": "The worker was killed: out of memory"},
    "SYSTEM_FAILURE": {"message": "The worker stopped answering"},
    "INTERRUPTED": {"message": "The worker was stopped"},
    "EXPIRED": {"message": "Run expired because the TTL (1s) was reached"},
    "TIMED_OUT": {"message": "Run exceeded its maximum duration"},
}


@dataclass(frozen=True, slots=True)
class State:
    """
    The part of a run that changes while it lives.

    :param status: Trigger.dev's modern word
    :param created_at: when it was triggered
    :param updated_at: when it last changed
    :param started_at: when a worker first took it, ``None`` before
    :param finished_at: when it was over; ``None`` before, and for ever if canceled while no worker had it
    :param attempt_count: how often it was tried
    :param duration_ms: the time it used, in milliseconds
    :param output: what it returned
    :param error: what it failed with
    """

    status: str
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    delayed_until: datetime | None = None
    attempt_count: int = 0
    duration_ms: int = 0
    output: Any = None
    error: dict[str, str] | None = None

    @property
    def final(self) -> bool:
        """Tell whether the status is a final one."""
        return self.status in FINAL

    @property
    def expired_at(self) -> datetime | None:
        """Return when the run expired, if it did."""
        return self.finished_at if self.status == "EXPIRED" else None


def new_state(status: str, now: datetime, *, started: bool | None = None) -> State:
    """
    Return the state of a run that was triggered just now and is already in a status.

    :param status: any status; a word that Trigger.dev doesn't have is shown as it is, by a run that is alive
    :param now: the time
    :param started: whether a worker has had it; by default what the status implies. A queued run that has
        started waits for its next attempt, a canceled one was canceled while it executed.
    """
    return move(State(status=status, created_at=now, updated_at=now), status, now, started=started)


def move(state: State, status: str, now: datetime, *, started: bool | None = None) -> State:
    """
    Return what a run shows once it has moved on to another status.

    :param state: what it shows before
    :param status: the status it moves to
    :param now: when
    :param started: whether a worker has had it, ``None`` for what its past and the status imply
    """
    if started is None:
        started = state.started_at is not None or status not in _NEVER_STARTED
    finished = status in FINAL and (started or status == "EXPIRED")
    tried = started and status != "DEQUEUED"
    used = 120 if tried and (finished or status == "QUEUED") else 0
    return replace(
        state,
        status=status,
        updated_at=now,
        started_at=(state.started_at or now) if started else None,
        finished_at=now if finished else None,
        delayed_until=now + timedelta(hours=1) if status == "DELAYED" else state.delayed_until,
        attempt_count=max(1, state.attempt_count) if tried else state.attempt_count,
        duration_ms=state.duration_ms or used,
        output={"done": True} if status == "COMPLETED" else None,
        error=_ERRORS.get(status),
    )


def cancel(state: State, now: datetime, *, reason: str, finished_at: datetime | None = None) -> State:
    """
    Return what a run shows right after a cancel.

    :param state: what it showed before
    :param now: when it was canceled
    :param reason: what its error says
    :param finished_at: when its parent was over, for a child that follows it; else there is no such time yet
    """
    return replace(
        state, status="CANCELED", updated_at=now, finished_at=finished_at, error={"message": reason}
    )


def acknowledge(state: State, now: datetime, *, completed: bool) -> State:
    """
    Return what a canceled run shows when its worker has answered.

    :param state: what it showed before
    :param now: when the worker answered
    :param completed: whether the worker was done in spite of the cancel, whose error stays nevertheless
    """
    tried = state.attempt_count > 0
    return replace(
        state,
        status="COMPLETED" if completed else "CANCELED",
        updated_at=now,
        finished_at=now,
        duration_ms=50 if tried else state.duration_ms,
        output={"done": True} if completed else None,
    )
