"""Make a call for each of several runs; check them once, or repeatedly until an error or their end."""

from __future__ import annotations

import random
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider_trigger.api.deadline import NEVER, Deadline
from airflow_provider_trigger.api.endpoints.query import MAX_QUERIED_RUNS, can_be_queried, query_runs
from airflow_provider_trigger.api.endpoints.realtime import snapshot_run
from airflow_provider_trigger.api.endpoints.runs import check_run, list_newest_runs
from airflow_provider_trigger.api.errors import (
    AnswerTimeoutError,
    NotFoundError,
    RateLimitError,
    ResponseError,
    TriggerDevError,
    UnexpectedAnswerError,
    is_internal_error,
    is_rejection,
    root_of,
)
from airflow_provider_trigger.api.http import Call
from airflow_provider_trigger.api.models.runs import TERMINATES_WITHIN, Run
from airflow_provider_trigger.defaults import POLL_INTERVAL
from airflow_provider_trigger.log import Log
from airflow_provider_trigger.run.wait_log import CHECK_FAILED

if TYPE_CHECKING:
    from airflow_provider_trigger.api.client import TriggerDevClient

T = TypeVar("T")

CONCURRENCY = 16
"""How many calls are in flight at a time."""

QUERY_ABOVE = 100
"""Above so many runs, queries show them together, in place of a check of each."""

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
    Make a call for each run, several at a time; return by run id its result, or its error.

    ``deadline`` is for all; one call is repeated for ``patience`` seconds, None for as long as any call.
    """

    def call(run_id: str) -> T | TriggerDevError:
        return call_once(client, make_call(run_id), deadline=deadline, patience=patience)

    return dict(in_threads(call, run_ids))


def call_once(
    client: TriggerDevClient, call: Call[T], *, deadline: Deadline = NEVER, patience: float | None = None
) -> T | TriggerDevError:
    """Make a call; return its result, or its error."""
    try:
        return client.call(call, deadline=deadline, patience=patience)
    except TriggerDevError as error:
        return error


def in_threads(work: Callable[[str], T], run_ids: Sequence[str]) -> Iterator[tuple[str, T]]:
    """Do the same for each run, several at a time; yield in their order each id, with what came of it."""
    executor = ThreadPoolExecutor(CONCURRENCY, "trigger-dev-call")
    try:
        yield from executor.map(lambda run_id: (run_id, work(run_id)), run_ids)
    finally:
        # What ends the task from outside does not wait for the requests in flight.
        executor.shutdown(wait=False, cancel_futures=True)


def call_all(client: TriggerDevClient, make_call: Callable[[str], Call[Any]], run_ids: Sequence[str]) -> None:
    """Make a call for each run; raise the first error once all are made."""
    for reply in call_each(client, make_call, run_ids).values():
        if isinstance(reply, TriggerDevError):
            raise reply


def check_visible(client: TriggerDevClient, run_ids: Sequence[str]) -> dict[str, Run]:
    """Check runs once, without what can be large; a lagging replica or a broken output omits one."""
    found: dict[str, Run] = {}
    for run_id, reply in call_each(client, check_run, run_ids).items():
        if isinstance(reply, Run):
            found[run_id] = reply
        elif not isinstance(reply, NotFoundError) and not is_internal_error(root_of(reply)):
            raise reply
    return found


def wait_until_terminated(
    client: TriggerDevClient, runs: Mapping[str, Run], *, log: Log, sleep: Callable[[float], None]
) -> dict[str, Run]:
    """Wait until the workers of canceled runs, as just checked, have stopped; return them as last seen."""
    seen, waited = dict(runs), 0.0
    while left := [run_id for run_id, run in seen.items() if not run.is_terminated]:
        # Also for a server whose answers, perhaps through a proxy, have no date.
        if waited >= TERMINATES_WITHIN:
            break
        if not waited and len(left) == 1:
            log.info("Run %s is %s; waiting until its worker has stopped", left[0], seen[left[0]].status)
        elif not waited:
            log.info("%d canceled runs: waiting until their workers have stopped", len(left))
        sleep(POLL_INTERVAL)
        waited += POLL_INTERVAL
        seen |= check_visible(client, left)
    return seen


def are_few(run_ids: Sequence[str]) -> bool:
    """Return whether runs are checked by themselves, as they are up to :data:`QUERY_ABOVE`."""
    return len(run_ids) <= QUERY_ABOVE


def query_many(client: TriggerDevClient, run_ids: Sequence[str]) -> dict[str, Run] | None:
    """Return the runs that queries show; None for few runs, or if one fails, as on a server that has none."""
    if are_few(run_ids) or not all(map(can_be_queried, run_ids)):
        return None
    shown: dict[str, Run] = {}
    for first in range(0, len(run_ids), MAX_QUERIED_RUNS):
        try:
            runs = client.call(query_runs(run_ids[first : first + MAX_QUERIED_RUNS]), patience=0)
        except TriggerDevError:
            return None
        shown |= {run.id: run for run in runs}
    return shown


class RunChecks:
    """The checks of one wait."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._has_succeeded = False
        self._was_rejected = False

    def make(self, client: TriggerDevClient, run_ids: list[str]) -> list[Run]:
        """
        Check the runs once; return those that could be checked, without what can be large.

        :raises TriggerDevError: it is useless to check again: there is no such run, the key was rejected two
        times in a row, or what cannot pass by itself came before any check has succeeded
        """
        shown = query_many(client, run_ids)
        checked = run_ids if shown is None else _checked_by_themselves(run_ids, shown)
        replies = call_each(client, check_run, checked, patience=_PATIENCE)
        errors = {one: reply for one, reply in replies.items() if isinstance(reply, TriggerDevError)}
        # Another call shows those whose checks answer 500, perhaps always.
        broken = [one for one, error in errors.items() if is_internal_error(root_of(error))]
        snapshots = call_each(client, snapshot_run, broken, patience=0)
        replies |= snapshots
        runs = dict(shown or {})
        for run_id, reply in replies.items():
            if isinstance(reply, TriggerDevError):
                continue
            errors.pop(run_id, None)
            # A check can show what was before a query: an end stays an end.
            if reply.is_final or run_id not in runs or not runs[run_id].is_final:
                runs[run_id] = reply
        self._has_succeeded = self._has_succeeded or bool(runs)
        for run_id, error in errors.items():
            if self._ends_the_wait(error):
                raise error
            self._log.warning(CHECK_FAILED, run_id, error)
        self._was_rejected = any(map(is_rejection, errors.values()))
        return list(runs.values())

    def _ends_the_wait(self, error: TriggerDevError) -> bool:
        if isinstance(error, NotFoundError) or not (self._has_succeeded or error.retryable):
            return True
        # A gateway may send a single one for a key that has worked.
        return self._was_rejected and is_rejection(error)


def _checked_by_themselves(run_ids: Sequence[str], shown: Mapping[str, Run]) -> list[str]:
    """Return which of many are checked: a query lacks errors and new runs, and loses ends (measured)."""
    failed = [one for one, run in shown.items() if run.is_final and not run.is_success]
    missing = [one for one in run_ids if one not in shown]
    alive = [one for one, run in shown.items() if not run.is_final]
    shuffled = (random.sample(one, len(one)) for one in (missing, alive))
    return [*failed, *chain.from_iterable(shuffled)][:CONCURRENCY]


Otherwise = Run | TriggerDevError | None


def check_otherwise(run_id: str) -> Generator[Call[Any], Any, Otherwise]:
    """
    Yield calls, and take what each returned or the error that it ended with.

    The result is the run; or why it cannot be checked, although the server answers what does not concern the
    run; or None where that is not certain, as in an outage.
    """
    shown = yield snapshot_run(run_id)
    if isinstance(shown, Run):
        return shown
    if isinstance((yield list_newest_runs()), TriggerDevError):
        return None
    # Once more, as an outage may have ended in between.
    shown = yield snapshot_run(run_id)
    return shown if isinstance(shown, Run) or _is_realtime_off(shown) else None


def _is_realtime_off(error: TriggerDevError) -> bool:
    """Answered with 503 where it is off (measured), or by a proxy."""
    if isinstance(error, RateLimitError):
        return False
    return isinstance(error, (AnswerTimeoutError, ResponseError, UnexpectedAnswerError))
