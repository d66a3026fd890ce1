"""What a wait wants to know, or to have done: its steps, which a driver takes; and what it came to."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from airflow_provider_trigger.api.errors import TriggerDevError
from airflow_provider_trigger.api.http import Call
from airflow_provider_trigger.api.models import Run


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
class Check:
    """Check runs; the reply is a :data:`News`. Times are in seconds since 1970."""

    run_ids: tuple[str, ...]
    until: float = math.inf
    """When to reply at the latest."""
    poll_interval: float | None = None
    """Between two checks of a run by itself, in seconds; None for one that grows with its age."""
    is_fresh: bool = False
    """Whether to check now, and not to reply with what is known already."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cancel:
    """Cancel runs; the reply is what became of each, a :class:`.cancel.outcome.CancelResult` by run id."""

    run_ids: tuple[str, ...]


News = Mapping[str, Run | TriggerDevError]
"""What is new of runs, by id: how each was seen, or why it could not be checked."""

Step = Check | Cancel | Call[Any]
"""A call is made once; the reply is its result, or the error that it ended with."""
Steps = Generator[Step, Any, dict[str, Waited]]
"""The steps of a wait; its result is what became of each run for which the wait has ended."""
