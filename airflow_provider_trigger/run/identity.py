"""The idempotency key and the tags of a run that one task instance of one Airflow has started. Pure."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from airflow_provider_trigger.api.plain import plain

MAX_TAG_LENGTH = 128  # in UTF-16 units (measured)
KEY_PREFIX = "airflow"
# Repeated tests of a Dag with one date have the same ids and dates: they differ in their process.
_PROCESS = uuid.uuid4().hex

_KEY = re.compile(
    rf"{KEY_PREFIX}-(?P<dag_run>\w+)-(?P<task_instance>\w+)-(?P<execution>\w+)"
    r"-(?P<max_tries>-?\d+)(\.(?P<test_number>\d+))?-\d+(-(?P<item>.+))?"
)


@dataclass(frozen=True, slots=True)
class KeyParts:
    """The parts of an idempotency key; the first three are hashes."""

    dag_run: str
    task_instance: str
    execution: str
    max_tries: str
    test_number: str  # empty outside of tests of a Dag
    item: str  # of a batch: the index of the item, and the hash of its content; else empty


def parse(idempotency_key: str | None) -> KeyParts | None:
    """Return the parts of a key that a :class:`RunKey` has made; None for any other key, and for no key."""
    found = _KEY.fullmatch(idempotency_key or "")
    return KeyParts(**found.groupdict("")) if found else None


@dataclass(frozen=True, kw_only=True, slots=True)
class DagRunIdentity:
    """A Dag run; no other one is equal, in this Airflow or in another."""

    dag_id: str
    run_id: str
    start_date: datetime | None
    """It differs between two Airflows that have the same Dag and run id."""
    is_test: bool = False
    """Whether it is of ``airflow dags test`` or ``dag.test()``; users give its ``start_date`` (measured)."""
    is_cleared: bool = False
    """Whether Airflow says that it, or a task of it, was cleared."""

    @property
    def hash(self) -> str:
        """Its part of keys and tags."""
        started = self.start_date.timestamp() if self.start_date else None
        return _hash([self.dag_id, self.run_id, started, self.process])

    @property
    def process(self) -> str:
        """The part of a key for the process of a test; empty outside of tests."""
        return _PROCESS if self.is_test else ""

    @property
    def tag(self) -> str:
        """The tag that all runs of this Dag run carry, and no other."""
        return f"airflow_dag_run:{self.hash}"

    def has_started(self, idempotency_key: str | None) -> bool:
        """Return whether a run with this key is ours; tags are no proof: a replay has them (measured)."""
        parts = parse(idempotency_key)
        return parts is not None and parts.dag_run == self.hash


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskInstanceIdentity:
    """A task instance, in all of its tries."""

    dag_run: DagRunIdentity
    task_id: str
    map_index: int = -1
    """-1 for a task that is not mapped."""
    iteration: tuple[str | int, ...] = ()
    """Distinguishes it from those of other iterations; empty outside of task loops."""

    @property
    def tags(self) -> list[str]:
        """All tags of its runs: to find them by Dag in the dashboard, by Dag run and by task instance."""
        return [_cut(f"airflow_dag:{self.dag_run.dag_id}", MAX_TAG_LENGTH), self.dag_run.tag, self.tag]

    @property
    def tag(self) -> str:
        """
        The tag that all its runs carry, also those from before a clear of its Dag run.

        So do those of another Airflow that has the same Dag run: :meth:`has_started` decides whose a run is.
        """
        end = f"[{self.map_index}]" if self.map_index >= 0 else ""
        ids = [self.dag_run.dag_id, self.dag_run.run_id, self.task_id, self.map_index, *self.iteration]
        end += f":{_hash([*ids, self.dag_run.process])}"
        return _cut(f"airflow_task:{self.task_id}", MAX_TAG_LENGTH - len(end)) + end

    def has_started(self, idempotency_key: str | None) -> bool:
        """Return whether a run with this key was started by this task instance, in any of its tries."""
        parts = parse(idempotency_key)
        return parts is not None and parts.task_instance == self.hash

    @property
    def hash(self) -> str:
        """Its part of keys."""
        return self.hash_in(self.dag_run.hash)

    def hash_in(self, dag_run_hash: str) -> str:
        """Return the same for a time before a clear, when its Dag run had another hash."""
        return _hash([dag_run_hash, self.task_id, self.map_index, *self.iteration])


@dataclass(frozen=True, kw_only=True, slots=True)
class RunKey:
    """
    The idempotency key of a run, as ``str()`` of it: the same in a retry, another after a clear.

    At a clear Airflow sets ``max_tries`` to the tries so far and the task's ``retries``, and keeps it when
    the Dag gets other ``retries`` (measured).
    """

    task_instance: TaskInstanceIdentity
    operator_id: str  # another one than the task's, where a task executes operators by hand
    content: str = ""
    """The hash of what is started, where a task executes the operator by hand; else empty."""
    execution: int = 1  # how often it was executed with this content in this try, this time included
    max_tries: int
    retries: int
    try_number: int
    test_number: int = 0
    """How often a process has begun to run the task instance, in tests of a Dag; else 0."""

    @property
    def cleared_after(self) -> int:
        """The try after which the task was cleared; 0 if never, or with other ``retries`` since then."""
        number = self.max_tries - self.retries
        return number if 0 < number < self.try_number else 0

    @property
    def was_cleared(self) -> bool:
        """Whether the task was cleared, or a task of its Dag run."""
        return self.cleared_after > 0 or self.task_instance.dag_run.is_cleared

    @property
    def execution_hash(self) -> str:
        """The part of a key for one execution of a task instance."""
        return _hash([self.operator_id, self.execution, *([self.content] if self.content else [])])

    def __str__(self) -> str:
        hashes = f"{self.task_instance.dag_run.hash}-{self.task_instance.hash}-{self.execution_hash}"
        test = f".{self.test_number}" if self.test_number else ""
        # After a clear to fewer ``retries``, ``max_tries`` can be the same as before.
        return f"{KEY_PREFIX}-{hashes}-{self.max_tries}{test}-{self.cleared_after}"

    def of_item(self, index: int, *, task_identifier: str, payload: Any) -> str:
        """Return the key for an item's run; by index alone, a changed order would give another's output."""
        return f"{self}-{index}-{content_of(task_identifier, payload)}"

    def is_of_same_execution(self, idempotency_key: str | None) -> bool:
        """Return whether a run with this key is of this execution, in any of its tries."""
        parts, own = parse(idempotency_key), (self.task_instance.hash, self.execution_hash)
        return parts is not None and (parts.task_instance, parts.execution) == own

    def item_of(self, idempotency_key: str | None, created_at: datetime | None) -> str | None:
        """
        Return which item a run with this key is of, also from before a clear; None if it may not be ours.

        A clear of the Dag run has given it another ``start_date``. So has another Airflow's Dag run, so that
        the run must be older than this one, and the task cleared.
        """
        parts, dag_run = parse(idempotency_key), self.task_instance.dag_run
        if parts is None or parts.task_instance != self.task_instance.hash_in(parts.dag_run):
            return None
        if (parts.execution, parts.test_number) != (self.execution_hash, str(self.test_number or "")):
            return None
        is_older = created_at and dag_run.start_date and created_at < dag_run.start_date
        return parts.item if parts.dag_run == dag_run.hash or (is_older and self.was_cleared) else None


def content_of(task_identifier: str, payload: Any) -> str:
    """Return the hash of what is started."""
    return _hash([task_identifier, payload])


def _hash(parts: list[Any]) -> str:
    # The keys of a dict have no order in JSON; nothing else here has a dict.
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=plain).encode()).hexdigest()[:24]


def _cut(text: str, length: int) -> str:
    """By UTF-16 units, which is what the server counts."""
    return text.encode("utf-16-le")[: 2 * length].decode("utf-16-le", "ignore")
