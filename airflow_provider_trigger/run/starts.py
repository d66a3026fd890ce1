"""Start the runs of a task, several requests at a time, also where an earlier try has started some."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from airflow_provider_trigger.api.errors import TriggerDevError
from airflow_provider_trigger.api.models import Run
from airflow_provider_trigger.api.runs import reset_idempotency_key
from airflow_provider_trigger.log import Log, counted, enumeration
from airflow_provider_trigger.run import checks
from airflow_provider_trigger.run.earlier import Earlier, Found
from airflow_provider_trigger.run.request import TaskRequest
from airflow_provider_trigger.run.sending import Sending, divide, send
from airflow_provider_trigger.run.started import StartedRuns
from airflow_provider_trigger.threads import in_threads

if TYPE_CHECKING:
    from airflow_provider_trigger.api.client import TriggerDevClient

REQUESTS_AT_ONCE = 4
"""How many requests are in flight at a time, of 20 items each: 200 items take 6 s so (measured)."""


class Starts:
    """
    Start runs; ``started`` learns of each request before it is sent, and of the runs' ids after it.

    :param sleep: each wait is done by it; what it raises ends the start before anything more is sent
    :param on_start: is called before they are sent with those that no earlier try has started, if there are
    """

    def __init__(
        self,
        client: TriggerDevClient,
        started: StartedRuns,
        *,
        sleep: Callable[[float], None],
        log: Log,
        on_start: Callable[[Sequence[TaskRequest]], object] = lambda new: None,
    ) -> None:
        self._client = client
        self._started = started
        self._sleep = sleep
        self._log = log
        self._on_start = on_start
        self.taken_up_until: datetime | None = None
        """When the newest run was created that was alive before; None if none was. By the server's clock."""

    def start(self, requests: Sequence[TaskRequest], earlier: Earlier | None = None) -> dict[str, Run]:
        """Start items, or take up the runs that there are; return these as they were seen."""
        begun_at, found = time.monotonic(), Found()
        if earlier is not None:
            self._started.is_earlier = earlier.belongs(requests)
            found = earlier.find(self._client, requests, log=self._log, sleep=self._sleep)
        seen = {run.id: run for run in found.reused.values()}
        self._started.ended.update(seen)
        for index, run_id in found.run_ids.items():
            self._started.run_ids[index] = run_id
        left = {index: request for index, request in enumerate(requests) if index not in found.run_ids}
        new = [request for request in left.values() if request.key not in found.keys_in_use]
        if new:
            self._on_start(new)
        has_old_key = self._send_all(left)
        # The answer to a batch does not say whether a key was in use.
        if has_old_key or found.run_ids or (self._is_batch and earlier is not None):
            to_check = [run_id for run_id in self._started.known_ids if run_id not in seen]
            seen |= self._check(to_check, begun_at)
        age = time.monotonic() - begun_at
        self._send_all(self._to_repeat(left, seen))
        before = [run for run in seen.values() if run.id in found.all_ids or run.age > age]
        taken_up = (run.created_at for run in before if not run.is_final)
        self.taken_up_until = max(filter(None, taken_up), default=None)
        if self._is_batch and earlier is not None:
            self._log_counts(before)
        elif not self._is_batch:
            for run_id in seen.keys() & self._started.known_ids:
                text = "Run %s was started before and is %s: no new one is started"
                self._log.info(text, run_id, seen[run_id].status)
        return seen

    def _check(self, run_ids: Sequence[str], begun_at: float) -> dict[str, Run]:
        """Return runs, some of which an earlier try may have started, as they are now."""
        if len(run_ids) > checks.QUERY_ABOVE:  # a query may not show the cancels of the try before yet
            self._sleep(max(0.0, begun_at + checks.QUERY_LAG - time.monotonic()))
        shown = checks.query_many(self._client, run_ids) or {}
        # A query does not show whether the key of a run that has failed or was canceled is free.
        seen = {run_id: run for run_id, run in shown.items() if run.is_success or not run.is_final}
        return seen | checks.check_visible(self._client, [run_id for run_id in run_ids if run_id not in seen])

    def _to_repeat(self, sent: Mapping[int, TaskRequest], seen: dict[str, Run]) -> dict[int, TaskRequest]:
        """Free the keys of runs that were canceled before, and return their items, to start them again."""
        run_ids = {index: str(self._started.run_ids[index]) for index in sent}
        sent_ids = set(run_ids.values())
        canceled = {run.id: run for run in seen.values() if run.is_canceled and run.id in sent_ids}
        seen |= checks.wait_until_terminated(self._client, canceled, log=self._log, sleep=self._sleep)
        again = {index: seen[run_id] for index, run_id in run_ids.items() if run_id in canceled}
        again = {index: run for index, run in again.items() if run.is_canceled}
        if not again:
            return {}
        # A run without a key: another task has just released the key, and may have started a run with it.
        keys = {
            str(sent[index].key): sent[index].task_identifier
            for index, run in again.items()
            if run.idempotency_key
        }
        checks.call_all(
            self._client, lambda key: reset_idempotency_key(key, task_identifier=keys[key]), list(keys)
        )
        canceled_ids = enumeration(run.id for run in again.values())
        self._log.info("Starting %s again, canceled before: %s", counted(len(again), "run"), canceled_ids)
        return {index: sent[index] for index in again}

    @property
    def _is_batch(self) -> bool:
        return len(self._started.run_ids) > 1

    def _log_counts(self, before: Sequence[Run]) -> None:
        count, completed = len(self._started.run_ids), sum(run.is_success for run in before)
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
            self._started.take_ids(sending)
            are_old.append(is_old)
        return any(are_old)

    def _sendings(self, requests: Mapping[int, TaskRequest]) -> Iterator[Sending]:
        for part in divide(requests):
            sending = Sending(part)
            self._started.sendings.append(sending)
            yield sending

    def _send(self, sending: Sending) -> bool:
        try:
            return send(self._client, sending, sleep=self._sleep)
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
    started = StartedRuns(run_ids=[None])
    Starts(client, started, sleep=time.sleep, log=log).start([request])
    return started.known_ids[0]
