"""The idempotency key and the tags of a run that one task instance of one Airflow has started. Pure."""

from __future__ import annotations

import hashlib
import json
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

MAX_TAG_LENGTH = 128  # in UTF-16 units (measured)
KEY_PREFIX = "airflow"
# Repeated tests of a Dag with one date have the same ids and dates: they differ in their process.
_PROCESS = uuid.uuid4().hex


@dataclass(frozen=True, kw_only=True, slots=True)
class DagRunIdentity:
    """A Dag run, as no other one is, in this Airflow or in another."""

    dag_id: str
    run_id: str
    start_date: datetime | None
    """It differs between two Airflows that have the same Dag and run id."""
    is_test: bool = False
    """One of ``airflow dags test`` or ``dag.test()``, whose ``start_date`` the user gives (measured)."""
    is_cleared: bool = False
    """Whether Airflow says that it was cleared, or tasks of it."""

    @property
    def hash(self) -> str:
        """What identifies it in keys and tags."""
        started = self.start_date.timestamp() if self.start_date else None
        return _hash([self.dag_id, self.run_id, started, self.process])

    @property
    def process(self) -> str:
        """What identifies the process of a test; empty outside of tests."""
        return _PROCESS if self.is_test else ""

    @property
    def tag(self) -> str:
        """The tag that all runs of this Dag run carry, and no other."""
        return f"airflow_dag_run:{self.hash}"

    def has_started(self, idempotency_key: str | None) -> bool:
        """Return whether a run with this key is ours; tags are no proof: a replay has them (measured)."""
        return (idempotency_key or "").startswith(f"{KEY_PREFIX}-{self.hash}-")


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
        return (idempotency_key or "").startswith(self.start_of_keys())

    def start_of_keys(self, dag_run_hash: str | None = None) -> str:
        """Return what the keys of its runs begin with; before a clear, its Dag run had another hash."""
        dag_run_hash = dag_run_hash or self.dag_run.hash
        own = _hash([dag_run_hash, self.task_id, self.map_index, *self.iteration])
        return f"{KEY_PREFIX}-{dag_run_hash}-{own}-"


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

    def is_of_same_execution(self, idempotency_key: str | None) -> bool:
        """Return whether a run with this key is of this execution, in any of its tries."""
        return (idempotency_key or "").startswith(self._start())

    def shows_clear_since(self, idempotency_key: str | None) -> bool:
        """Return whether the task was cleared since this execution has started a run with this key."""
        return self.is_of_same_execution(idempotency_key) and not str(idempotency_key).startswith(self._tries)

    def _start(self, dag_run_hash: str | None = None) -> str:
        own = [self.operator_id, self.execution, *([self.content] if self.content else [])]
        return f"{self.task_instance.start_of_keys(dag_run_hash)}{_hash(own)}-"

    @property
    def _tries(self) -> str:
        test = f".{self.test_number}" if self.test_number else ""
        return f"{self._start()}{self.max_tries}{test}-"

    def __str__(self) -> str:
        # After a clear to fewer ``retries``, ``max_tries`` can be the same as before.
        return f"{self._tries}{self.cleared_after}"

    def of_item(self, index: int, *, task_identifier: str, payload: Any) -> str:
        """Return the key for an item's run; by index alone, a changed order would give another's output."""
        return f"{self}-{index}-{content_of(task_identifier, payload)}"

    def item_of(self, idempotency_key: str | None, created_at: datetime | None = None) -> str | None:
        """
        Return what :meth:`of_item` adds, whichever try has started the run; None for another key.

        With the time of its creation, also of one from before a clear of the Dag run: that has another
        ``start_date`` since then. So may one of another Airflow: :attr:`was_cleared` decides.
        """
        parts = str(idempotency_key).split("-", 6)
        if len(parts) < 7 or not str(idempotency_key).startswith(self._start(parts[1])):
            return None
        dag_run, test_number = self.task_instance.dag_run, parts[4].partition(".")[2]
        is_known = test_number == str(self.test_number or "")
        if parts[1] != dag_run.hash:
            is_known = bool(created_at and dag_run.start_date and created_at < dag_run.start_date)
        return parts[6] if is_known else None


def content_of(task_identifier: str, payload: Any) -> str:
    """Return the hash of what is started."""
    return _hash([task_identifier, payload])


def _hash(parts: list[Any]) -> str:
    # The keys of a dict have no order in JSON; nothing else here has a dict.
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]


def _cut(text: str, length: int) -> str:
    """By UTF-16 units, which is what the server counts."""
    return text.encode("utf-16-le")[: 2 * length].decode("utf-16-le", "ignore")
