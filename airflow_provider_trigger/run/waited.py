"""What a wait for a run came to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from airflow_provider_trigger.api.models.runs import Run


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
