"""What the API talks about: runs, their statuses, and what became of a cancel."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

log = logging.getLogger(__name__)


class RunStatus(StrEnum):
    """The words for a run's status: today's, those of older API versions, and the realtime feed's."""

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
    # The realtime feed, which speaks the database's words.
    PENDING = "PENDING"
    WAITING_TO_RESUME = "WAITING_TO_RESUME"
    RETRYING_AFTER_FAILURE = "RETRYING_AFTER_FAILURE"
    PAUSED = "PAUSED"
    COMPLETED_SUCCESSFULLY = "COMPLETED_SUCCESSFULLY"
    COMPLETED_WITH_ERRORS = "COMPLETED_WITH_ERRORS"


FINAL_STATUSES: frozenset[str] = frozenset(
    {
        RunStatus.COMPLETED,
        RunStatus.CANCELED,
        RunStatus.FAILED,
        RunStatus.CRASHED,
        RunStatus.SYSTEM_FAILURE,
        RunStatus.EXPIRED,
        RunStatus.TIMED_OUT,
        RunStatus.INTERRUPTED,
        RunStatus.COMPLETED_SUCCESSFULLY,
        RunStatus.COMPLETED_WITH_ERRORS,
    }
)

# In these a run is held by the engine and by no worker, so a cancel ends it at once (measured).
HELD_STATUSES: frozenset[str] = frozenset(
    {
        RunStatus.PENDING_VERSION,
        RunStatus.WAITING_FOR_DEPLOY,
        RunStatus.QUEUED,
        RunStatus.PENDING,
        RunStatus.DELAYED,
        RunStatus.WAITING,
        RunStatus.FROZEN,
        RunStatus.WAITING_TO_RESUME,
        RunStatus.PAUSED,
    }
)

TERMINATES_WITHIN = 75.0
"""
Seconds after which a canceled run cannot change any more.

The engine forces a worker that does not acknowledge after 60 s (measured); the rest is margin.
"""

_KNOWN_STATUSES: frozenset[str] = frozenset(status.value for status in RunStatus)

# Both go into logs and XComs, whatever the server sends.
_MAX_STATUS_LENGTH = 50
_MAX_TASK_LENGTH = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """
    One run as ``GET /api/v3/runs/{runId}`` shows it.

    :param id: the run id, ``run_…``
    :param status: Trigger.dev's word; usually a :class:`RunStatus`, but new words may appear
    :param task_identifier: the id of the task that runs, empty if the server did not say
    :param started_at: when a worker first took the run; None if none ever did
    :param finished_at: when it ended. A run canceled before a worker held it never gets one (measured).
    :param seen_at: the server's clock as it answered, to the second; None if it did not tell
    :param attributes: the whole answer as the server sent it: ``payload``, ``output``, ``error``,
        ``tags``, ``relatedRuns`` …
    """

    id: str
    status: str
    task_identifier: str
    created_at: datetime | None
    updated_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    seen_at: datetime | None
    attributes: Mapping[str, Any]

    @property
    def is_final(self) -> bool:
        """
        Whether the run has ended.

        Decided from ``status`` alone: the server's own booleans are false for EXPIRED and TIMED_OUT
        (measured). A word nobody knows counts as alive.
        """
        return self.status in FINAL_STATUSES

    @property
    def is_canceled(self) -> bool:
        """Whether the run is CANCELED now, whoever asked for it."""
        return self.status == RunStatus.CANCELED

    @property
    def is_held(self) -> bool:
        """Whether the engine holds the run and no worker does, so that a cancel ends it at once."""
        return self.status in HELD_STATUSES

    def is_terminated(self, *, was_held: bool = False) -> bool:
        """
        Whether the run can no longer change.

        A canceled run's worker is only being told, and may yet report that it completed (measured). It is
        over when it has ``finished_at``; or when no worker had it, which shows in a missing ``started_at``
        or had to be seen before the cancel; or when so long has passed that the engine has forced it.

        :param was_held: whether the run was seen held (:attr:`is_held`) just before it was canceled
        """
        if not self.is_canceled:
            return self.is_final
        if self.finished_at or not self.started_at or was_held:
            return True
        return bool(
            self.seen_at
            and self.updated_at
            and (self.seen_at - self.updated_at).total_seconds() > TERMINATES_WITHIN
        )

    @classmethod
    def from_answer(cls, answer: Mapping[str, Any], *, seen_at: datetime | None = None) -> Run:
        """
        Read the server's JSON object.

        :param answer: the decoded body
        :param seen_at: the answer's ``Date``
        :raises KeyError: without a text ``id`` or ``status``; the caller knows which request it answers
        """
        run_id, status = _read_text(answer, "id"), _read_text(answer, "status")[:_MAX_STATUS_LENGTH]
        if status not in _KNOWN_STATUSES:
            log.warning("Run %s has the unknown status %r; treating it as alive", run_id[:50], status)
        return cls(
            id=run_id,
            status=status,
            task_identifier=str(answer.get("taskIdentifier") or "")[:_MAX_TASK_LENGTH],
            created_at=_read_time(answer.get("createdAt")),
            updated_at=_read_time(answer.get("updatedAt")),
            started_at=_read_time(answer.get("startedAt")),
            finished_at=_read_time(answer.get("finishedAt")),
            seen_at=seen_at,
            attributes=answer,
        )


def _read_text(answer: Mapping[str, Any], name: str) -> str:
    value = answer.get(name)
    if not isinstance(value, str) or not value:
        raise KeyError(name)
    return value


def _read_time(value: object) -> datetime | None:
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    # Without a zone it could not be compared with one that has it; the API speaks UTC.
    return time.replace(tzinfo=UTC) if time and not time.tzinfo else time
