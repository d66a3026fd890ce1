"""One bulk action: the fast way to request the cancel of many runs, which leaves out some silently."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from airflow_provider_trigger.api.deadline import Deadline
from airflow_provider_trigger.api.endpoints.bulk_actions import (
    MAX_SIZE,
    cancel_runs_in_bulk,
    retrieve_bulk_action,
)
from airflow_provider_trigger.api.exchange import Exchange, Steps, Wait
from airflow_provider_trigger.cancel.record import BulkPart, RunRecord

log = logging.getLogger(__name__)

BULK_FROM = 300
"""From more runs on, a cancel and a check for each would use up the default rate limit's burst of 750."""

SHARE = 1 / 4
"""The part of the remaining time that bulk actions may take; single cancels need the rest."""

NO_PROGRESS_AFTER = 5.0
"""How long a bulk action may make no progress, in seconds, before its runs are canceled one by one."""

_FIRST_PAUSE, _PAUSE_FACTOR, _LONGEST_PAUSE = 0.5, 1.5, 3.0


def parts(records: Sequence[RunRecord]) -> list[BulkPart]:
    """
    Divide records so that each part fits one bulk action, and let each record know its part.

    :param records: of the runs
    """
    made = [BulkPart(records[start : start + MAX_SIZE]) for start in range(0, len(records), MAX_SIZE)]
    for part in made:
        for record in part.records:
            record.bulk = part
    return made


def bulk_steps(exchange: Exchange, part: BulkPart, *, name: str, deadline: Deadline) -> Steps[None]:
    """
    Request the cancel of a part's runs, and follow the bulk action until it ends or makes no progress.

    What became of a run only a check of it shows: unknown ids and runs triggered a moment ago are left out,
    and the counts do not say which (measured).

    :param exchange: makes the steps of each call
    :param part: the runs; learns the bulk action's id and its counts as they come in
    :param name: what the dashboard shows
    :param deadline: of the work that this is part of
    :raises TriggerDevError: a call failed
    """
    share = deadline.before(SHARE, now=exchange.monotonic())
    run_ids = [record.run_id for record in part.records]
    part.id = yield from exchange.steps(cancel_runs_in_bulk(run_ids, name=name), deadline=share)
    progressed_at, pause = exchange.monotonic(), _FIRST_PAUSE
    while True:
        check = retrieve_bulk_action(part.id)
        action = yield from exchange.steps(check, deadline=share, patience=NO_PROGRESS_AFTER)
        now = exchange.monotonic()
        if action.done > (part.action.done if part.action else 0):
            progressed_at = now
        part.action = action
        has_ended = action.status != "PENDING"
        if has_ended or now - progressed_at >= NO_PROGRESS_AFTER or share.remaining(now) <= pause:
            break
        yield Wait(pause, for_turn=False)
        pause = min(pause * _PAUSE_FACTOR, _LONGEST_PAUSE)
    log.info(
        "Bulk action %s is %s: %d of %d runs canceled; each run is checked next",
        part.id,
        action.status,
        action.success,
        len(part.records),
    )
