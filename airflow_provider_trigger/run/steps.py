"""What a wait wants to know, or to have done: its steps, which a driver takes."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_trigger.api.errors import TriggerDevError
from airflow_provider_trigger.api.http import Call
from airflow_provider_trigger.api.models.runs import Run
from airflow_provider_trigger.run.waited import Waited


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
