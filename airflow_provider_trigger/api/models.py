"""A run as the server describes it: checked, listed, started, its error and its related runs."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import Any

from airflow_provider_trigger.api.answers import read_text, read_time
from airflow_provider_trigger.api.statuses import (
    FINAL_STATUSES,
    SUCCESS_STATUSES,
    VERSION_STATUSES,
    WORKERLESS_STATUSES,
    RunStatus,
)
from airflow_provider_trigger.defaults import LINK_KEY
from airflow_provider_trigger.log import without_token_secrets

log = logging.getLogger(__name__)

_INTERNAL = re.compile(r"trigger\.dev internal error \(([A-Z0-9_]+)\)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class RunError:
    """
    A run's error, as the API shows it.

    The server sends thrown errors whole, however long they are; of anything else that is thrown only a text
    comes, and of the server's own errors only their code (measured).

    :param name: of the error's class, such as ``TypeError``; None where something else was thrown
    :param message: may be empty
    :param stack_trace: None where something else than an error was thrown
    :param code: of Trigger.dev's own errors, such as ``TASK_PROCESS_OOM_KILLED``; None for any other
    """

    name: str | None
    message: str
    stack_trace: str | None
    code: str | None

    @classmethod
    def from_answer(cls, error: object) -> RunError | None:
        """Read the ``error`` of a run as the server sent it; return None where there is none."""
        if not isinstance(error, dict):
            return None
        texts = {key: read_text(value) for key, value in error.items()}
        message = texts.get("message") or ""
        internal = _INTERNAL.fullmatch(message)
        return cls(
            name=texts.get("name"),
            message=message,
            stack_trace=texts.get("stackTrace"),
            code=internal[1] if internal else None,
        )


_MEMORY = "The task ran out of memory: give it a larger machine, or let it use less"

_ADVICE = {
    "BATCH_ITEM_COULD_NOT_TRIGGER": "Check this item's payload and options: region, machine, tags, sizes",
    "COULD_NOT_FIND_TASK": "The deployed version has no task with this identifier: check it, or deploy it",
    "MAX_DURATION_EXCEEDED": "It reached its maximum duration: allow a longer one, or let the task do less",
    "TASK_DEQUEUED_QUEUE_NOT_FOUND": "The deployed version has no such queue: check its name, or deploy it",
    "TASK_INPUT_ERROR": "The task could not read its payload: check it against what the task expects",
    "TASK_PROCESS_MAYBE_OOM_KILLED": _MEMORY,
    "TASK_PROCESS_OOM_KILLED": _MEMORY,
}


def advice(code: str) -> str:
    """Return what to do about a :attr:`RunError.code`."""
    return _ADVICE.get(code, "See https://trigger.dev/docs/troubleshooting")


@dataclass(frozen=True, slots=True)
class ChildRun:
    """A run that another run has started."""

    id: str
    status: str

    @property
    def may_need_cancel(self) -> bool:
        """Whether it is alive, or CANCELED, so that a worker may still have it."""
        return self.status not in FINAL_STATUSES or self.status == RunStatus.CANCELED


TERMINATES_WITHIN = 75.0
"""Seconds after which a canceled run cannot change: a worker is forced after 60 (measured), plus a margin."""

# How long after a run's own end it was updated, in seconds: 0 to 5 ms. A child that is canceled with its
# parent, whose end it then shows as its own, is updated 50 to 126 ms after that (all measured).
_OWN_END_WITHIN = 0.025

_LONGEST_PROGRESS = 200  # in characters

# The attributes that waits, their log, XCom and searches use.
_USED_BY_WAITS = {"version", "attemptCount", "createdAt", "error", "batchId", "idempotencyKey"}
_USED_BY_WAITS |= {"durationMs", "costInCents", "baseCostInCents", "depth"}


@dataclass(frozen=True, kw_only=True, slots=True)
class ListedRun:
    """
    One run as a list shows it: up to date, although which runs are listed is not (measured).

    :param id: the run id, ``run_…``
    :param status: Trigger.dev's word; usually a
        :class:`~airflow_provider_trigger.api.models.RunStatus`, but new words may appear
    :param task_identifier: the id of the run's task, empty if the server did not say
    :param attributes: the whole item as the server sent it; it has no payload, output or error (measured)
    :param updated_at: when it last changed
    :param started_at: when a worker first took the run; None if none ever did
    :param seen_at: the server's clock as it answered, to the second; None if it sent none
    """

    id: str
    status: str
    task_identifier: str
    attributes: Mapping[str, Any]
    updated_at: datetime | None = None
    started_at: datetime | None = None
    seen_at: datetime | None = None

    @property
    def is_final(self) -> bool:
        """Whether the run has ended, decided from ``status`` alone: an unknown word counts as alive."""
        # The server's own booleans are false for EXPIRED and TIMED_OUT (measured).
        return self.status in FINAL_STATUSES

    @property
    def is_success(self) -> bool:
        """Whether the run has ended well."""
        return self.status in SUCCESS_STATUSES

    @property
    def is_canceled(self) -> bool:
        """Whether the run is CANCELED now, whoever requested it."""
        return self.status == RunStatus.CANCELED

    @property
    def may_have_worker(self) -> bool:
        """Whether a worker may still execute the CANCELED run, which a list shows as ended (measured)."""
        return self.is_canceled and self.started_at is not None and not self._is_forced

    @property
    def _is_forced(self) -> bool:
        """Whether the engine has forced its worker to stop, by the time since the run changed."""
        age = self.seen_at - self.updated_at if self.seen_at and self.updated_at else None
        return age is not None and age.total_seconds() > TERMINATES_WITHIN

    @property
    def created_at(self) -> datetime | None:
        """When it was triggered."""
        return read_time(self.attributes.get("createdAt"))

    @property
    def idempotency_key(self) -> str | None:
        """Its idempotency key, until the key is free again (measured); a replay has none (measured)."""
        return read_text(self.attributes.get("idempotencyKey"))

    @property
    def tags(self) -> list[str]:
        """Its tags, sorted (measured)."""
        tags = self.attributes.get("tags")
        return [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else []

    @classmethod
    def from_answer(cls, answer: Mapping[str, Any], *, seen_at: datetime | None = None) -> ListedRun:
        """Read an item of the server's list, which has a text ``id`` and ``status``."""
        return ListedRun(**_read_basics(answer, seen_at))


@dataclass(frozen=True, kw_only=True, slots=True)
class Run(ListedRun):
    """
    One run as ``GET /api/v3/runs/{runId}`` shows it; see also :class:`ListedRun`.

    :param attributes: the whole answer as the server sent it: ``payload``, ``output``, ``error``,
        ``tags``, ``relatedRuns`` …; little of it after :meth:`without_contents`
    :param finished_at: when it ended. A run canceled while no worker had it never gets one (measured).
    :param attempt_count: how many attempts have begun
    :param has_contents: whether the answer shows output and metadata, if the run has them
    :param progress: its metadata as JSON, without the link to its task, cut at 200 characters; empty if it
        has none, or none was shown
    """

    finished_at: datetime | None
    attempt_count: int
    has_contents: bool = False
    progress: str = ""

    @property
    def is_without_worker(self) -> bool:
        """Whether no worker has the run, so that a cancel terminates it at once."""
        return self.status in WORKERLESS_STATUSES

    @property
    def waits_for_version(self) -> bool:
        """Whether no deployed version has the run's task or its queue."""
        return self.status in VERSION_STATUSES

    @property
    def is_terminated(self) -> bool:
        """
        Whether the run can no longer change, as far as this answer alone shows it.

        The worker of a canceled run may still report that the run completed (measured). It is terminated when
        it has a ``finished_at``; or when no worker ever had it, so that ``started_at`` is missing; or when so
        much time has passed that the engine has forced it. A child that was canceled with its parent first
        has the parent's ``finished_at``, while its own worker still executes: that counts as none.
        """
        if not self.is_canceled:
            return self.is_final
        return not self.started_at or self._has_own_end or self._is_forced

    @property
    def _has_own_end(self) -> bool:
        """Whether its ``finished_at`` is its own, and not that of its parent."""
        if self.finished_at is None or not self.attributes.get("depth"):
            return self.finished_at is not None
        if self.updated_at is None:
            return False
        return (self.updated_at - self.finished_at).total_seconds() < _OWN_END_WITHIN

    @property
    def age(self) -> float:
        """How long ago it was created, in seconds by the server's clock; 0 if that is not known."""
        if not self.seen_at or not self.created_at:
            return 0.0
        return max(0.0, (self.seen_at - self.created_at).total_seconds())

    @property
    def has_output(self) -> bool:
        """
        Whether the answer shows what the run returned, which may be None.

        It does not where that was nothing, is behind :attr:`output_url`, or was large on a server without an
        object store (measured).
        """
        return "output" in self.attributes

    @property
    def output(self) -> Any:
        """The value that the run returned, None if :attr:`has_output` is false."""
        return self.attributes.get("output")

    @property
    def output_url(self) -> str | None:
        """Where a large output is; a new URL with every check, valid for 300 s (measured)."""
        return read_text(self.attributes.get("outputPresignedUrl"))

    @property
    def error(self) -> RunError | None:
        """
        What it failed with, None if the server shows no error.

        Decide from ``status`` alone whether it failed: a run that completed in spite of its cancel carries an
        error as well (measured).
        """
        return RunError.from_answer(self.attributes.get("error"))

    @property
    def batch_id(self) -> str | None:
        """The batch that started it, None if none did; not those whose items got it by its key (measured)."""
        return read_text(self.attributes.get("batchId"))

    @property
    def children(self) -> list[ChildRun]:
        """The runs that it has started itself: one level only, with up-to-date statuses (measured)."""
        related, found = self.attributes.get("relatedRuns"), []
        children = related.get("children") if isinstance(related, dict) else None
        for child in children if isinstance(children, list) else []:
            match child:
                case {"id": str(child_id), "status": str(status)} if child_id and status:
                    found.append(ChildRun(child_id, status))
        return found

    @classmethod
    def from_answer(
        cls, answer: Mapping[str, Any], *, seen_at: datetime | None = None, has_contents: bool = False
    ) -> Run:
        """Read the server's JSON object, which has a text ``id`` and ``status``."""
        attempt_count = answer.get("attemptCount")
        return Run(
            **_read_basics(answer, seen_at),
            finished_at=read_time(answer.get("finishedAt")),
            attempt_count=attempt_count if isinstance(attempt_count, int) else 0,
            has_contents=has_contents,
            progress=_in_a_line(answer.get("metadata")),
        )

    def without_contents(self) -> Run:
        """Return the same run without what can be large, except its error."""
        kept = {name: value for name, value in self.attributes.items() if name in _USED_BY_WAITS}
        return replace(self, attributes=kept, has_contents=False)


def _in_a_line(metadata: Any) -> str:
    """Return metadata as the end of a line in a log, without the secret of a waitpoint token."""
    if isinstance(metadata, dict):
        metadata = {name: value for name, value in metadata.items() if name != LINK_KEY}
    text = ""
    try:
        for part in json.JSONEncoder(ensure_ascii=False).iterencode(metadata) if metadata else ():
            text += part[: _LONGEST_PROGRESS + 1]
            if len(text) > _LONGEST_PROGRESS:
                # The word that would be cut is left out: Airflow does not recognize a part of a secret.
                text = f"{text[:_LONGEST_PROGRESS].rpartition(' ')[0]} …"
                break
    except RecursionError:  # it may be nested as deeply as Python just reads it
        return ""
    # Airflow 2.11 begins a new line of the log at any character that does so in Unicode.
    text = "".join(character if character.isprintable() else "\ufffd" for character in text)
    return without_token_secrets(text)


def _read_basics(answer: Mapping[str, Any], seen_at: datetime | None) -> dict[str, Any]:
    """Return the arguments that both kinds of runs take; the texts, which are logged, of a limited length."""
    status = answer["status"][:50]
    if status not in RunStatus.__members__:
        _warn_of_unknown_status(status)
    return {
        "id": answer["id"],
        "status": status,
        "task_identifier": str(answer.get("taskIdentifier") or "")[:256],
        "attributes": answer,
        "updated_at": read_time(answer.get("updatedAt")),
        "started_at": read_time(answer.get("startedAt")),
        "seen_at": seen_at,
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class RunPage:
    """One page of a list of runs."""

    runs: list[ListedRun]
    """Newest first; few or none do not mean that it is the last page (measured)."""
    next: str | None
    """Where the next page begins, None on the last one."""


@lru_cache  # once in a process: many runs may have it, and each is checked several times
def _warn_of_unknown_status(status: str) -> None:
    text = "The server sent the unknown run status %r; a run that has it is treated as alive. "
    log.warning(text + "Upgrade this package", status)
