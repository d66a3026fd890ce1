"""What is known of one run that waits of a connection wait for. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from airflow_provider_trigger.api.errors import NotSentError, TriggerDevError
from airflow_provider_trigger.api.models.runs import Run
from airflow_provider_trigger.run.run_wait import UNKNOWN_AFTER
from airflow_provider_trigger.run.wait_settings import check_interval

# The query shows what was true so many seconds ago, with a margin.
_QUERY_LAG = 3.0
# A query that shows an end so many seconds late has lost it: 4.6 s was the longest (measured), with a margin.
_LOST_AFTER = 10.0
# What no query has shown for so many seconds, none may ever show: the cloud's look back some days only.
_UNLISTED_AFTER = 60.0


@dataclass(slots=True, eq=False)
class Watched:
    """A run that is waited for. All times are in seconds."""

    run_id: str
    added_at: float
    born_at: float
    """When it was started, as far as that is known."""
    intervals: list[float | None] = field(default_factory=list)
    """Of each wait for it, between two checks of the run by itself; None for as needed."""
    run: Run | None = None
    error: TriggerDevError | None = None
    """Why the last check failed, if nothing was seen since."""
    failing_since: float = math.inf
    """Infinite if the last check did not fail."""
    checked_at: float = -math.inf
    """When it was last checked by itself."""
    checked_before: float = -math.inf
    """The same without the check that is in flight, or has just ended."""
    seen_at: float = -math.inf
    """When the request was sent that showed :attr:`run`."""
    due: float = math.inf
    """When it is to be checked by itself, whatever becomes of others."""
    is_listed: bool | None = None
    """Whether the last query with it has shown it, None before the first one."""
    listed_at: float = -math.inf
    """When the last query was sent that has shown it."""
    is_in_flight: bool = False

    @property
    def has_ended(self) -> bool:
        """Whether it was seen to have ended; answers that are still under way can only be older."""
        return self.run is not None and self.run.is_final

    @property
    def unchecked_since(self) -> float:
        """Since when it was not checked by itself."""
        return max(self.added_at, self.checked_at)

    @property
    def due_alone(self) -> float:
        """When it is to be checked where no query shows it."""
        last = max(self.seen_at, self.checked_at)
        if math.isinf(last):
            return self.added_at
        # A single fault does not cost a long interval.
        since = max(self.born_at, self.failing_since if self.is_failing else -math.inf)
        return last + check_interval(last - since, poll_interval=None)

    @property
    def is_failing(self) -> bool:
        """Whether its last check failed."""
        return self.failing_since < math.inf

    def begin_check(self, now: float) -> None:
        """Take in that a check of it by itself begins."""
        self.checked_before, self.checked_at = self.checked_at, now
        self.is_in_flight, self.due = True, math.inf

    def check_failed(self, error: TriggerDevError, now: float, *, is_shown: bool) -> bool:
        """Take in that a check of it by itself failed; return whether that is news for its waits."""
        if isinstance(error, NotSentError) and error.retryable:
            self.checked_at = self.checked_before  # it has shown nothing
        else:
            self.failing_since = min(self.failing_since, now)
        if is_shown and not self.is_broken(now):
            return False
        self.error = error
        return True

    def is_broken(self, now: float) -> bool:
        """Return whether its checks fail for so long that no check may ever show its end."""
        return now - self.failing_since >= UNKNOWN_AFTER

    def is_unlisted(self, now: float) -> bool:
        """Return whether queries have not shown it for so long that they may never do so."""
        return self.is_listed is False and now - max(self.added_at, self.listed_at) >= _UNLISTED_AFTER

    def has_lost_end(self, run: Run, now: float) -> bool:
        """Return whether a query showed it as alive long after the end that a check of it shows now."""
        ended_at = run.finished_at or run.updated_at
        if not run.is_final or ended_at is None or run.seen_at is None:
            return False
        return (run.seen_at - ended_at).total_seconds() - (now - self.listed_at) >= _LOST_AFTER

    def may_learn_from(self, run: Run, queried_at: float) -> bool:
        """Return whether a query can show something newer than the last check."""
        if run.is_final:
            return True
        if self.is_broken(queried_at):
            return False
        if self.run is None:
            return True
        is_later = queried_at - _QUERY_LAG >= self.checked_at
        return is_later and run.attempt_count >= self.run.attempt_count
