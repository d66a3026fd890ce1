"""
What a feed of ends requests next, for all that follow it. Pure: the caller says what time it is.

Kinds of work take turns: polls for new ends go first, then pages of those who are far behind, when runs were
canceled that never started, and ends that the query has lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from airflow_provider_trigger.api.http import Call
from airflow_provider_trigger.log import Log
from airflow_provider_trigger.run.ends import shifted
from airflow_provider_trigger.run.ends_follower import Follower
from airflow_provider_trigger.run.ends_polls import Polls
from airflow_provider_trigger.run.ends_search import Searches
from airflow_provider_trigger.run.ends_work import Outage, Shared, Work
from airflow_provider_trigger.run.request_limit import RequestLimit

# Who is so many seconds behind the others catches up without them.
_FAR_BEHIND = 60.0
_LONGEST_PAUSE = 60.0


@dataclass(eq=False)
class Turn:
    """One kind of work, and what it does next."""

    work: Work
    is_urgent: bool
    call: Call[Any] | None = None
    due: float = 0.0

    def proceed(self, reply: Any, now: float) -> None:
        """Proceed to the next call, or the next pause."""
        step = self.work.send(reply)
        self.call, self.due = (None, now + step) if isinstance(step, float) else (step, now)


class EndsBoard:
    """Decide what to request next; one request at a time. Times are in seconds, monotonic."""

    def __init__(self, name: str, log: Log, limit: RequestLimit) -> None:
        polls = Outage(f"Connection {name!r}: ends of runs cannot be read", log)
        searches = Outage(f"Connection {name!r}: lost ends of runs cannot be looked for", log)
        self._shared = Shared(name, log, polls, searches)
        self._limit = limit
        self.begin()

    def begin(self) -> None:
        """Begin all work again."""
        polls, searches = Polls(self._shared), Searches(self._shared)
        self._turns = [
            Turn(polls.poll(), is_urgent=True),
            Turn(polls.catch_up(), is_urgent=False),
            Turn(searches.find_when_canceled(), is_urgent=False),
            Turn(searches.find_lost(), is_urgent=False),
        ]

    def join(self, follower: Follower) -> None:
        """Let one more follow; the others do not wait for one that is far behind."""
        front = max((one.until for one in self._shared.followers if not one.is_behind), default="")
        is_known = bool(front and follower.until)
        follower.is_behind = is_known and follower.until < shifted(front, -_FAR_BEHIND)
        self._shared.followers.append(follower)

    def leave(self, follower: Follower) -> None:
        """Let one follow no more."""
        self._shared.followers.remove(follower)

    def next(self, now: float) -> Turn | float:
        """Return whose call to make now, or when to ask again."""
        self._shared.now, next_at = now, now + _LONGEST_PAUSE
        for turn in self._turns:
            while turn.call is None and turn.due <= now:
                turn.proceed(None, now)
            at = self._limit.next_at(urgent=turn.is_urgent) if turn.call else turn.due
            if turn.call and at <= now:
                return turn
            next_at = min(next_at, at)
        return next_at

    def answered(self, turn: Turn, reply: Any, now: float) -> None:
        """Take in the result of a call, or its error."""
        self._shared.now = now
        turn.proceed(reply, now)
