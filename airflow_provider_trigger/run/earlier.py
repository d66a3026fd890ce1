"""Find the runs that earlier tries of a task instance have started, and decide what becomes of each."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING

from airflow_provider_trigger.api.limits import NEVER, Deadline
from airflow_provider_trigger.api.models import ListedRun, Run
from airflow_provider_trigger.api.runs import cancel_run
from airflow_provider_trigger.log import Log, counted, enumeration
from airflow_provider_trigger.run import checks
from airflow_provider_trigger.run.identity import RunKey, parse
from airflow_provider_trigger.run.request import TaskRequest
from airflow_provider_trigger.run.search import RunFilter, Search

if TYPE_CHECKING:
    from airflow_provider_trigger.api.client import TriggerDevClient

# For the search for earlier runs, in seconds: the idempotency key finds most of them all the same.
_SEARCH_TIME = 10.0


class Policy(Enum):
    """
    What a try does with a run of an earlier try that is alive, and has another idempotency key.

    - ``REPLACE``: take it up for its item; cancel it if it is from before a clear, or of no item
    - ``TAKE_UP``: take it up for its item, also from before a clear; name it in a warning if it is of no item
    - ``LEAVE_ALONE``: do nothing, as no task waits for runs
    """

    REPLACE = auto()  # cancel_on_kill=True
    TAKE_UP = auto()  # cancel_on_kill=False
    LEAVE_ALONE = auto()  # wait_for_completion=False


@dataclass(kw_only=True, slots=True)
class Found:
    """What to do with the runs of earlier tries. A run that is only in ``all_ids`` is left as it is."""

    all_ids: set[str] = field(default_factory=set)
    found_by_key: set[int] = field(default_factory=set)
    """The indexes of the items whose run is alive and has the key of this try: the start returns it."""
    keys_in_use: set[str] = field(default_factory=set)
    """With these keys a start returns a run that is alive or has completed."""
    taken_up: dict[int, str] = field(default_factory=dict)  # alive, by the index of the item
    reused: dict[int, Run] = field(default_factory=dict)  # completed, by the index of the item
    canceled: list[str] = field(default_factory=list)  # by this try
    kept: list[str] = field(default_factory=list)  # alive, not of this try; a warning names them
    stopping: list[str] = field(default_factory=list)  # canceled before; the worker may still execute

    @property
    def run_ids(self) -> dict[int, str]:
        """The runs of the items that need no start, by the index of the item."""
        return {index: run.id for index, run in self.reused.items()} | self.taken_up


@dataclass(frozen=True, kw_only=True, slots=True)
class Earlier:
    """Find the runs of the earlier tries of a task instance."""

    key: RunKey
    policy: Policy
    reuses: bool = False  # whether an item of a batch gets what has completed before a clear

    def belongs(self, requests: Sequence[TaskRequest]) -> Callable[[str | None], bool] | None:
        """Return which keys belong to runs that a stop of this try cancels; None for those of this try."""
        if self.policy is not Policy.LEAVE_ALONE:
            return self.key.is_of_same_execution
        # A single run that no task waits for is left to the next try.
        return {request.key for request in requests}.__contains__ if len(requests) > 1 else None

    def find(
        self,
        client: TriggerDevClient,
        requests: Sequence[TaskRequest],
        *,
        log: Log,
        sleep: Callable[[float], None],
    ) -> Found:
        """Search the runs, sort them, cancel those to replace, and wait until their workers have stopped."""
        waits = self.policy is not Policy.LEAVE_ALONE
        if not (waits or self.reuses):
            return Found()
        found = self.sort(self._search(client, log), requests)
        if found.canceled:
            text = (
                "Canceling %s of an earlier try, from before a clear or for what this try does not start: %s"
            )
            log.info(text, counted(len(found.canceled), "run"), enumeration(found.canceled))
            checks.call_all(client, cancel_run, found.canceled)
        if found.kept:
            log.warning(
                "Still running, and not canceled: %s. They have the tag %s, but were started before the Dag "
                "run was cleared, by another Airflow, as a replay, or for what this try does not start "
                "(cancel_on_kill=False). Cancel those that you do not need",
                ", ".join(found.kept),
                self.key.task_instance.tag,
            )
        if waits and len(found.run_ids) < len(requests):
            seen = checks.check_visible(client, found.stopping + found.canceled)
            ended = checks.wait_until_terminated(client, seen, log=log, sleep=sleep)
            # Some have completed in spite of their cancel.
            found.reused = self._reused(ended.values(), requests, found) | found.reused
        return found

    def sort(self, runs: Sequence[ListedRun], requests: Sequence[TaskRequest]) -> Found:
        """Decide what becomes of each run, the newest first; see :class:`Policy`. Pure."""
        task_instance, execution = self.key.task_instance.hash, self.key.execution_hash
        max_tries, found = str(self.key.max_tries), Found(all_ids={run.id for run in runs})
        in_use = (run.idempotency_key for run in runs if not run.is_final or run.is_success)
        found.keys_in_use = set(filter(None, in_use))
        found.stopping = [run.id for run in runs if run.may_have_worker]
        not_needed = found.canceled if self.policy is Policy.REPLACE else found.kept
        items = [parse(request.key) for request in requests]
        indexes = {(item.item, item.test_number): index for index, item in enumerate(items) if item}
        tasks = {"", *(request.task_identifier for request in requests)}
        for run in [run for run in runs if not run.is_final]:
            parts, index = parse(run.idempotency_key), None
            if parts is not None and run.task_identifier in tasks:
                index = indexes.get((parts.item, parts.test_number))
            if index is not None and run.idempotency_key == requests[index].key:
                found.found_by_key.add(index)
            elif self.policy is Policy.LEAVE_ALONE:
                pass
            elif parts is None or parts.task_instance != task_instance:
                found.kept.append(run.id)  # a replay, another Airflow's, or before a clear of the Dag run
            elif parts.execution != execution:
                pass  # the task has another operator, or an execution by hand, whose run it is
            elif index is None or index in found.taken_up:
                not_needed.append(run.id)
            elif self.policy is Policy.REPLACE and parts.max_tries != max_tries:
                not_needed.append(run.id)  # from before a clear
            else:
                found.taken_up[index] = run.id
        listed = (Run.from_answer(run.attributes, seen_at=run.seen_at) for run in runs if run.is_success)
        found.reused = self._reused(listed, requests, found)
        return found

    def _reused(self, runs: Iterable[Run], requests: Sequence[TaskRequest], found: Found) -> dict[int, Run]:
        """Return the newest completed run of each item that has no run alive, by the index of the item."""
        if not self.reuses:
            return {}
        items = {self.key.item_of(request.key, None): index for index, request in enumerate(requests)}
        alive, reused = found.found_by_key | found.taken_up.keys(), dict[int, Run]()
        for run in runs:
            index = items.get(self.key.item_of(run.idempotency_key, run.created_at))
            if run.is_success and index is not None and index not in alive:
                reused.setdefault(index, run)
        return reused

    def _search(self, client: TriggerDevClient, log: Log) -> list[ListedRun]:
        """Return the runs with the tag of the task instance, the newest first."""
        # The keys of this try do not find runs that completed before a clear.
        needs_list = self.reuses and self.key.was_cleared
        search = Search(
            client,
            RunFilter(tags=(self.key.task_instance.tag,)).pages,
            deadline=NEVER if needs_list else Deadline.after(_SEARCH_TIME, now=time.monotonic()),
        )
        search.run()
        if search.error and needs_list:
            search.error.reword(
                "The runs from before the clear could not be searched for those that have completed, and no "
                "other ones start in their place (reuse_completed=True): a retry searches again. "
                f"{search.error}"
            )
            raise search.error
        if search.error and self.policy is not Policy.LEAVE_ALONE:
            log.warning(
                "A run of an earlier try, from before a clear or with other arguments, may still be running: "
                "the list of runs could not be searched: %s. Check the dashboard, and cancel a run that you "
                "do not need",
                search.error,
            )
        return search.runs
