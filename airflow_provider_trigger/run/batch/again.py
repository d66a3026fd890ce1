"""Start a batch after an earlier try of the same task, some of whose runs may be alive, canceled or done."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from airflow_provider_trigger.api.endpoints.realtime import snapshot_run
from airflow_provider_trigger.api.endpoints.runs import cancel_run
from airflow_provider_trigger.api.endpoints.tasks import reset_idempotency_key
from airflow_provider_trigger.api.errors import TriggerDevError
from airflow_provider_trigger.api.models.runs import Run
from airflow_provider_trigger.log import Log
from airflow_provider_trigger.run.batch.start import BatchStart
from airflow_provider_trigger.run.checks import (
    are_few,
    call_all,
    call_each,
    check_visible,
    query_many,
    wait_until_terminated,
)
from airflow_provider_trigger.run.identity import RunKey
from airflow_provider_trigger.run.request import TaskRequest
from airflow_provider_trigger.run.search import LIST_LAG
from airflow_provider_trigger.run.start_again import find_earlier_runs
from airflow_provider_trigger.wording import counted, enumeration

if TYPE_CHECKING:
    from airflow_provider_trigger.api.client import TriggerDevClient

# Stop after so many runs of one item that someone else cancels right after their start.
_MAX_ROUNDS = 5


class BatchAgain:
    """Start a batch whose items may have runs already."""

    def __init__(self, client: TriggerDevClient, *, log: Log, sleep: Callable[[float], None]) -> None:
        self._client = client
        self._log = log
        self._sleep = sleep

    def start(
        self, start: BatchStart, requests: Mapping[int, TaskRequest], run_ids: Sequence[str | None]
    ) -> dict[str, Run]:
        """
        Start items, or take up the runs that their keys have; return those runs as they were seen.

        A canceled run keeps its key (measured): it is released once the run's worker can be assumed to have
        stopped, and a new run starts. One that failed has none (measured), so that a new run follows it. The
        ids go into ``run_ids``, by the items' indexes.
        """
        todo, seen = dict(requests), dict[str, Run]()
        for _ in range(_MAX_ROUNDS):
            start.start(todo)
            started = {index: str(run_ids[index]) for index in todo}
            seen |= self.check(list(dict.fromkeys(started.values())))
            dead = [one for one in started.values() if one in seen and seen[one].is_canceled]
            seen |= self._wait_for_workers(dead)
            todo = {index: todo[index] for index, one in started.items() if _is_canceled(seen.get(one))}
            if not todo:
                self._log_taken_up(seen)
                return seen
            self._log.info("Starting %s again, canceled before", counted(len(todo), "run"))
            self._sleep(0)  # a task that was stopped meanwhile, and so canceled these, starts no other ones
            self._release_keys(todo.values())
        raise TriggerDevError(
            f"{_MAX_ROUNDS} times in a row runs were canceled right after their start "
            f"({enumeration(started[index] for index in todo)}): find out who cancels them"
        )

    def _log_taken_up(self, seen: Mapping[str, Run]) -> None:
        done = sum(run.is_success for run in seen.values())
        self._log.info("%d of the runs have completed already, and are not started again", done)

    def _release_keys(self, requests: Collection[TaskRequest]) -> None:
        task_identifiers = {str(request.key): request.task_identifier for request in requests}
        call_all(
            self._client,
            lambda key: reset_idempotency_key(key, task_identifier=task_identifiers[key]),
            list(task_identifiers),
        )

    def check(self, run_ids: Sequence[str]) -> dict[str, Run]:
        """Check runs once; return them by run id. A few that were started a moment ago may be missing."""
        if (shown := query_many(self._client, run_ids)) is None:
            return check_visible(self._client, run_ids)
        alive = [run.id for run in shown.values() if not run.is_final]
        return shown | self._ended(alive) | self._missing([one for one in run_ids if one not in shown])

    def _missing(self, run_ids: Sequence[str]) -> dict[str, Run]:
        """Check those that a query lacks: most are new, but it can lack an old one, too (measured)."""
        if not are_few(run_ids):
            self._sleep(LIST_LAG)
        shown = query_many(self._client, run_ids) or {}
        return shown | check_visible(self._client, [one for one in run_ids if one not in shown])

    def _ended(self, run_ids: Sequence[str]) -> dict[str, Run]:
        """Return those that have ended of the runs that a query shows as alive: it loses ends (measured)."""
        shown: dict[str, Run] = {}
        for part in (run_ids[:1], run_ids[1:]):  # the first one shows whether realtime is on
            replies = call_each(self._client, snapshot_run, part, patience=0)
            runs = {one: reply for one, reply in replies.items() if isinstance(reply, Run)}
            shown |= runs
            if len(runs) < len(part):
                break
        left = [one for one in run_ids if one not in shown]
        shown |= check_visible(self._client, left)  # this costs tokens
        return {one: run for one, run in shown.items() if run.is_final}

    def _wait_for_workers(self, run_ids: Sequence[str]) -> dict[str, Run]:
        seen = check_visible(self._client, run_ids)
        return wait_until_terminated(self._client, seen, log=self._log, sleep=self._sleep)

    def cancel_replaced(self, key: RunKey, keys: Sequence[str], *, cancels: bool) -> dict[int, str]:
        """
        Cancel earlier tries' runs of items that this try does not have; return those to take up, by index.

        The list may have other items or another order now, or the task was cleared while its runs were alive.
        A run with another key is taken up without ``cancels``, or if the task only has other ``retries`` now.
        """
        found = find_earlier_runs(key, self._client, log=self._log)
        stopping = found.stopping
        taken_up: dict[int, str] = {}
        replaced: list[str] = []
        own, indexes = set(keys), {key.item_of(one): index for index, one in enumerate(keys)}
        for run in found.ours:
            if run.idempotency_key in own or not key.is_of_same_execution(run.idempotency_key):
                continue
            index = indexes.get(key.item_of(run.idempotency_key))
            is_cleared = cancels and key.shows_clear_since(run.idempotency_key)
            if index is not None and index not in taken_up and not is_cleared:
                taken_up[index] = run.id
            else:
                replaced.append(run.id)
        if replaced and not cancels:
            self._log.warning(
                "Still running, and not canceled (cancel_on_kill=False): %s. An earlier try has started "
                "them, for items that this try does not have",
                enumeration(replaced),
            )
        elif replaced:
            self._cancel(replaced)
            stopping += replaced
        self._wait_for_workers(stopping)
        return taken_up

    def _cancel(self, run_ids: list[str]) -> None:
        text = "Canceling %s of an earlier try, for items that this try does not have: %s"
        self._log.info(text, counted(len(run_ids), "run"), enumeration(run_ids))
        call_all(self._client, cancel_run, run_ids)


def _is_canceled(run: Run | None) -> bool:
    return run is not None and run.is_canceled
