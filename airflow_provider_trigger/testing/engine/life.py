"""What a run shows and what happens to it next. A life never changes: each step leads to another one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from . import states
from .server_time import moment
from .states import State


@dataclass(frozen=True, slots=True)
class Step:
    """
    What happens to a run at some time.

    :param at: when, in seconds since 1970
    :param change: returns the life that follows; called with the life until then and with ``at``
    :param bulk_id: the bulk action that does it; such a step takes place whatever becomes of the run
    """

    at: float
    change: Change
    bulk_id: str | None = None


@dataclass(frozen=True, slots=True)
class ChildrenCancel:
    """
    The cancel that a canceled run passes on to its children.

    :param at: when, in seconds since 1970
    :param reason: what their error says
    :param finished_at: when the run ended
    """

    at: float
    reason: str
    finished_at: datetime


@dataclass(frozen=True, slots=True)
class Life:
    """
    A run at one moment, and what happens to it from then on unless something intervenes.

    :param plan: what happens next, in order
    :param before_cancel: what it showed before it was canceled
    :param passes_on: what its cancel does to its children, once it does
    :param parents_cancel: the cancel of its parent that it has followed, or that came before it was made
    :param bulk: whether each bulk action that has processed it found it alive, by the action's id
    """

    state: State
    plan: tuple[Step, ...] = ()
    before_cancel: State | None = None
    passes_on: ChildrenCancel | None = None
    parents_cancel: ChildrenCancel | None = None
    bulk: Mapping[str, bool] = field(default_factory=dict)

    @property
    def terminated(self) -> bool:
        """Return whether the run can no longer change: its status is final and no worker has it."""
        return self.state.final and all(step.bulk_id for step in self.plan)

    def after_next_step(self) -> Life:
        """Return the life that follows once the first step of the plan has taken place."""
        step = self.plan[0]
        return step.change(replace(self, plan=self.plan[1:]), step.at)

    def then(self, at: float, change: Change, *, bulk_id: str | None = None) -> Life:
        """
        Return a life with one more step; at the same moment, those of bulk actions come last.

        :param at: when it takes place, in seconds since 1970
        :param change: see :class:`Step`
        :param bulk_id: see :class:`Step`
        """
        plan = sorted(
            (*self.plan, Step(at, change, bulk_id)), key=lambda step: (step.at, step.bulk_id is not None)
        )
        return replace(self, plan=tuple(plan))

    def moved(self, at: float, status: str, **shown: Any) -> Life:
        """
        Return the life of a run that moves on to another status.

        :param at: when, in seconds since 1970
        :param shown: what the run shows then, where it is not what the status implies
        """
        return replace(self, state=replace(states.move(self.state, status, moment(at)), **shown))

    def without_plan(self) -> Life:
        """Return a life in which nothing happens to the run but what bulk actions do."""
        return replace(self, plan=tuple(step for step in self.plan if step.bulk_id))

    def without_bulk(self, bulk_id: str) -> Life:
        """
        Return a life in which a bulk action no longer processes the run.

        :param bulk_id: the bulk action's id
        """
        return replace(self, plan=tuple(step for step in self.plan if step.bulk_id != bulk_id))

    def passing_on(self, at: float, *, ended_at: float) -> Life:
        """
        Return the life of a canceled run that has ended, so that its children are canceled.

        :param at: when they are, in seconds since 1970
        :param ended_at: when the run ended, in seconds since 1970
        """
        reason = (self.state.error or {}).get("message", states.BY_USER)
        ended = self.state.finished_at or moment(ended_at)
        return replace(self, passes_on=ChildrenCancel(at, reason, ended))


Change = Callable[[Life, float], Life]
