"""
The one table of what each status of a run means; nothing else but the local server lists statuses.

A word that is not in the table is treated as alive: new ones may appear.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class RunStatus(StrEnum):
    """
    The words for a run's status: today's, and those of older API versions.

    The query writes them in another way: ``Timed out`` for TIMED_OUT (measured); see :func:`todays_word`.
    """

    PENDING_VERSION = "PENDING_VERSION"
    QUEUED = "QUEUED"
    DEQUEUED = "DEQUEUED"
    EXECUTING = "EXECUTING"
    WAITING = "WAITING"
    DELAYED = "DELAYED"
    COMPLETED = "COMPLETED"
    CANCELED = "CANCELED"
    FAILED = "FAILED"
    CRASHED = "CRASHED"
    SYSTEM_FAILURE = "SYSTEM_FAILURE"
    EXPIRED = "EXPIRED"
    TIMED_OUT = "TIMED_OUT"
    # Older API versions.
    WAITING_FOR_DEPLOY = "WAITING_FOR_DEPLOY"
    REATTEMPTING = "REATTEMPTING"
    FROZEN = "FROZEN"
    INTERRUPTED = "INTERRUPTED"


@dataclass(frozen=True, kw_only=True, slots=True)
class Meaning:
    """What a status says of a run."""

    is_final: bool = False
    is_success: bool = False
    may_succeed_again: bool = False
    """Whether another run may do better, as this one was neither canceled nor expired."""
    has_worker: bool = False
    """Whether a worker may have the run; without one, a cancel terminates it at once (measured)."""
    waits_for_version: bool = False
    """Whether no deployed version has its task or its queue."""


_FAILED = Meaning(is_final=True, may_succeed_again=True)

MEANINGS: dict[str, Meaning] = {
    RunStatus.PENDING_VERSION: Meaning(waits_for_version=True),
    RunStatus.QUEUED: Meaning(),
    RunStatus.DEQUEUED: Meaning(has_worker=True),
    RunStatus.EXECUTING: Meaning(has_worker=True),
    RunStatus.WAITING: Meaning(),
    RunStatus.DELAYED: Meaning(),
    RunStatus.COMPLETED: Meaning(is_final=True, is_success=True),
    RunStatus.CANCELED: Meaning(is_final=True),
    RunStatus.FAILED: _FAILED,
    RunStatus.CRASHED: _FAILED,
    RunStatus.TIMED_OUT: _FAILED,
    RunStatus.SYSTEM_FAILURE: _FAILED,
    RunStatus.EXPIRED: Meaning(is_final=True),
    RunStatus.INTERRUPTED: Meaning(is_final=True),
}
"""The table."""

# Words of older API versions, and those that the API uses today for the same; INTERRUPTED has no other one.
_TODAYS = {
    RunStatus.WAITING_FOR_DEPLOY: RunStatus.PENDING_VERSION,
    RunStatus.REATTEMPTING: RunStatus.EXECUTING,
    RunStatus.FROZEN: RunStatus.WAITING,
}
MEANINGS |= {status: MEANINGS[todays] for status, todays in _TODAYS.items()}

_UNKNOWN = Meaning(has_worker=True)


def meaning_of(status: str) -> Meaning:
    """Return what a status means."""
    return MEANINGS.get(status, _UNKNOWN)


def todays_word(word: str) -> str:
    """Return the word that the API uses today for a status in any of its dialects."""
    status = word.upper().replace(" ", "_")
    return str(_TODAYS.get(status, status)) if status in MEANINGS else word  # type: ignore[call-overload]


FINAL_STATUSES = frozenset(status for status, meaning in MEANINGS.items() if meaning.is_final)
"""In these a run has ended."""

TODAYS_STATUSES = frozenset(MEANINGS) - {*_TODAYS, RunStatus.INTERRUPTED}
"""Today's words, which the API accepts as filters of lists (measured)."""

ALIVE_STATUSES = TODAYS_STATUSES - FINAL_STATUSES
"""Today's words for runs that have not ended."""

SUCCESS_STATUSES = tuple(str(status) for status, meaning in MEANINGS.items() if meaning.is_success)
"""Today's words for runs that have ended well."""

RETRY_STATUSES = tuple(str(status) for status, meaning in MEANINGS.items() if meaning.may_succeed_again)
"""The final statuses after which another run may do better."""
