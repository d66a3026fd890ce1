"""How to cancel, as one object that is passed on whole."""

from __future__ import annotations

import math
from dataclasses import dataclass

from airflow_provider_trigger import defaults

TIME_LIMIT = 120.0
"""How long the cancel of runs is repeated that are no longer waited for, in seconds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CancelSettings:
    """
    How to cancel runs.

    :param max_concurrency: how many requests are in flight at a time
    :param time_limit: for all of it, in seconds; None for as long as it needs
    :param termination_timeout: how long to wait until a canceled run is terminated, in seconds after its
        cancel; None to not wait
    :param poll_interval: between two status checks of a run while waiting, in seconds
    :param bulk_from: of more runs than so many, a bulk action cancels most
    :param confirm_from: of more runs than so many, queries confirm which are canceled, and only the rest is
        checked run by run; infinite for a check of each
    :param include_descendants: whether to cancel all that the runs have started, too, and what that has
        started
    :param bulk_action_name: what the dashboard shows for bulk actions, up to 255 characters
    """

    max_concurrency: int = defaults.MAX_CONCURRENCY
    time_limit: float | None = None
    termination_timeout: float | None = None
    poll_interval: float = defaults.POLL_INTERVAL
    bulk_from: int = defaults.BULK_FROM
    confirm_from: float = math.inf
    include_descendants: bool = False
    bulk_action_name: str = defaults.BULK_ACTION_NAME


def settings_of(time_limit: float = TIME_LIMIT) -> CancelSettings:
    """Return how they are canceled."""
    many = defaults.BULK_FROM_AT_A_STOP
    return CancelSettings(time_limit=time_limit, bulk_from=many, confirm_from=many)
