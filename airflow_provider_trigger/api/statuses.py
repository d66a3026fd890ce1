"""
What each status of a run means; nothing else but the local server lists statuses.

A word that is in none of these lists is treated as alive: new ones may appear.
"""

from __future__ import annotations

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


SUCCESS_STATUSES = ("COMPLETED",)

RETRY_STATUSES = ("FAILED", "CRASHED", "TIMED_OUT", "SYSTEM_FAILURE")
"""Another run may do better, as this one was neither canceled nor expired."""

FINAL_STATUSES = frozenset({*SUCCESS_STATUSES, *RETRY_STATUSES, "CANCELED", "EXPIRED", "INTERRUPTED"})

VERSION_STATUSES = frozenset({"PENDING_VERSION", "WAITING_FOR_DEPLOY"})
"""No deployed version has the run's task or its queue."""

WORKERLESS_STATUSES = VERSION_STATUSES | {"QUEUED", "WAITING", "DELAYED", "FROZEN"}
"""A run is alive, and no worker has it: a cancel terminates it at once (measured)."""

# Words of older API versions, and those that the API uses today for the same; INTERRUPTED has no other one.
_TODAYS = {"WAITING_FOR_DEPLOY": "PENDING_VERSION", "REATTEMPTING": "EXECUTING", "FROZEN": "WAITING"}

TODAYS_STATUSES = frozenset(RunStatus) - {*_TODAYS, "INTERRUPTED"}
"""Today's words, which the API accepts as filters of lists (measured)."""

ALIVE_STATUSES = TODAYS_STATUSES - FINAL_STATUSES


def todays_word(word: str) -> str:
    """Return the word that the API uses today for a status in any of its dialects."""
    status = word.upper().replace(" ", "_")
    return _TODAYS.get(status, status) if status in RunStatus.__members__ else word
