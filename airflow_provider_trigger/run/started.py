"""What is known of the runs that a task has started."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from airflow_provider_trigger.cancel.record import BULK_LAG
from airflow_provider_trigger.run.sending import Sending


@dataclass(kw_only=True, slots=True, eq=False)
class StartedRuns:
    """
    The runs of a task, as far as they are known.

    Several threads read and write it without a lock, as the id of an item is written once.
    """

    run_ids: list[str | None] = field(default_factory=list)
    """In the order of the items; None for an item whose run is not known, or not started."""
    tag: str | None = None
    """All runs of the task instance have it: a search finds those whose ids no answer has shown."""
    is_earlier: Callable[[str | None], bool] | None = None
    """Whether a run with this idempotency key may be from an earlier try; None if there was none."""
    sendings: list[Sending] = field(default_factory=list)  # each is added before it is sent
    ended: set[str] = field(default_factory=set)
    found: set[str | None] = field(default_factory=set)
    """The keys of runs that only the list has shown, and that are being canceled."""
    is_cut_off: bool = False
    """Whether the task was ended from outside, so that no retry may find its runs."""
    _shown_at: dict[str, float] = field(default_factory=dict)  # when an answer has shown the id of a new run

    @property
    def known_ids(self) -> list[str]:
        """The ids of all runs that are known, each once."""
        return list(dict.fromkeys(run_id for run_id in self.run_ids if run_id))

    @property
    def left(self) -> list[str]:
        """The ids of the runs that have not ended."""
        return [run_id for run_id in self.known_ids if run_id not in self.ended]

    @property
    def unanswered(self) -> list[Sending]:
        """The requests that may have started runs whose ids are not known."""
        # If a single run could not be started, the error says what a retry finds.
        may_find = self.is_cut_off or len(self.run_ids) > 1
        return [sending for sending in self.sendings if may_find and sending.is_unanswered]

    @property
    def may_have_lost(self) -> bool:
        """Whether a run may exist whose id is not known, and that no retry finds, as it has no key."""
        return any(None in sending.keys for sending in self.sendings if sending.is_unanswered)

    def take_ids(self, sending: Sending) -> None:
        """Take in the ids of the runs of a request."""
        for index, run_id in zip(sending.requests, sending.run_ids or (), strict=False):
            self.run_ids[index] = run_id
            self._shown_at.setdefault(run_id, time.monotonic())

    def take_all(self) -> None:
        """Take in the ids of the runs of all requests that were answered."""
        for sending in self.sendings:
            self.take_ids(sending)

    def is_new(self, run_id: str) -> bool:
        """Return whether a bulk action may miss a run, as its id was shown a moment ago."""
        return time.monotonic() < self._shown_at.get(run_id, -math.inf) + BULK_LAG
