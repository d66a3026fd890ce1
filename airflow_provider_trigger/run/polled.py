"""The facts of a run that is waited for, and when it is checked by itself. Without I/O."""

from __future__ import annotations

from dataclasses import dataclass, replace

from airflow_provider_trigger.api.errors import (
    NotFoundError,
    NotSentError,
    TriggerDevError,
    is_rejection,
    root_of,
)
from airflow_provider_trigger.api.models import Run
from airflow_provider_trigger.run.checks import QUERY_LAG, UNKNOWN_AFTER, is_answer

# A query that shows an end this much later has lost it, in seconds: 4.6 was the longest (measured).
_LOST_AFTER = 10.0
# A run that the query does not list, or whose check failed, gets a single check after this time, in seconds.
_MISSING_AFTER = 10.0


def check_interval(age: float) -> float:
    """
    Return the seconds between two checks of a run, or of a token: a tenth of its age, but 2 to 30.

    A worker has this interval for its runs, a triggerer for tokens, and for runs that no query shows.
    """
    return min(30.0, max(2.0, age / 10))


@dataclass(frozen=True, slots=True)
class Checked:
    """The result of a check of one run."""

    reply: Run | TriggerDevError
    server_works: bool | None = None
    """If the check did not show the run: whether another call was answered; None if none was made."""


@dataclass(slots=True, eq=False)
class PolledRun:
    """
    The state of one run, for all waits.

    All times are in seconds on the monotonic clock; None for never, or not now.
    """

    run_id: str
    added_at: float
    born_at: float  # when it was created: by the server's clock, once a check has shown it
    poll_interval: float | None = None  # the shortest of all waits
    run: Run | None = None
    error: TriggerDevError | None = None  # of the last check, if nothing has shown the run since
    failing_since: float | None = None  # since when checks fail, also while queries show the run
    rejected_since: float | None = None
    """Since when each answer to a check is 401, 403 or 404; an outage may begin and end with one of these."""
    answered_since: float | None = None
    """Since when each check was answered, but never with the run."""
    without_version_since: float | None = None
    # When these requests were sent:
    checked_at: float | None = None  # the last check that has ended
    seen_at: float | None = None  # the last check or query that showed the run
    listed_at: float | None = None  # the last query that showed the run
    is_listed: bool = True  # by the last query; before the first query: whether it can list the run
    is_checking: bool = False
    must_check: bool = False
    is_lost: bool = False
    """Whether its checks fail although the server works otherwise."""

    @property
    def unchecked_since(self) -> float:
        """When the last single check was sent, or the wait began."""
        return self.added_at if self.checked_at is None else self.checked_at

    def is_broken(self, now: float) -> bool:
        """Return whether checks have failed for so long that they may never show the end of the run."""
        return self.failing_since is not None and now - self.failing_since >= UNKNOWN_AFTER

    def is_due(self, now: float, *, is_queried: bool) -> bool:
        """Return whether a single check is due now."""
        if self.must_check:
            return True
        if self.poll_interval is not None:  # the user's
            return self.checked_at is None or now >= self.checked_at + self.poll_interval
        if is_queried and self.is_listed and self.failing_since is None:
            return False  # queries show it
        last = self.unchecked_since if is_queried else max(self.unchecked_since, self.seen_at or 0.0)
        # While checks fail, the interval begins short again: a single fault does not cost a long interval.
        begun_at = self.born_at if self.failing_since is None else self.failing_since
        interval = check_interval(last - begun_at)
        if is_queried:
            return now >= last + max(_MISSING_AFTER, interval)
        is_new = self.checked_at is None and self.seen_at is None
        return is_new or now >= last + interval

    def has_lost_end(self, run: Run, now: float) -> bool:
        """Return whether a query showed the run as alive long after the end that a check shows now."""
        ended_at = run.finished_at or run.updated_at
        if not run.is_final or ended_at is None or run.seen_at is None or self.listed_at is None:
            return False
        return (run.seen_at - ended_at).total_seconds() - (now - self.listed_at) >= _LOST_AFTER

    def take_check(
        self, checked: Checked, *, sent_at: float, now: float, is_wanted: bool, is_queried: bool
    ) -> bool:
        """
        Take in a check that has ended; return whether the waits have to know.

        | the check came to      | it counts           | the waits have to know                         |
        | ---------------------- | ------------------- | ---------------------------------------------- |
        | the run                | always              | if status or attempt is new, or they wanted it |
        | an error               | always              | if they wanted it, if queries do not show the  |
        |                        |                     | run, or if its checks have failed for 30 s     |
        | it could not be sent   | if they wanted it   | as for an error                                |
        """
        reply = checked.reply
        is_unsent = isinstance(reply, NotSentError) and reply.retryable
        if is_wanted or not is_unsent:  # a check that does not count comes first again
            self.checked_at = sent_at
            self.failing_since = None if isinstance(reply, Run) else _since(self.failing_since, now)
        if isinstance(reply, Run):
            return self._saw(reply, sent_at, now) or is_wanted
        if not is_wanted and is_queried and self.is_listed and not self.is_broken(now):
            return False
        self.error = reply
        is_rejected = is_rejection(reply) or isinstance(reply, NotFoundError)
        self.rejected_since = _since(self.rejected_since, now) if is_rejected else None
        if not isinstance(reply, NotSentError):
            self.answered_since = _since(self.answered_since, now) if is_answer(reply) else None
        self.is_lost = checked.server_works is True and is_answer(root_of(reply))
        return True

    def take_query(self, run: Run | None, *, sent_at: float, now: float) -> bool:
        """Take in the run that a query shows, None for none; return whether the waits have to know."""
        if self.added_at > sent_at:
            return False
        self.is_listed = run is not None
        if run is None:
            return False
        self.listed_at = sent_at
        return self._may_learn_from(run, sent_at, now) and self._saw(run, sent_at, now)

    def _may_learn_from(self, run: Run, queried_at: float, now: float) -> bool:
        """Return whether a query can show something newer than the last check."""
        if run.is_final:
            return True
        if self.is_broken(now):
            return False
        is_later = self.checked_at is None or queried_at - QUERY_LAG >= self.checked_at
        return self.run is None or (is_later and run.attempt_count >= self.run.attempt_count)

    def _saw(self, run: Run, sent_at: float, now: float) -> bool:
        """Take in a run that was shown; return whether status or attempt is new."""
        before = None if self.error else self.run
        if self.run and self.run.progress and not run.progress:  # a query shows no metadata
            run = replace(run, progress=self.run.progress)
        self.run, self.error, self.seen_at, self.is_lost = run, None, sent_at, False
        self.rejected_since = self.answered_since = None
        self.born_at = min(self.born_at, now - run.age)
        self.without_version_since = (
            _since(self.without_version_since, now) if run.waits_for_version else None
        )
        return before is None or (before.status, before.attempt_count) != (run.status, run.attempt_count)


def _since(before: float | None, now: float) -> float:
    return now if before is None else before
