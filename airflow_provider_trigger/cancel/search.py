"""Find the descendants of the runs that are canceled."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from airflow_provider_trigger.api.errors import NotFoundError, TriggerDevError
from airflow_provider_trigger.api.exchange import Exchange, Steps
from airflow_provider_trigger.api.limits import Deadline
from airflow_provider_trigger.api.models import ChildRun, Run
from airflow_provider_trigger.api.query import (
    MAX_QUERIED_RUNS,
    MAX_ROWS,
    can_be_queried,
    query_descendants,
)
from airflow_provider_trigger.api.runs import retrieve_run
from airflow_provider_trigger.cancel.confirmation import MAX_FAILURES, weight_of
from airflow_provider_trigger.cancel.record import Before, RunRecord


class Trees:
    """The runs that were given, and their descendants as far as they are known."""

    def __init__(self) -> None:
        self.unwalked: dict[str, None] = {}
        """Descendants that have ended, which only a check shows the children of, as they were found."""
        self.known_roots: set[str] = set()
        self._known: set[str] = set()
        self._roots: dict[str, str] = {}

    @property
    def roots(self) -> list[str]:
        """The runs at the top of the trees that the given runs are in, as far as is known."""
        return list(dict.fromkeys(self._roots.values()))

    def add(self, run_ids: Iterable[str]) -> list[str]:
        """Add given runs; return those that it did not have as given runs or as descendants."""
        new = [run_id for run_id in dict.fromkeys(run_ids) if run_id not in self._known]
        self._known.update(new)
        self.known_roots.update(new)
        self._roots.update((run_id, run_id) for run_id in new)
        return new

    def take_run(self, run: Run) -> list[ChildRun]:
        """Take in a check of a run; return the descendants that are new and may need a cancel."""
        self.unwalked.pop(run.id, None)
        if run.root_id and run.id in self._roots:
            self._roots[run.id] = run.root_id
            self.known_roots.add(run.root_id)
        return self.take(run.children)

    def take(self, children: Iterable[ChildRun]) -> list[ChildRun]:
        """Take in runs of any tree; return new descendants of the given runs that may need a cancel."""
        of_parent = defaultdict[str, list[ChildRun]](list)
        for child in children:
            of_parent[child.parent_id].append(child)
        found = []
        parents = [parent_id for parent_id in of_parent if parent_id in self._known]
        while parents:
            for child in of_parent.pop(parents.pop(), ()):
                if child.id not in self._known:
                    self._known.add(child.id)
                    if child.may_need_cancel:
                        found.append(child)
                    else:
                        self.unwalked[child.id] = None
                if child.id in of_parent:
                    parents.append(child.id)
        return found


def record_of(child: ChildRun, *, now: float) -> RunRecord:
    """
    Return the record of a descendant that is to be canceled; its parent's check stands for one of its own.

    After the parent's cancel, which may reach it first, a suspended run looks like one that executes
    (measured).
    """
    return RunRecord(
        child.id,
        parent_run_id=child.parent_id,
        before=Before(now, child.started_at, None) if child.is_suspended else None,
        is_checked_before=child.is_current,
    )


LOOK_INTERVAL = 1.2
"""Between two looks, in seconds."""

LAST_LOOKS = 2
"""So many looks in a row find nothing new before the search ends: the query lags up to 1.7 s (measured)."""


@dataclass(slots=True, eq=False)
class Look:
    """A look for descendants: a query, or the check of a run, which shows its children."""

    run_id: str | None = None
    """The run to check, None for a query."""
    roots: Sequence[str] = ()
    """Whose trees are queried; :meth:`Search.begin` says it."""
    is_cut_off: bool = False
    """Whether a query showed as many runs as it can."""


def look_steps(exchange: Exchange, look: Look, *, deadline: Deadline) -> Steps[Run | list[ChildRun]]:
    """Send a look's requests, of which the next look repeats what fails; return what they show."""
    if look.run_id is not None:
        return (yield from exchange.steps(retrieve_run(look.run_id), deadline=deadline, patience=0))
    children: list[ChildRun] = []
    for start in range(0, len(look.roots), MAX_QUERIED_RUNS):
        query = query_descendants(look.roots[start : start + MAX_QUERIED_RUNS])
        shown = yield from exchange.steps(query, deadline=deadline, patience=0)
        look.is_cut_off |= len(shown) >= MAX_ROWS
        children += shown
    return children


class Search:
    """
    Decide when to look for descendants, and with what; ``put`` lets a look begin at a monotonic time.

    ``query_error`` is None while the query is used; without it, children of ``unreadable`` runs may be
    missing.
    """

    def __init__(self, put: Callable[[Look, float], None]) -> None:
        self.query_error: TriggerDevError | None = None
        self.unreadable: dict[str, TriggerDevError] = {}
        self.is_cut_off = False
        self.checked: set[str] = set()
        """The runs whose own checks have shown their children."""
        self._put = put
        self._trees = Trees()
        self._walked: set[str] = set()
        self._shown: set[str] | None = None  # by queries, None before one was answered
        self._open = 0  # looks that are put or in progress
        self._begun_at = -math.inf
        self._is_due = False
        self._has_news = False
        self._without_news = 0
        self._failures = 0

    @property
    def is_over(self) -> bool:
        """Whether no look is left, unless a run is added or a check shows a new one."""
        return not self._open

    def add(self, run_ids: Iterable[str], *, now: float) -> None:
        """Add runs whose descendants are searched."""
        if self._trees.add(run_ids):
            self._has_news = self._is_due = True
            self._put_next(now)

    def take_run(self, run: Run, *, now: float) -> list[ChildRun]:
        """Take in a check of a run; return the descendants that are to be canceled, too."""
        found = self._take_run(run)
        self._has_news |= bool(found) or self._has_unwalked
        if self._has_news:
            self._put_next(now)
        return found

    def _take_run(self, run: Run) -> list[ChildRun]:
        self.unreadable.pop(run.id, None)
        self.checked.add(run.id)
        known_roots = len(self._trees.known_roots)
        found = self._trees.take_run(run)
        self._has_news |= len(self._trees.known_roots) > known_roots  # the query has not shown this tree yet
        return found

    @property
    def _to_walk(self) -> list[str]:
        """The descendants that have ended and whose children only a check of them shows."""
        if self.query_error is not None:
            return list(self._trees.unwalked)
        if self._shown is None or self.is_cut_off:
            return []
        return [run_id for run_id in self._trees.unwalked if run_id not in self._shown]

    @property
    def _has_unwalked(self) -> bool:
        return not self._walked.issuperset(self._to_walk)

    def begin(self, look: Look, *, may_have_children: Iterable[str], is_early: bool, now: float) -> None:
        """
        Say what a query asks for, and put the checks that are needed besides, or in its place.

        ``is_early``: the cancel of a run has not arrived yet, so that this is not the last look.
        """
        self._has_news |= is_early or self._is_due  # too early for what the query shows only later
        self._begun_at, self._is_due = now, False
        checked = dict.fromkeys(self._to_walk)
        self._walked.update(checked)
        if self.query_error is None:
            look.roots = [run_id for run_id in self._trees.roots if can_be_queried(run_id)]
        else:
            checked |= dict.fromkeys(may_have_children)
        for run_id in checked:
            self._put_open(Look(run_id), now)

    def finish(
        self, look: Look, result: Run | list[ChildRun] | None, error: TriggerDevError | None, *, now: float
    ) -> list[ChildRun]:
        """Take in how a look ended; return the descendants that are to be canceled, too."""
        self._open -= 1
        self.is_cut_off |= look.is_cut_off
        found: list[ChildRun] = []
        if isinstance(result, Run):
            found = self._take_run(result)
        elif result is not None:
            self._failures = 0
            self._shown = (self._shown or set()).union(child.id for child in result)
            found = self._trees.take(result)
        elif error is not None:
            self._note_error(look, error)
        self._has_news |= bool(found)
        if not self._open:
            has_news = self._has_news or self._has_unwalked
            self._without_news = 0 if has_news else self._without_news + 1
            self._has_news = False
            if self._without_news < LAST_LOOKS:
                self._put_next(now)
        return found

    def _note_error(self, look: Look, error: TriggerDevError) -> None:
        if look.run_id is not None:
            if not isinstance(error, NotFoundError):
                self.unreadable[look.run_id] = error
            return
        self._failures += weight_of(error)
        self._has_news = True  # this look proves nothing
        if self._failures >= MAX_FAILURES:
            self.query_error, self._is_due = error, True

    def _put_next(self, now: float) -> None:
        if not self._open:
            is_due = self._is_due or self._has_unwalked
            self._put_open(Look(), now if is_due else max(now, self._begun_at + LOOK_INTERVAL))

    def _put_open(self, look: Look, at: float) -> None:
        self._open += 1
        self._put(look, at)
