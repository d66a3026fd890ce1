"""Start the runs of a task, several requests at a time, also where an earlier try has started some."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from airflow_provider_trigger.api.errors import TriggerDevError
from airflow_provider_trigger.api.limits import NEVER, Deadline
from airflow_provider_trigger.api.models import ListedRun, Run
from airflow_provider_trigger.api.runs import cancel_run, reset_idempotency_key
from airflow_provider_trigger.log import Log, counted, enumeration
from airflow_provider_trigger.run import checks
from airflow_provider_trigger.run.guard import Guard
from airflow_provider_trigger.run.identity import RunKey
from airflow_provider_trigger.run.request import TaskRequest
from airflow_provider_trigger.run.search import RunFilter, Search
from airflow_provider_trigger.run.sending import Sending, divide, send
from airflow_provider_trigger.run.stop import StopNote
from airflow_provider_trigger.threads import in_threads

if TYPE_CHECKING:
    from airflow_provider_trigger.api.client import TriggerDevClient

REQUESTS_AT_ONCE = 4
"""How many requests are in flight at a time, of 20 items each: 200 items take 6 s so (measured)."""

# For the search for earlier runs, in seconds: the idempotency key finds most of them all the same.
_SEARCH_TIME = 10.0


class Starts:
    """Starts runs; ``guard`` learns of each request before it is sent, and of the runs' ids after each."""

    def __init__(self, client: TriggerDevClient, guard: Guard, *, log: Log) -> None:
        self._client = client
        self._guard = guard
        self._log = log
        self.taken_up_until: datetime | None = None
        """When the newest run was created that was alive before; None if none was. By the server's clock."""

    def start(self, requests: Sequence[TaskRequest], earlier: Earlier | None = None) -> dict[str, Run]:
        """Start items, or take up the runs that there are; return these as they were seen."""
        begun_at = time.monotonic()
        known, seen, listed = dict[int, str](), dict[str, Run](), set[str]()
        if earlier is not None:
            known, seen, listed = earlier.find(self._client, self._guard, requests, log=self._log)
        self._guard.ended.update(seen)
        for index, run_id in known.items():
            self._guard.run_ids[index] = run_id
        todo = {index: request for index, request in enumerate(requests) if index not in known}
        are_old = self._send_all(todo) or known
        if are_old or (self._is_batch and earlier is not None):  # the answer to a batch does not say so
            left = [one for one in self._guard.known_ids if one not in seen]
            if len(left) > checks.QUERY_ABOVE:  # a query may not show the cancels of the try before yet
                self._guard.sleep(max(0.0, begun_at + checks.QUERY_LAG - time.monotonic()))
            shown = checks.query_many(self._client, left) or {}
            # Of one that has failed or was canceled, a query does not show whether its key is free.
            seen |= {one: run for one, run in shown.items() if run.is_success or not run.is_final}
            seen |= checks.check_visible(self._client, [one for one in left if one not in seen])
        age = time.monotonic() - begun_at
        self._send_all(self._to_repeat(todo, seen))
        before = [run for run in seen.values() if run.id in listed or run.age > age]
        taken_up = (run.created_at for run in before if not run.is_final)
        self.taken_up_until = max(filter(None, taken_up), default=None)
        if not self._is_batch:
            for run in [run for run in seen.values() if run.id in self._guard.run_ids]:
                text = "Run %s was started before and is %s: no new one is started"
                self._log.info(text, run.id, run.status)
        elif earlier is not None:
            self._log_counts(before)
        return seen

    def _to_repeat(self, sent: Mapping[int, TaskRequest], seen: dict[str, Run]) -> dict[int, TaskRequest]:
        """Return the items whose runs were canceled before, once their keys, which they keep, are free."""
        started = {index: str(self._guard.run_ids[index]) for index in sent}
        canceled = {one: seen[one] for one in started.values() if one in seen and seen[one].is_canceled}
        seen |= checks.wait_until_terminated(self._client, canceled, log=self._log, sleep=self._guard.sleep)
        again = {index: seen[one] for index, one in started.items() if one in seen and seen[one].is_canceled}
        if not again:
            return {}
        # Of one that shows no key, someone else has just released it, and another run may have it.
        keys = {str(sent[i].key): sent[i].task_identifier for i, run in again.items() if run.idempotency_key}
        checks.call_all(
            self._client, lambda key: reset_idempotency_key(key, task_identifier=keys[key]), list(keys)
        )
        canceled_ids = enumeration(run.id for run in again.values())
        self._log.info("Starting %s again, canceled before: %s", counted(len(again), "run"), canceled_ids)
        return {index: sent[index] for index in again}

    @property
    def _is_batch(self) -> bool:
        return len(self._guard.run_ids) > 1

    def _log_counts(self, before: Sequence[Run]) -> None:
        count, completed = len(self._guard.run_ids), sum(run.is_success for run in before)
        alive = sum(not run.is_final for run in before)
        self._log.info(
            "Runs of %s: %d completed before and reused, %d found alive and taken up, %d started",
            counted(count, "item"),
            completed,
            alive,
            count - completed - alive,
        )

    def _send_all(self, requests: Mapping[int, TaskRequest]) -> bool:
        """Start items, by their indexes; return whether a run is known to be old, found by its key."""
        are_old = []
        for sending, is_old in in_threads(self._send, self._sendings(requests), REQUESTS_AT_ONCE):
            self._guard.take_ids(sending)
            are_old.append(is_old)
        return any(are_old)

    def _sendings(self, requests: Mapping[int, TaskRequest]) -> Iterator[Sending]:
        for part in divide(requests):
            sending = Sending(part)
            self._guard.sendings.append(sending)
            yield sending

    def _send(self, sending: Sending) -> bool:
        try:
            return send(self._client, sending, sleep=self._guard.sleep)
        except BaseException as error:
            sending.error = error
            if isinstance(error, TriggerDevError) and self._is_batch:
                text = f"{sending} of the batch: {error}".rstrip(".")
                if sending.is_unanswered and len(sending.requests) > 1:  # the error of a single start says so
                    text += ". Runs of these items may exist: a retry gets them, and starts no other ones"
                error.reword(text)
            raise
        finally:
            sending.is_done = True


def start_now(client: TriggerDevClient, request: TaskRequest, *, log: Log) -> str:
    """Start a run outside of an operator; return its id, or that of the one that its key has already."""
    guard = Guard(client, StopNote(), cancels=False, stop_time=0.0, log_stop=lambda stop: None)
    guard.run_ids = [None]
    Starts(client, guard, log=log).start([request])
    return guard.known_ids[0]


@dataclass(frozen=True, kw_only=True, slots=True)
class Earlier:
    """
    Finds the runs of a task instance that has had a try before, but those that have a key of this try.

    One with another key is taken up for its request; without one, or from before a clear, it is canceled.
    """

    key: RunKey
    cancels: bool
    """Otherwise runs from before a clear are taken up, and a warning names what is left running."""
    replaces: bool = True
    """Otherwise runs with other keys than those of the requests are left alone while alive."""
    reuses: bool = False  # whether an item of a batch gets what has completed before a clear

    def find(
        self, client: TriggerDevClient, guard: Guard, requests: Sequence[TaskRequest], *, log: Log
    ) -> tuple[dict[int, str], dict[str, Run], set[str]]:
        """
        Cancel what needs a new run, and wait until its workers stop.

        Return the ids of runs by the index of the item that needs none, of these what has completed, and the
        ids of all runs that were there before.
        """
        keys = {request.key for request in requests}
        if self.replaces or len(requests) > 1:  # a single run that no task waits for is left to the next try
            guard.is_earlier = self.key.is_of_same_execution if self.replaces else keys.__contains__
        if not (self.replaces or self.reuses):
            return {}, {}, set()
        found = self._search(client, log)
        listed = [Run.from_answer(run.attributes, seen_at=run.seen_at) for run in found.runs if self.reuses]
        completed = self._completed(listed, found, requests, log)
        taken_up, replaced = self._compare(found.ours, requests) if self.replaces else ({}, [])
        canceled, left = (replaced, found.others) if self.cancels else ([], found.others + replaced)
        if canceled:
            log.info(
                "Canceling %s of an earlier try, from before a clear or for what this one does not start: %s",
                counted(len(canceled), "run"),
                enumeration(canceled),
            )
            checks.call_all(client, cancel_run, canceled)
        if left and self.replaces:
            log.warning(
                "Still running, and not canceled: %s. They have the tag %s, but were started before the Dag "
                "run was cleared, by another Airflow, as a replay, or for what this try does not start "
                "(cancel_on_kill=False). Cancel those that you do not need",
                ", ".join(left),
                self.key.task_instance.tag,
            )
        if self.replaces and len({*taken_up, *completed}) < len(requests):
            stopping = [run.id for run in found.runs if run.may_have_worker]
            seen = checks.check_visible(client, stopping + canceled)
            ended = checks.wait_until_terminated(client, seen, log=log, sleep=guard.sleep)
            if self.reuses:  # some have completed in spite of their cancel
                completed = self._completed(ended.values(), found, requests, log) | completed
        run_ids = {index: run.id for index, run in completed.items()} | taken_up
        reused = {run.id: run for index, run in completed.items() if index not in taken_up}
        return run_ids, reused, {run.id for run in found.runs}

    def _compare(
        self, runs: Iterable[ListedRun], requests: Sequence[TaskRequest]
    ) -> tuple[dict[int, str], list[str]]:
        """Return the runs to take up, by the index of their request, and those of no request."""
        indexes = {self.key.item_of(request.key): index for index, request in enumerate(requests)}
        taken_up: dict[int, str] = {}
        replaced: list[str] = []
        for run in runs:
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
        return taken_up, replaced

    def _completed(
        self, runs: Iterable[Run], found: Search, requests: Sequence[TaskRequest], log: Log
    ) -> dict[int, Run]:
        """Return, by the index of its request, the newest that has completed, unless its key's is alive."""
        alive = {run.idempotency_key for run in found.ours}
        left = ((index, one.key) for index, one in enumerate(requests) if one.key not in alive)
        indexes = {self.key.item_of(key): index for index, key in left}
        newest, doubtful = dict[int, Run](), list[str]()
        for run in runs:
            item = self.key.item_of(run.idempotency_key, run.created_at)
            if not run.is_success or item not in indexes:
                continue
            if self.key.was_cleared or self.key.task_instance.has_started(run.idempotency_key):
                newest.setdefault(indexes[item], run)
            else:
                doubtful.append(run.id)
        if doubtful:
            log.warning(
                "Not reused: %s from before the start of this Dag run (%s). They may be another Airflow's, "
                "as neither the Dag run's clear_number nor max_tries and retries of the task show a clear",
                counted(len(doubtful), "completed run"),
                enumeration(doubtful),
            )
        return newest

    def _search(self, client: TriggerDevClient, log: Log) -> Search:
        # What has completed before a clear, the keys of this try do not find.
        needs_list = self.reuses and self.key.was_cleared
        found = Search(
            client,
            RunFilter(tags=(self.key.task_instance.tag,)).pages,
            belongs=self.key.task_instance.has_started,
            deadline=NEVER if needs_list else Deadline.after(_SEARCH_TIME, now=time.monotonic()),
        )
        found.run()
        if found.error and needs_list:
            found.error.reword(
                "The runs from before the clear could not be searched for those that have completed, and no "
                "other ones start in their place (reuse_completed=True): a retry searches again. "
                f"{found.error}"
            )
            raise found.error
        if found.error and self.replaces:
            log.warning(
                "A run of an earlier try, from before a clear or with other arguments, may still be running: "
                "the list of runs could not be searched: %s. Check the dashboard, and cancel a run that you "
                "do not need",
                found.error,
            )
        return found
