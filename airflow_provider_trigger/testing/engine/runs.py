"""A run of the local server, and what a cancel does to it and to its children."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from . import defaults, states
from .environments import Environment
from .live_state import LiveState, moment
from .states import State
from .tasks import UNSCRIPTED, TaskScript
from .unset import UNSET

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_counter = itertools.count()


def new_id(prefix: str) -> str:
    """
    Return an id that nothing else has, formed as Trigger.dev's are; later ones sort behind.

    :param prefix: what it begins with: ``run`` or ``bulk``
    """
    number, tail = next(_counter), ""
    for _ in range(6):
        number, digit = divmod(number, 36)
        tail = _DIGITS[digit] + tail
    return f"{prefix}_cmlocal{tail}{''.join(random.choices(_DIGITS, k=12))}"


@dataclass(eq=False, kw_only=True)
class ServerRun(LiveState):
    """
    One run of the local server; what it shows is always its present state, and may be set.

    :param id: its id
    :param environment: the environment it belongs to
    :param initial: what it shows at first
    :param clock: returns the time, in seconds since 1970
    :param lock: guards every run of a server, which test and server read from different threads
    :param task_identifier: the task that it runs
    :param tags: its tags
    :param payload: its payload, any JSON; ``UNSET`` for none
    :param metadata: its metadata, any JSON; ``None`` for none
    :param idempotency_key: the key that it was triggered with, ``None`` for none or once it is released
    :param ttl: how long it may be queued, such as ``10m``; ``None`` for as long as need be
    :param options: the options that it was triggered with, as they were sent
    :param version: the version of its task, shown once it has started
    :param script: what its task does with it
    :param acknowledge_after: seconds until its worker acknowledges a cancel, ``None`` for never
    :param force_after: seconds after which a cancel is enforced when no worker acknowledged it
    :param completes_despite_cancel: whether its worker completes the run when it is canceled
    :param parent: the run that triggered it
    """

    id: str
    environment: Environment
    task_identifier: str = defaults.TASK_IDENTIFIER
    tags: Sequence[str] = ()
    payload: Any = UNSET
    metadata: Any = None
    idempotency_key: str | None = None
    ttl: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    version: str = defaults.VERSION
    script: TaskScript = field(default=UNSCRIPTED, repr=False)
    trigger_function: str = "trigger"
    acknowledge_after: float | None = defaults.ACKNOWLEDGE_AFTER
    force_after: float = defaults.FORCE_AFTER
    completes_despite_cancel: bool = False
    parent: ServerRun | None = field(default=None, repr=False)
    children: list[ServerRun] = field(default_factory=list, init=False, repr=False)
    cancel_requests: int = field(default=0, init=False)
    before_cancel: State | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self.tags = tuple(sorted(self.tags))
        self.initial = replace(self.initial, **self._told_by_environment(self.initial.status))
        super().__post_init__()
        if self.parent is not None:
            self.parent.children.append(self)

    @property
    def depth(self) -> int:
        """Return how many runs stand above it."""
        return 0 if self.parent is None else self.parent.depth + 1

    @property
    def root(self) -> ServerRun:
        """Return the run at the top of its tree, itself if nothing triggered it."""
        return self if self.parent is None else self.parent.root

    def move(self, status: str, at: float, **shown: Any) -> None:
        """Move on to another status; see :meth:`LiveState.move`."""
        super().move(status, at, **(self._told_by_environment(status) | shown))

    def cancel(self) -> None:
        """
        Cancel the run now, as a request to the server would.

        A final status stays, but for ``EXPIRED`` in a deployed environment: it becomes ``CANCELED``.
        """
        with self.lock:
            now = self.clock()
            self._advance(now)
            self.cancel_requests += 1
            self._cancel(now, reason=states.BY_USER, expired_too=self.environment.deployed)

    def cancel_later(self, at: float, decide: Callable[[bool], str | None]) -> None:
        """
        Decide later whether to cancel the run, whatever becomes of it until then.

        :param at: when, in seconds since 1970
        :param decide: called then with whether the run is terminated; returns the reason to cancel it, or
            ``None`` to leave it alone
        """

        def cancel_if_decided(at: float) -> None:
            reason = decide(self._state.final and not self._timeline.can_change)
            if reason is not None:
                self._cancel(at, reason=reason)

        with self.lock:
            self._timeline.add(at, cancel_if_decided, external=True)

    def _told_by_environment(self, status: str) -> dict[str, Any]:
        """Return what a run of a development environment shows that others don't."""
        if status != "EXPIRED" or self.environment.deployed:
            return {}
        return {"error": {"message": f"Run expired because the TTL ({self.ttl or '1s'}) was reached"}}

    def _advance(self, now: float) -> None:
        """Let everything happen that is due, first to the parent, since it may cancel this run."""
        if self.parent is not None:
            self.parent._advance(now)
        super()._advance(now)

    def _cancel(
        self, at: float, *, reason: str, parent_finished_at: datetime | None = None, expired_too: bool = False
    ) -> None:
        if self._state.final and not (expired_too and self._state.status == "EXPIRED"):
            return
        on_a_worker = self._state.status in states.ON_A_WORKER
        self.before_cancel = self._state
        self._timeline.drop()
        self._state = states.cancel(self._state, moment(at), reason=reason, finished_at=parent_finished_at)
        if not on_a_worker:
            self._cancel_children(at)
        elif self.acknowledge_after is None or self.acknowledge_after > self.force_after:
            self._timeline.add(at + self.force_after, lambda at: self._acknowledge(at, completed=False))
        else:
            self._timeline.add(
                at + self.acknowledge_after,
                lambda at: self._acknowledge(at, completed=self.completes_despite_cancel),
            )

    def _acknowledge(self, at: float, *, completed: bool) -> None:
        output = self.script.end(self.payload).output if completed else UNSET
        self._state = states.acknowledge(self._state, moment(at), completed=completed, output=output)
        if not completed:
            self._cancel_children(at)

    def _cancel_children(self, at: float) -> None:
        reason = (self._state.error or {}).get("message", states.BY_USER)
        for child in self.children:
            LiveState._advance(child, at)
            child._cancel(at, reason=reason, parent_finished_at=self._state.finished_at or moment(at))
