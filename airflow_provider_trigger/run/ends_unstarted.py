"""When canceled runs have ended that the query shows without an end, as no worker had them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from airflow_provider_trigger.api.models.runs import TERMINATES_WITHIN, Run
from airflow_provider_trigger.run.ends import time_text


class UnstartedRuns:
    """
    All canceled runs without an end, read by their ids in pages, again and again.

    What is new after the first time has ended now. When those of the first time have ended, only the list
    shows. Times are texts, in the server's time.
    """

    def __init__(self) -> None:
        self.read_to = ""
        """The id up to which they were read this time."""
        self.unsure: dict[str, Run] = {}
        """Those of the first time, until the list has shown them."""
        # When this time began, and the last one that came to its end.
        self._began_at = self._complete_at = ""
        self._known = set[str]()
        # Those whose worker may have them: since when, and what was complete then.
        self._pending: dict[str, tuple[float, str]] = {}
        self._still_pending = set[str]()

    def take(self, runs: Sequence[Run], *, is_last: bool, seen_at: datetime, now: float) -> Iterator[Run]:
        """Take in a page; yield those that have ended since the last one."""
        if not self.read_to:
            self._began_at = time_text(seen_at)
        for run in runs:
            self.read_to = run.id
            if run.id in self._known:
                continue
            since, complete_at = self._pending.setdefault(run.id, (now, self._complete_at))
            if run.attempt_count and now - since < TERMINATES_WITHIN:  # its worker may let it complete
                self._still_pending.add(run.id)
                continue
            del self._pending[run.id]
            self._known.add(run.id)
            if complete_at:
                yield run
            else:
                self.unsure[run.id] = run
        if is_last:
            # The others have an end now, perhaps as they completed in spite of the cancel.
            self._pending = {run_id: self._pending[run_id] for run_id in self._still_pending}
            self._still_pending = set()
            self._complete_at, self.read_to = self._began_at, ""

    @property
    def at_most(self) -> str:
        """Return how far a position may move, so that none of them is missing after a restart."""
        if self.unsure:
            return ""
        return min([self._complete_at, *(complete_at for _, complete_at in self._pending.values())])
