"""Cancel the runs of a batch within the seconds that Airflow leaves to a task that it stops."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from airflow_provider_trigger.api.deadline import Deadline
from airflow_provider_trigger.api.endpoints.bulk_actions import MAX_SIZE, cancel_runs_in_bulk
from airflow_provider_trigger.api.endpoints.runs import cancel_run, retrieve_run
from airflow_provider_trigger.api.models.runs import Run
from airflow_provider_trigger.defaults import BULK_ACTION_NAME, BULK_FROM_AT_A_STOP
from airflow_provider_trigger.run.threads import Threads

if TYPE_CHECKING:
    from airflow_provider_trigger.api.client import TriggerDevClient

# The part of the time that the bulk actions' answers may take.
_SHARE_OF_BULK = 1 / 3
_INTERVAL = 0.02


@dataclass(slots=True)
class BatchCancel:
    """What came of the cancel of runs."""

    bulk_ids: list[str] = field(default_factory=list)
    """Of those that were accepted."""
    accepted: set[str] = field(default_factory=set)
    """The runs whose own cancel was accepted."""
    errors: dict[str, Exception] = field(default_factory=dict)
    """Why it was not, by run id; a run that is in neither was not reached in time."""
    checked: dict[str, Run | Exception] = field(default_factory=dict)
    """How the runs of a small batch were seen afterwards, or why they could not be checked."""


def cancel_batch(
    run_ids: Sequence[str], client: TriggerDevClient, threads: Threads, *, deadline: Deadline
) -> BatchCancel:
    """
    Cancel runs; of many, by a bulk action first, which continues after its caller has ended.

    That misses runs that were started a moment ago (measured): so each is canceled by itself as well, as far
    as there is time, the newest first. Safe in a signal handler. Raises nothing.
    """
    cancel = BatchCancel()
    in_bulk = len(run_ids) > BULK_FROM_AT_A_STOP  # 4 s are not enough for a cancel of each (measured)
    if in_bulk:
        parts = [run_ids[start : start + MAX_SIZE] for start in range(0, len(run_ids), MAX_SIZE)]
        share = deadline.before(_SHARE_OF_BULK, now=time.monotonic())
        _do_each(threads, [partial(_cancel_in_bulk, cancel, part, client, share) for part in parts], share)
    newest_first = sorted(run_ids, reverse=True)  # ids sort by time (measured)
    works = [partial(_cancel_one, cancel, one, client, deadline, not in_bulk) for one in newest_first]
    _do_each(threads, works, deadline)
    return cancel


def _cancel_in_bulk(
    cancel: BatchCancel, run_ids: Sequence[str], client: TriggerDevClient, deadline: Deadline
) -> None:
    bulk_id = client.call(cancel_runs_in_bulk(run_ids, name=BULK_ACTION_NAME), deadline=deadline)
    cancel.bulk_ids.append(bulk_id)


def _cancel_one(
    cancel: BatchCancel, run_id: str, client: TriggerDevClient, deadline: Deadline, checks: bool
) -> None:
    if not deadline.remaining(time.monotonic()):
        return
    try:
        client.call(cancel_run(run_id), deadline=deadline)
    except Exception as error:
        # Any error: the task ends all the same.
        cancel.errors[run_id] = error
        return
    if checks:
        try:
            cancel.checked[run_id] = client.call(retrieve_run(run_id), deadline=deadline, patience=0.0)
        except Exception as error:
            # Any error, as above.
            cancel.checked[run_id] = error
    cancel.accepted.add(run_id)


def _do_each(threads: Threads, works: Sequence[Callable[[], None]], deadline: Deadline) -> None:
    """Wait until all are done, or for the deadline."""
    done: list[bool] = []
    for work in works:
        threads.begin(partial(_do, work, done))
    wait_until(lambda: len(done) == len(works), deadline)


def _do(work: Callable[[], None], done: list[bool]) -> None:
    try:
        work()
    except Exception:
        # Any error: of a bulk action, which only comes before the cancel of each run.
        pass
    finally:
        done.append(True)


def wait_until(condition: Callable[[], bool], deadline: Deadline) -> bool:
    """Wait without a lock; return whether a condition, which is checked several times a second, holds."""
    while not condition():
        left = deadline.remaining(time.monotonic())
        if not left:
            return False
        time.sleep(min(left, _INTERVAL))
    return True
