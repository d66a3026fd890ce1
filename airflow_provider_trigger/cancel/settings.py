"""How to cancel, as one object that is passed on whole."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_provider_trigger import defaults

TIME_LIMIT = 120.0
"""How long the cancel of runs is repeated that are no longer waited for, in seconds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CancelSettings:
    """How to cancel runs; times are in seconds."""

    max_concurrency: int = defaults.MAX_CONCURRENCY
    time_limit: float | None = None
    """For all of it; None for as long as it needs."""
    termination_timeout: float | None = None
    """How long to wait until a canceled run is terminated, after its cancel; None to not wait."""
    poll_interval: float = defaults.POLL_INTERVAL
    """Between two status checks of a run while waiting."""
    bulk_from: int = defaults.BULK_FROM
    """Of more runs than so many, bulk actions cancel most."""
    follows: bool = True
    """Whether canceled runs are checked until it is certain what became of them; else each of a few once, and
    of many none: each gets a cancel of its own besides the bulk action."""
    include_descendants: bool = False
    bulk_action_name: str = defaults.BULK_ACTION_NAME
    """What the dashboard shows, up to 255 characters."""


def settings_of(time_limit: float = TIME_LIMIT, *, follows: bool = True) -> CancelSettings:
    """Return how they are canceled."""
    return CancelSettings(time_limit=time_limit, bulk_from=defaults.BULK_FROM_AT_A_STOP, follows=follows)
