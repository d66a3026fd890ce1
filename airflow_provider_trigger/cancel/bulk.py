"""One bulk action: the fast way to ask for many runs to be canceled, which leaves out some without a word."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from airflow_provider_trigger.api import endpoints
from airflow_provider_trigger.api.budget import Budget
from airflow_provider_trigger.api.client import TriggerDevClient
from airflow_provider_trigger.api.models.bulk_actions import BulkAction

log = logging.getLogger(__name__)

MAX_SIZE = 500
"""As many ids as the server takes in one bulk action (measured)."""

# How long a bulk action may show no progress before it is left alone, in seconds.
STALLS_AFTER = 10.0
_POLL_INTERVAL = 0.5


def parts(run_ids: Sequence[str]) -> list[tuple[str, ...]]:
    """Divide ids so that each part fits one bulk action."""
    return [tuple(run_ids[start : start + MAX_SIZE]) for start in range(0, len(run_ids), MAX_SIZE)]


def run_cancel_action(client: TriggerDevClient, run_ids: Sequence[str], *, budget: Budget) -> BulkAction:
    """
    Have runs canceled, and return how the bulk action stands when it is over, or shows no progress.

    What became of a run only a look at it tells: unknown ids and runs triggered a moment ago are left out,
    and the counts do not say which (measured).

    :param client: for the environment that the runs belong to
    :param run_ids: exact run ids, 500 at most
    :param budget: the time of the work that this is part of
    :raises TriggerDevError: the server does not know bulk actions, or did not take this one
    """
    look = endpoints.retrieve_bulk_action(client.call(endpoints.cancel_runs_in_bulk(run_ids), budget=budget))
    action = client.call(look, budget=budget)
    changed_at = time.monotonic()
    while action.status == "PENDING" and time.monotonic() - changed_at < STALLS_AFTER:
        budget.sleep(_POLL_INTERVAL)
        before, action = action, client.call(look, budget=budget)
        if action != before:
            changed_at = time.monotonic()
    log.info("%s: %s, %d of %d runs canceled", action.id, action.status, action.success, len(run_ids))
    return action
