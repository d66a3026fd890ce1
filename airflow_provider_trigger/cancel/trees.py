"""Which runs are descendants of those that are canceled. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from airflow_provider_trigger.api.models.related_runs import ChildRun
from airflow_provider_trigger.api.models.runs import Run
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
