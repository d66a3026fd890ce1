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
    """What happens to a run at some time; what a bulk action does happens whatever becomes of the run."""

    at: float
    change: Change
    bulk_id: str | None = None


@dataclass(frozen=True, slots=True)
class ChildrenCancel:
    """The cancel that a canceled run passes on to its children."""

    at: float
    reason: str
    finished_at: datetime


@dataclass(frozen=True, slots=True)
class Life:
    """A run at one moment, and what happens to it from then on unless something intervenes."""

    state: State
    plan: tuple[Step, ...] = ()
    before_cancel: State | None = None
    passes_on: ChildrenCancel | None = None
    # Its parent's, which it has followed, or which came before it was made.
    parents_cancel: ChildrenCancel | None = None
    # Whether each bulk action that has processed it found it alive, by the action's id.
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
        """Return a life with one more step; at the same moment, those of bulk actions come last."""
        plan = sorted(
            (*self.plan, Step(at, change, bulk_id)), key=lambda step: (step.at, step.bulk_id is not None)
        )
        return replace(self, plan=tuple(plan))

    def moved(self, at: float, status: str, **shown: Any) -> Life:
        """Return the life of a run that moves on to another status."""
        return replace(self, state=replace(states.move(self.state, status, moment(at)), **shown))

    def without_plan(self) -> Life:
        """Return a life in which nothing happens to the run but what bulk actions do."""
        return replace(self, plan=tuple(step for step in self.plan if step.bulk_id))

    def passing_on(self, at: float, *, ended_at: float) -> Life:
        """Return the life of a canceled run that has ended, so that its children are canceled."""
        reason = (self.state.error or {}).get("message", states.BY_USER)
        ended = self.state.finished_at or moment(ended_at)
        return replace(self, passes_on=ChildrenCancel(at, reason, ended))


Change = Callable[[Life, float], Life]
