"""A run of the local server, and its life under cancel, computed from the clock whenever somebody looks."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any

from . import states
from .environments import Environment
from .states import State

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_counter = itertools.count()


def new_run_id() -> str:
    """Return an id that no other run has, formed as Trigger.dev's are; later ones sort behind."""
    number, tail = next(_counter), ""
    for _ in range(6):
        number, digit = divmod(number, 36)
        tail = _DIGITS[digit] + tail
    return "run_cmlocal" + tail + "".join(random.choices(_DIGITS, k=12))


def _live(name: str, meaning: str) -> Any:
    """Make a property that reads a field of the run's present state, and changes it."""

    def read(run: Run) -> Any:
        return getattr(run.state, name)

    def write(run: Run, value: Any) -> None:
        with run.lock:
            run._state = replace(run.state, **{name: value})

    return property(read, write, doc=meaning)


@dataclass(eq=False, kw_only=True)
class Run:
    """
    One run of the local server; what it shows is always its present state, and may be set.

    :param id: its id
    :param environment: the environment it belongs to
    :param initial: what it shows at first
    :param clock: tells the time, in seconds since 1970
    :param lock: guards every run of a server, which test and server look at from different threads
    :param acknowledge_after: seconds until its worker acknowledges a cancel, ``None`` for never
    :param force_after: seconds after which a cancel is enforced when the worker says nothing
    :param completes_despite_cancel: whether its worker answers a cancel by completing the run
    :param parent: the run that triggered it
    """

    id: str
    environment: Environment
    initial: State = field(repr=False)
    clock: Callable[[], float] = field(repr=False)
    lock: threading.RLock = field(repr=False, default_factory=threading.RLock)
    task_identifier: str = "hello-task"
    tags: tuple[str, ...] = ()
    payload: Any = None
    metadata: Any = None
    ttl: str | None = None
    trigger_function: str = "trigger"
    acknowledge_after: float | None = 0.2
    force_after: float = 60.0
    completes_despite_cancel: bool = False
    parent: Run | None = field(default=None, repr=False)
    children: list[Run] = field(default_factory=list, init=False, repr=False)
    cancel_requests: int = field(default=0, init=False)
    before_cancel: State | None = field(default=None, init=False, repr=False)
    _state: State = field(init=False, repr=False)
    _events: list[tuple[float, Callable[[float], None]]] = field(default_factory=list, init=False, repr=False)
    # Unlike events, these come whatever becomes of the run.
    _orders: list[tuple[float, Callable[[float], None]]] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        self._state = self.initial
        if self.parent is not None:
            self.parent.children.append(self)

    created_at = _live("created_at", "When it was triggered.")
    updated_at = _live("updated_at", "When it last changed.")
    started_at = _live("started_at", "When a worker first took it, or None.")
    finished_at = _live("finished_at", "When it was over, or None.")
    output = _live("output", "What it returned, or None.")
    error = _live("error", "What it failed with, or None.")

    @property
    def state(self) -> State:
        """Return what the run shows now."""
        self._advance(self.clock())
        return self._state

    @property
    def status(self) -> str:
        """Return Trigger.dev's modern word for where the run is now."""
        return self.state.status

    @status.setter
    def status(self, status: str) -> None:
        with self.lock:
            now = self.clock()
            self._advance(now)
            self._events.clear()
            self._state = states.move(self._state, status, _moment(now))

    @property
    def settled(self) -> bool:
        """Tell whether the run can no longer change: it is in a final status, and no worker has to answer."""
        return self.state.final and not self._events

    @property
    def depth(self) -> int:
        """Return how many runs stand above it."""
        return 0 if self.parent is None else self.parent.depth + 1

    @property
    def root(self) -> Run:
        """Return the run at the top of its tree, itself if nothing triggered it."""
        return self if self.parent is None else self.parent.root

    def schedule(self, steps: Sequence[tuple[float, str]]) -> None:
        """
        Let the run move on by itself, unless somebody cancels it before.

        :param steps: pairs of seconds from now and the status that comes then, in order
        """
        now = self.clock()
        with self.lock:
            self._events.extend((now + after, self._step(status)) for after, status in steps)

    def cancel(self) -> None:
        """Cancel the run now, as a request to the server would; one that is over stays as it is."""
        with self.lock:
            now = self.clock()
            self._advance(now)
            self.cancel_requests += 1
            self._cancel(now, reason=states.BY_USER)

    def cancel_later(self, at: float, decide: Callable[[bool], str | None]) -> None:
        """
        Let somebody decide about the run later, whatever becomes of it until then.

        :param at: when, in seconds since 1970
        :param decide: is told then whether the run is settled; returns the reason to cancel it, or ``None``
        """

        def obey(at: float) -> None:
            reason = decide(self._state.final and not self._events)
            if reason is not None:
                self._cancel(at, reason=reason)

        with self.lock:
            self._orders.append((at, obey))
            self._orders.sort(key=itemgetter(0))

    def _step(self, status: str) -> Callable[[float], None]:
        def move_on(at: float) -> None:
            self._state = states.move(self._state, status, _moment(at))

        return move_on

    def _advance(self, now: float) -> None:
        """Do what was due until now, the parent's part first, since it may cancel this run."""
        if self.parent is not None:
            self.parent._advance(now)
        self._advance_own(now)

    def _advance_own(self, now: float) -> None:
        if not self._events and not self._orders:
            return
        with self.lock:
            while due := [queue for queue in (self._events, self._orders) if queue and queue[0][0] <= now]:
                at, event = min(due, key=lambda queue: queue[0][0]).pop(0)
                event(at)

    def _cancel(self, at: float, *, reason: str, with_parent: datetime | None = None) -> None:
        if self._state.final:
            return
        held = self._state.status in states.HELD_BY_A_WORKER
        self.before_cancel = self._state
        self._events.clear()
        self._state = states.cancel(self._state, _moment(at), reason=reason, finished_at=with_parent)
        if held:
            if self.acknowledge_after is None or self.acknowledge_after > self.force_after:
                self._events.append((at + self.force_after, self._force))
            else:
                self._events.append((at + self.acknowledge_after, self._acknowledge))
        else:
            self._cancel_children(at)

    def _acknowledge(self, at: float) -> None:
        self._state = states.acknowledge(self._state, _moment(at), completed=self.completes_despite_cancel)
        if not self.completes_despite_cancel:
            self._cancel_children(at)

    def _force(self, at: float) -> None:
        self._state = states.acknowledge(self._state, _moment(at), completed=False)
        self._cancel_children(at)

    def _cancel_children(self, at: float) -> None:
        reason = (self._state.error or {}).get("message", states.BY_USER)
        for child in self.children:
            child._advance_own(at)
            child._cancel(at, reason=reason, with_parent=self._state.finished_at or _moment(at))


def _moment(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)
