"""Start runs after an earlier try of the same task, whose runs may be alive, canceled or done."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from airflow_provider_trigger.api.errors import TriggerDevError
from airflow_provider_trigger.api.limits import NEVER, Deadline
from airflow_provider_trigger.api.models import ListedRun, Run
from airflow_provider_trigger.api.runs import cancel_run, retrieve_run
from airflow_provider_trigger.api.tasks import reset_idempotency_key
from airflow_provider_trigger.log import Log
from airflow_provider_trigger.run.checks import (
    are_few,
    call_all,
    check_visible,
    query_many,
    wait_until_terminated,
)
from airflow_provider_trigger.run.identity import RunKey
from airflow_provider_trigger.run.request import TaskRequest
from airflow_provider_trigger.run.search import LIST_LAG, RunFilter, Search
from airflow_provider_trigger.run.starts import MAX_ROUNDS, Started, Starts, start_run, take_up
from airflow_provider_trigger.wording import counted, enumeration

if TYPE_CHECKING:
    from airflow_provider_trigger.api.client import TriggerDevClient

# For the search for earlier runs, in seconds: the idempotency key finds most of them all the same.
_SEARCH_TIME = 10.0
_NOTHING_TO_REUSE = (
    "The runs from before the clear could not be searched for those that have completed, and no other ones "
    "start in their place (reuse_completed=True): a retry searches again. {}"
)
_DOUBTFUL = (
    "Not reused: %s from before the start of this Dag run (%s). They may be another Airflow's, as neither "
    "the Dag run's clear_number nor max_tries and retries of the task show that it was cleared"
)


class _Why(StrEnum):
    """Why runs of an earlier try are not taken up."""

    GONE = "for items or a Trigger.dev task that this try does not have"
    CLEARED = "started before this task was cleared"
    OLDER = "as newer ones are alive for their items"


_Replaced = tuple[ListedRun, _Why]
OnId = Callable[[str | None], object]


@dataclass(frozen=True, kw_only=True, slots=True)
class Earlier:
    """
    Starts the runs of a task instance that has had a try before.

    A run that has a key of this try is found by it. One with another key is taken up for the request that it
    is for, unless it is from before a clear: where the task was cleared while its runs were alive, and no
    trigger was there to cancel them, these are canceled. So are runs of another Trigger.dev task, and for
    items that this try does not have. New ones start once the workers of canceled ones have stopped.
    """

    key: RunKey
    client: TriggerDevClient
    cancels: bool
    """Otherwise runs from before a clear are taken up, and a warning names what is left running."""
    log: Log
    sleep: Callable[[float], None]
    reuses: bool = False
    """Whether an item of a batch gets the output of a run from before a clear that has completed."""

    def start_one(self, request: TaskRequest, *, on_id: OnId) -> Started:
        """Start a run, or return the one to take up."""
        taken_up, _ = self._take_over(self._find(), [request], on_id=on_id)
        if taken_up:
            return take_up(self.client.call(retrieve_run(taken_up[0])), log=self.log)
        return start_run(self.client, request, log=self.log, sleep=self.sleep, on_id=on_id)

    def start_many(
        self, starts: Starts, requests: Sequence[TaskRequest], *, replaces: bool
    ) -> dict[str, Run]:
        """
        Start runs, or take up those that there are; return these as they were seen.

        Without ``replaces``, runs with other keys than those of the requests are left alone while alive.
        """
        begun_at, listed = time.monotonic(), set[str]()
        taken_up, completed = dict[int, str](), dict[int, Run]()
        if replaces or self.reuses:
            found = self._find(warns=replaces)
            listed, completed = found.shown, self._completed(found.completed, found, requests)
            if replaces:
                taken_up, ended = self._take_over(found, requests, done=completed)
                if self.reuses:  # some have completed in spite of their cancel
                    completed = self._completed(ended.values(), found, requests) | completed
        reused = {run.id: run for index, run in completed.items() if index not in taken_up}
        known = {index: run.id for index, run in completed.items()} | taken_up
        starts.know(known, ended=reused)
        todo = {index: request for index, request in enumerate(requests) if index not in known}
        seen = self._start(starts, todo) | self._check(list(taken_up.values())) | reused
        before = [run for run in seen.values() if run.id in listed or run.age > time.monotonic() - begun_at]
        if requests:
            self.log.info("%s", _counts(before, len(requests)))
        return seen

    # Runs that the keys of this try do not find

    def _completed(
        self, runs: Iterable[Run], found: Search, requests: Sequence[TaskRequest]
    ) -> dict[int, Run]:
        """Return, by the index of its request, the newest that has completed, unless its key's is alive."""
        alive = {run.idempotency_key for run in found.ours}
        left = ((index, one.key) for index, one in enumerate(requests) if one.key not in alive)
        indexes = {self.key.item_of(key): index for index, key in left}
        newest, doubtful = dict[int, Run](), list[str]()
        for run in runs:
            item = self.key.item_to_reuse(run.idempotency_key, run.created_at)
            if not run.is_success or item is None or (index := indexes.get(item)) is None:
                continue
            if self.key.was_cleared or self.key.task_instance.has_started(run.idempotency_key):
                newest.setdefault(index, run)
            else:
                doubtful.append(run.id)
        if doubtful:
            self.log.warning(_DOUBTFUL, counted(len(doubtful), "completed run"), enumeration(doubtful))
        return newest

    def _take_over(
        self,
        found: Search,
        requests: Sequence[TaskRequest],
        *,
        done: Collection[int] = (),
        on_id: OnId = lambda run_id: None,
    ) -> tuple[dict[int, str], dict[str, Run]]:
        """
        Cancel the runs of no request; return those to take up, by the index of their request.

        And return, by run id, how those were seen whose worker had to stop first. ``done`` are the indexes of
        requests that need no new run.
        """
        indexes = {self.key.item_of(request.key): index for index, request in enumerate(requests)}
        taken_up: dict[int, str] = {}
        replaced: list[_Replaced] = []
        for run in found.ours:
            if not self.key.is_of_same_execution(run.idempotency_key):
                continue  # another operator of the same task takes care of it
            index = indexes.get(self.key.item_of(run.idempotency_key))
            if index is not None and run.task_identifier not in ("", requests[index].task_identifier):
                index = None
            if index is not None and run.idempotency_key == requests[index].key:
                on_id(run.id)
            elif self.cancels and self.key.shows_clear_since(run.idempotency_key):
                replaced.append((run, _Why.CLEARED))
            elif index is None or index in taken_up:
                replaced.append((run, _Why.GONE if index is None else _Why.OLDER))
            else:
                taken_up[index] = run.id
                on_id(run.id)
        self._log_replaced(replaced)
        canceled = [run.id for run, _ in replaced] if self.cancels else []
        call_all(self.client, cancel_run, canceled)
        ended: dict[str, Run] = {}
        if len({*taken_up, *done}) < len(requests):
            ended = self._wait_for_workers([*found.stopping, *canceled])
        return taken_up, ended

    def _log_replaced(self, replaced: Sequence[_Replaced]) -> None:
        for why in dict.fromkeys(reason for _, reason in replaced):
            run_ids = [run.id for run, reason in replaced if reason is why]
            named = enumeration(run_ids)
            if self.cancels:
                text = "Canceling %s of an earlier try, %s: %s"
                self.log.info(text, counted(len(run_ids), "run"), why, named)
            else:
                self.log.warning(
                    "Still running, and not canceled (cancel_on_kill=False): %s. An earlier try has started "
                    "them, %s",
                    named,
                    why,
                )

    def _find(self, *, warns: bool = True) -> Search:
        """Find runs, as far as the list knows; warn of others' that are alive, and where it may lack some."""
        # What has completed before a clear, the keys of this try do not find.
        needs_list = self.reuses and self.key.was_cleared
        found = Search(
            self.client,
            RunFilter(tags=(self.key.task_instance.tag,)).pages,
            belongs=self.key.task_instance.has_started,
            keeps_completed=self.reuses,
            deadline=NEVER if needs_list else Deadline.after(_SEARCH_TIME, now=time.monotonic()),
        )
        found.run()
        if found.error and needs_list:
            found.error.reword(_NOTHING_TO_REUSE.format(found.error))
            raise found.error
        if found.error and warns:
            is_cleared = self.key.cleared_after > 0
            self.log.warning(
                "A run %s may still be running: the list of runs could not be searched%s: %s. Check the "
                "dashboard, and cancel a run that you do not need",
                "from before a clear of this task"
                if is_cleared
                else "of an earlier try that had other arguments",
                f" within {_SEARCH_TIME:g} s" if found.error.retryable else "",
                found.error,
            )
        if found.others and warns:
            self.log.warning(
                "Still running, and not canceled: %s. They have this task's tag, but were started before its "
                "Dag run was cleared, by another Airflow, or as a replay. Cancel those that you do not need",
                enumeration(found.others),
            )
        return found

    # Runs that the keys of this try find

    def _start(self, starts: Starts, requests: Mapping[int, TaskRequest]) -> dict[str, Run]:
        """
        Start runs, or take up those that the keys have; return these as they were seen.

        A canceled run keeps its key (measured): it is released once the run's worker can be assumed to have
        stopped, and a new run starts. One that failed has none (measured), so that a new run follows it.
        """
        todo, seen = dict(requests), dict[str, Run]()
        for _ in range(MAX_ROUNDS):
            started = starts.start(todo)
            seen |= self._check(list(dict.fromkeys(started.values())))
            canceled = {one for one in started.values() if one in seen and seen[one].is_canceled}
            seen |= self._wait_for_workers(list(canceled))
            todo = {
                index: todo[index]
                for index, one in started.items()
                if one in canceled and seen[one].is_canceled
            }
            if not todo:
                return seen
            self.sleep(0)  # a task that was stopped meanwhile, and so canceled these, starts no other ones
            self._release_keys(todo.values())
            self.log.info("Starting %s again, canceled before", counted(len(todo), "run"))
        raise TriggerDevError(
            f"{MAX_ROUNDS} times in a row runs were canceled right after their start "
            f"({enumeration(started[index] for index in todo)}): find out who cancels them"
        )

    def _release_keys(self, requests: Collection[TaskRequest]) -> None:
        task_identifiers = {str(request.key): request.task_identifier for request in requests}
        call_all(
            self.client,
            lambda key: reset_idempotency_key(key, task_identifier=task_identifiers[key]),
            list(task_identifiers),
        )

    def _wait_for_workers(self, run_ids: Sequence[str]) -> dict[str, Run]:
        seen = check_visible(self.client, run_ids)
        return wait_until_terminated(self.client, seen, log=self.log, sleep=self.sleep)

    def _check(self, run_ids: Sequence[str]) -> dict[str, Run]:
        """Check runs once; return them by run id. A few that were started a moment ago may be missing."""
        if (shown := query_many(self.client, run_ids)) is None:
            return check_visible(self.client, run_ids)
        # Also those that a query shows as alive: it loses ends (measured).
        alive = check_visible(self.client, [run.id for run in shown.values() if not run.is_final])
        ended = {one: run for one, run in alive.items() if run.is_final}
        return shown | ended | self._missing([one for one in run_ids if one not in shown])

    def _missing(self, run_ids: Sequence[str]) -> dict[str, Run]:
        """Check those that a query lacks: most are new, but it can lack an old one, too (measured)."""
        if not are_few(run_ids):
            self.sleep(LIST_LAG)
        shown = query_many(self.client, run_ids) or {}
        return shown | check_visible(self.client, [one for one in run_ids if one not in shown])


def _counts(before: Sequence[Run], count: int) -> str:
    """Return how many of the runs were there before, and how many were started."""
    completed = sum(run.is_success for run in before)
    alive = sum(not run.is_final for run in before)
    return (
        f"Runs of {counted(count, 'item')}: {completed} completed before and reused, {alive} found alive and "
        f"taken up, {count - completed - alive} started"
    )
