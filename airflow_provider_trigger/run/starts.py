"""Start the runs of a task, several requests at a time, also where an earlier try has started some."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from queue import Queue
from typing import TYPE_CHECKING

from airflow_provider_trigger.api.errors import TriggerDevError
from airflow_provider_trigger.api.limits import NEVER, Deadline
from airflow_provider_trigger.api.models import Run
from airflow_provider_trigger.api.runs import cancel_run
from airflow_provider_trigger.api.tasks import reset_idempotency_key
from airflow_provider_trigger.cancel.crew import begin_thread
from airflow_provider_trigger.log import Log, counted, enumeration
from airflow_provider_trigger.run.checks import (
    are_few,
    call_all,
    check_visible,
    query_many,
    wait_until_terminated,
)
from airflow_provider_trigger.run.guard import Guard
from airflow_provider_trigger.run.identity import RunKey
from airflow_provider_trigger.run.request import TaskRequest
from airflow_provider_trigger.run.search import LIST_LAG, RunFilter, Search
from airflow_provider_trigger.run.sending import (
    MAX_ROUNDS,
    Sending,
    divide,
    log_taken_up,
    send_batch,
    start_run,
)

if TYPE_CHECKING:
    from airflow_provider_trigger.api.client import TriggerDevClient

REQUESTS_AT_ONCE = 4
"""How many requests are in flight at a time, of 20 items each: 200 items take 6 s so (measured)."""

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


class Starts:
    """
    Starts runs by requests, several at a time; one that is repeated with its key starts nothing twice.

    ``guard`` learns of each request before it is sent, and of the runs' ids after each.
    """

    def __init__(self, client: TriggerDevClient, guard: Guard, *, log: Log) -> None:
        self.by_themselves: dict[str, Run | None] = {}
        """How the runs of single items were seen, by run id; None for new ones."""
        self._client = client
        self._guard = guard
        self._log = log

    @property
    def seen(self) -> dict[str, Run]:
        """The runs of single items that were there before, by run id."""
        return {run_id: run for run_id, run in self.by_themselves.items() if run}

    def know(self, run_ids: Mapping[int, str], *, ended: Iterable[str] = ()) -> None:
        """Take in runs that need no start, by the indexes of their items, and which of them have ended."""
        self._guard.ended.update(ended)
        for index, run_id in run_ids.items():
            self._guard.run_ids[index] = run_id

    def start_new(self, requests: Sequence[TaskRequest]) -> dict[str, Run]:
        """Start items; return the runs that were there before, as they were seen."""
        self.start(dict(enumerate(requests)))
        return self.seen

    def start(self, requests: Mapping[int, TaskRequest]) -> dict[int, str]:
        """
        Start items, by their indexes, or take up the runs that their keys have; return the runs' ids.

        When a request fails, those before it may have started runs.
        """
        todo, done = deque(divide(requests)), Queue[Sending]()
        in_flight = 0
        while todo or in_flight:
            while todo and in_flight < REQUESTS_AT_ONCE:
                sending = Sending(todo.popleft())
                self._guard.sendings.append(sending)
                begin_thread(partial(self._send, sending, done))
                in_flight += 1
            self._take(done.get())
            in_flight -= 1
        return {index: str(self._guard.run_ids[index]) for index in requests}

    def _send(self, sending: Sending, done: Queue[Sending]) -> None:
        try:
            sleep, requests = self._guard.sleep, list(sending.requests.values())
            if len(requests) > 1:
                send_batch(self._client, sending, sleep=sleep)
            else:
                started = start_run(self._client, requests[0], log=self._log, sleep=sleep, sending=sending)
                self.by_themselves[started.run_id] = started.run
        except BaseException as error:  # raised where it is taken in
            sending.error = error
        finally:
            sending.is_done = True
            done.put(sending)

    def _take(self, sending: Sending) -> None:
        error = sending.error
        if isinstance(error, TriggerDevError) and len(self._guard.run_ids) > 1:
            text = f"{sending} of the batch: {error}".rstrip(".")
            if sending.is_unanswered and len(sending.requests) > 1:  # the error of a single start says so
                text += ". Runs of these items may exist: a retry gets them, and starts no other ones"
            error.reword(text)
        if error is not None:
            raise error
        self._guard.take_ids(sending)


@dataclass(frozen=True, kw_only=True, slots=True)
class Earlier:
    """
    Starts the runs of a task instance that has had a try before.

    A run that has a key of this try is found by it. One with another key is taken up for the request that it
    is for; else, and where it is from before a clear, it is canceled. New ones start once the workers of
    canceled ones have stopped.
    """

    key: RunKey
    client: TriggerDevClient
    cancels: bool
    """Otherwise runs from before a clear are taken up, and a warning names what is left running."""
    log: Log
    sleep: Callable[[float], None]
    reuses: bool = False
    """Whether an item of a batch gets the output of a run from before a clear that has completed."""

    def start(self, starts: Starts, requests: Sequence[TaskRequest], *, replaces: bool) -> dict[str, Run]:
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
        others = self._check(list(taken_up.values()))
        seen = self._start(starts, todo) | others | reused
        if len(requests) > 1:
            new_age = time.monotonic() - begun_at
            before = [run for run in seen.values() if run.id in listed or run.age > new_age]
            self.log.info("%s", _counts(before, len(requests)))
        else:
            for run in others.values():
                log_taken_up(run, self.log)
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
        self, found: Search, requests: Sequence[TaskRequest], *, done: Collection[int]
    ) -> tuple[dict[int, str], dict[str, Run]]:
        """
        Cancel the runs of no request; return those to take up, by the index of their request.

        And return, by run id, how those were seen whose worker had to stop first. ``done`` are the indexes of
        requests that need no new run.
        """
        indexes = {self.key.item_of(request.key): index for index, request in enumerate(requests)}
        taken_up: dict[int, str] = {}
        replaced: list[str] = []
        for run in found.ours:
            if not self.key.is_of_same_execution(run.idempotency_key):
                continue  # another operator of the same task takes care of it
            index = indexes.get(self.key.item_of(run.idempotency_key))
            if index is not None and run.task_identifier not in ("", requests[index].task_identifier):
                index = None
            if index is not None and run.idempotency_key == requests[index].key:
                continue
            is_cleared = self.cancels and self.key.shows_clear_since(run.idempotency_key)
            if index is None or index in taken_up or is_cleared:
                replaced.append(run.id)
            else:
                taken_up[index] = run.id
        if replaced and self.cancels:
            self.log.info(
                "Canceling %s of an earlier try, from before a clear or for what this one does not start: %s",
                counted(len(replaced), "run"),
                enumeration(replaced),
            )
            call_all(self.client, cancel_run, replaced)
        elif replaced:
            self.log.warning(
                "Still running, and not canceled (cancel_on_kill=False): %s. An earlier try has started "
                "them, for what this one does not start",
                enumeration(replaced),
            )
        ended: dict[str, Run] = {}
        if len({*taken_up, *done}) < len(requests):
            ended = self._wait_for_workers([*found.stopping, *(replaced if self.cancels else [])])
        return taken_up, ended

    def _find(self, *, warns: bool) -> Search:
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
            self.log.warning(
                "A run of an earlier try, from before a clear or with other arguments, may still be running: "
                "the list of runs could not be searched: %s. Check the dashboard, and cancel a run that you "
                "do not need",
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
            left = [one for one in dict.fromkeys(started.values()) if one not in starts.by_themselves]
            if not are_few(left):
                self.sleep(LIST_LAG)  # then a query shows new ones
            seen |= starts.seen | self._check(left)
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
        shown = query_many(self.client, run_ids) or {}
        # A query lacks new runs, and a few old ones, and of others it has lost the end (measured).
        left = [one for one in run_ids if one not in shown or not shown[one].is_final]
        return shown | check_visible(self.client, left)


def _counts(before: Sequence[Run], count: int) -> str:
    """Return how many of the runs were there before, and how many were started."""
    completed = sum(run.is_success for run in before)
    alive = sum(not run.is_final for run in before)
    return (
        f"Runs of {counted(count, 'item')}: {completed} completed before and reused, {alive} found alive and "
        f"taken up, {count - completed - alive} started"
    )
