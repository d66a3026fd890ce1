"""How to wait for runs, and what a wait came to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any

from airflow_provider_trigger import defaults
from airflow_provider_trigger.api.models import Run

_SHARE_OF_AGE = 0.1
_SHORTEST_INTERVAL = 2.0
_LONGEST_INTERVAL = 30.0


class WaitEnd(StrEnum):
    """
    Why a wait for a run ended.

    - ``final``: the run has ended, in whatever status
    - ``timed_out``: it had not ended at the deadline
    - ``no_version``: no deployed version has its task
    - ``rejected``: no check shows it any more: the key was rejected, the run is unknown, or each check of it
      fails although the server works otherwise
    - ``not_needed``: it was canceled, as another run had ended in a way that is not a success
    """

    FINAL = "final"
    TIMED_OUT = "timed_out"
    NO_VERSION = "no_version"
    REJECTED = "rejected"
    NOT_NEEDED = "not_needed"


@dataclass(frozen=True, kw_only=True, slots=True)
class Waited:
    """What a wait came to."""

    end: WaitEnd
    run: Run | None
    """As last seen, None if it never was."""
    error: str = ""
    """
    The last error in one line, where the run was not seen any more, its cancel failed, or it has ended and
    its checks fail, so that ``run`` has its status and nothing else.
    """
    is_canceled: bool = False
    """Whether the wait has canceled the run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WaitSettings:
    """
    How to wait.

    :param run_url: the run's page in the dashboard, for the log
    :param poll_interval: between two status checks, in seconds; None for a tenth of the run's age, but at
        least 2 s and up to 30 s
    :param deadline: when to stop waiting, in seconds since 1970; None for never
    :param pending_version_timeout: how long a run may wait for a version that has its task, in seconds; None
        for no limit
    :param patience: how long the server may answer the checks without the run, in seconds; the wait ends
        after :data:`airflow_provider_trigger.run.checks.UNKNOWN_AFTER` at the earliest
    :param cancels: whether a run that is no longer waited for is canceled
    :param success_statuses: the final statuses that count as success: a run that ends otherwise ends the
        wait for all; None for waiting for each run, however the others end
    :param cancels_others: whether the other runs are canceled where one has ended the wait for all
    :param logs_progress: whether the number of runs in each status is logged every 30 s
    :param logs_end: whether it is logged how a run has ended; else the resumed task logs it
    :param tag: what all runs carry, to look for them in the dashboard
    :param names_completed: whether a trigger's event names the runs that completed, or only counts them
    """

    run_url: str = ""
    poll_interval: float | None = None
    deadline: float | None = None
    pending_version_timeout: float | None = defaults.PENDING_VERSION_TIMEOUT
    patience: float = defaults.RETRY_FOR
    cancels: bool = True
    success_statuses: Sequence[str] | None = None
    cancels_others: bool = False
    logs_progress: bool = False
    logs_end: bool = True
    tag: str = ""
    names_completed: bool = True

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> WaitSettings:
        """Read the JSON of any version: a missing field gets its default, an unknown one is ignored."""
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in stored.items() if name in known})

    def to_json(self) -> dict[str, Any]:
        """Return the settings as plain JSON."""
        return asdict(self)

    def counts_as_success(self, waited: Waited) -> bool:
        """Return whether the wait for other runs continues."""
        if self.success_statuses is None:
            return True
        if waited.end is not WaitEnd.FINAL or waited.run is None:
            return False
        return waited.run.status in self.success_statuses


def check_interval(age: float) -> float:
    """Return the seconds between two checks of a run of this age, in seconds."""
    return min(_LONGEST_INTERVAL, max(_SHORTEST_INTERVAL, age * _SHARE_OF_AGE))
