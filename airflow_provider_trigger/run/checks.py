"""Make a call for each of several runs; check them once, or repeatedly until an error ends the wait."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from airflow_provider_trigger.api.deadline import NEVER, Deadline
from airflow_provider_trigger.api.endpoints.realtime import snapshot_run
from airflow_provider_trigger.api.endpoints.runs import check_run
from airflow_provider_trigger.api.errors import (
    NotFoundError,
    TriggerDevError,
    is_internal_error,
    is_rejection,
    root_of,
)
from airflow_provider_trigger.api.http import Call
from airflow_provider_trigger.log import Log

if TYPE_CHECKING:
    from airflow_provider_trigger.api.client import TriggerDevClient
    from airflow_provider_trigger.api.models.runs import Run

T = TypeVar("T")

CONCURRENCY = 16
"""How many calls are in flight at a time."""

# How long one check is repeated, in seconds; then the wait continues with the next ones.
_PATIENCE = 10.0


def call_each(
    client: TriggerDevClient,
    make_call: Callable[[str], Call[T]],
    run_ids: Sequence[str],
    *,
    deadline: Deadline = NEVER,
    patience: float | None = None,
) -> dict[str, T | TriggerDevError]:
    """
    Make a call for each run, several at a time; return by run id the result, or the error that came instead.

    :param client: for the runs' environment
    :param make_call: makes the call for a run
    :param run_ids: the runs
    :param deadline: for all of it
    :param patience: how long one call is repeated, in seconds; None for as long as any call
    """

    def call(run_id: str) -> T | TriggerDevError:
        try:
            return client.call(make_call(run_id), deadline=deadline, patience=patience)
        except TriggerDevError as error:
            return error

    executor = ThreadPoolExecutor(CONCURRENCY, "trigger-dev-call")
    try:
        return dict(zip(run_ids, executor.map(call, run_ids), strict=True))
    finally:
        # What ends the task from outside does not wait for the requests in flight.
        executor.shutdown(wait=False, cancel_futures=True)


class RunChecks:
    """
    The checks of one wait.

    :param log: where to warn of runs that could not be checked
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._has_succeeded = False
        self._was_rejected = False

    def make(self, client: TriggerDevClient, run_ids: list[str]) -> list[Run]:
        """
        Check each run once; return those that could be checked, without what can be large.

        :param client: for the runs' environment
        :param run_ids: the runs
        :raises TriggerDevError: it is useless to check again: there is no such run, the key was rejected two
            times in a row, or what cannot pass by itself came before any check has succeeded
        """
        replies = call_each(client, check_run, run_ids, patience=_PATIENCE)
        replies |= self._snapshots(client, replies)
        runs = [reply for reply in replies.values() if not isinstance(reply, TriggerDevError)]
        self._has_succeeded = self._has_succeeded or bool(runs)
        is_rejected = False
        for run_id, error in replies.items():
            if not isinstance(error, TriggerDevError):
                continue
            if self._ends_the_wait(error):
                raise error
            is_rejected = is_rejected or is_rejection(error)
            self._log.warning("Status check of run %s failed; still waiting: %s", run_id, error)
        self._was_rejected = is_rejected
        return runs

    @staticmethod
    def _snapshots(
        client: TriggerDevClient, replies: Mapping[str, Run | TriggerDevError]
    ) -> dict[str, Run | TriggerDevError]:
        """Return the runs that another call shows although their checks answer 500, perhaps always."""
        failed = {one: reply for one, reply in replies.items() if isinstance(reply, TriggerDevError)}
        broken = [one for one, error in failed.items() if is_internal_error(root_of(error))]
        shown = call_each(client, snapshot_run, broken, patience=0)
        return {one: run for one, run in shown.items() if not isinstance(run, TriggerDevError)}

    def _ends_the_wait(self, error: TriggerDevError) -> bool:
        if isinstance(error, NotFoundError) or not (self._has_succeeded or error.retryable):
            return True
        # A gateway may send a single one for a key that has worked.
        return self._was_rejected and is_rejection(error)
